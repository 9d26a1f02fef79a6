"""A LiteRT file of two layers whose answers can be computed by hand."""

from pathlib import Path

import numpy as np
import pytest

INNER = np.random.default_rng(5).standard_normal((4, 16)).astype(np.float32)
HEAD = np.random.default_rng(6).standard_normal((3, 4)).astype(np.float32)


def tiny_tflite(path: Path, outputs: list[int], free: bool = False) -> Path:
    """(1, 16) waveform -> "net/inner" (1, 4) = x INNER' -> "net/head" (1, 3), by the runtime's own schema."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the litert extra is not installed")
    model, graph = schema.ModelT(), schema.SubGraphT()

    def tensor(name, shape, buffer):
        t = schema.TensorT()
        t.name, t.shape, t.buffer, t.type = name, shape, buffer, schema.TensorType.FLOAT32
        return t

    def layer(inputs, result):
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = 0, [*inputs, -1], [result]
        op.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        op.builtinOptions = schema.FullyConnectedOptionsT()
        return op

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    buffers = [schema.BufferT() for _ in range(3)]
    buffers[1].data = np.frombuffer(INNER.tobytes(), np.uint8)
    buffers[2].data = np.frombuffer(HEAD.tobytes(), np.uint8)
    graph.tensors = [
        tensor("waveform", [1, 16], 0),
        tensor("w1", [4, 16], 1),
        tensor("net/inner", [1, 4], 0),
        tensor("w2", [3, 4], 2),
        tensor("net/head", [1, 3], 0),
    ]
    if free:
        graph.tensors[0].shapeSignature = [-1, 16]
    graph.inputs, graph.outputs = [0], outputs
    graph.operators = [layer([0, 1], 2), layer([2, 3], 4)]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path
