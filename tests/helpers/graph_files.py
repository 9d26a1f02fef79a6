"""ONNX and LiteRT files of a few operators, as a test describes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Form = tuple[str, list]  # NumPy's name of a type, and a shape


def onnx_file(
    path: Path,
    inputs: Mapping[str, Form],
    nodes: Sequence[tuple],
    outputs: Mapping[str, Form | None],
    weights: Mapping[str, np.ndarray] = {},
) -> Path:
    """Nodes are (operator, inputs, outputs, attributes); an output without a form has none in the file."""
    onnx = pytest.importorskip("onnx")
    h = onnx.helper

    def value(name: str, form: Form | None) -> Any:
        kind = h.np_dtype_to_tensor_dtype(np.dtype(form[0] if form else "float32"))
        return h.make_tensor_value_info(name, kind, form[1] if form else None)

    graph = h.make_graph(
        [h.make_node(kind, takes, gives, **attributes) for kind, takes, gives, attributes in nodes],
        "few",
        [value(name, form) for name, form in inputs.items()],
        [value(name, form) for name, form in outputs.items()],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9), path)
    return path


def tflite_file(
    path: Path,
    tensors: Mapping[str, tuple],
    operators: Sequence[tuple],
    inputs: Sequence[str],
    outputs: Sequence[str],
    weights: Mapping[str, np.ndarray] = {},
) -> Path:
    """Tensors are (type, shape[, scale, zero]); operators (kind, inputs, outputs, name of its options, options)."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the litert extra is not installed")
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.buffers = [schema.BufferT()]
    graph.tensors, model.operatorCodes, graph.operators = [], [], []
    forms = {**tensors, **{name: (w.dtype.name, list(w.shape)) for name, w in weights.items()}}
    places = {name: place for place, name in enumerate(forms)}
    for name, (dtype, shape, *quantisation) in forms.items():
        tensor = schema.TensorT()
        tensor.name, tensor.buffer, tensor.type = name, 0, getattr(schema.TensorType, dtype.upper())
        tensor.shape = [1 if n == -1 else n for n in shape]
        if -1 in shape:
            tensor.shapeSignature = shape
        if quantisation:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [quantisation[0]], [quantisation[1]]
        if name in weights:
            tensor.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(weights[name].tobytes(), np.uint8)
        graph.tensors.append(tensor)
    for kind, takes, gives, options, values in operators:
        code, op = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 1
        op.opcodeIndex = len(model.operatorCodes)
        op.inputs, op.outputs = [places.get(n, -1) for n in takes], [places[n] for n in gives]
        op.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        op.builtinOptions = getattr(schema, f"{options}T")()
        for name, value in values.items():
            setattr(op.builtinOptions, name, value)
        model.operatorCodes.append(code)
        graph.operators.append(op)
    graph.inputs, graph.outputs = [places[n] for n in inputs], [places[n] for n in outputs]
    model.version, model.subgraphs = 3, [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path
