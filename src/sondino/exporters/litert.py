"""LiteRT (TFLite): a .tflite file in float32, with float16 weights, or with static int8 weights and activations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError, SondinoError, require
from sondino.exporters.asked import Precision
from sondino.exporters.edge import (
    LITERT_INT8_COSINE,
    Converted,
    FloatLayers,
    assemble,
    clips_without_norm_outliers,
    edge_form,
    example,
    fixed_samples,
    kept_in_float,
    least_float,
    log_mels,
    require_edge,
    suppress_native_output,
    trace,
    versions,
)
from sondino.exporters.verify import Run
from sondino.files import thread_count, write_whole
from sondino.model.onnx_graph import suppress_logs
from sondino.model.torch_model import TorchModel
from sondino.text import first_line

ENVIRONMENT = "litert"

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_INT8 = ("CONV_2D", "DEPTHWISE_CONV_2D", "PAD")
"""Operators computed in int8. In others it costs more than it saves: XNNPACK has no int8 hardswish, and gates lose."""

_FLOAT32, _FLOAT16 = 0, 1
_HALVED = 4096
"""Bytes from which a float32 constant is worth storing as float16."""


def write_litert(
    source: TorchModel,
    file: Path,
    precision: Precision,
    samples: int | None,
    calibration: Sequence[NDArray[np.float32]] = (),
    body_only: bool = False,
) -> Converted:
    """Write a student as a LiteRT file.

    Args:
        source: what to convert.
        file: where to.
        precision: "f32", "f16" (weights stored in float16, computed in float32) or "int8".
        samples: of each clip; None: any length, which is refused.
        calibration: real waveforms (samples,) for int8.
        body_only: the file takes log-mels (1, n_mels, frames).

    Raises:
        MissingExtra: this environment has no litert-torch.
        OptionError: no fixed length, or too few clips to calibrate on.
        SondinoError: litert-torch cannot convert it.
    """
    length = fixed_samples(source, samples, "LiteRT")
    converter = require_edge("litert_torch", ENVIRONMENT)
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    with suppress_logs(), suppress_native_output():
        given = example(source, length, body_only)
        net = assemble(source, edge_form(source.backbone, pointwise=precision == "int8"), body_only)
        try:
            model = _read_model(converter.convert(trace(net.eval(), given), (given,)).model_content())
        except Exception as error:  # the converter's errors have no common base
            raise SondinoError(f"LiteRT cannot convert {source.name}: {first_line(error)}") from error
        _short_names(model)
        if precision == "int8":
            model, kept = _quantised(source, model, length, calibration, body_only)
            notes = ("Constants of the front-end are stored in float16.",)
        elif precision == "f16":
            every = set(range(len(model.subgraphs[0].tensors)))
            _halve(model, every if body_only else every - _front_end_constants(model))
            notes = ("Weights are stored in float16 and computed with in float32; the front-end is float32.",)
        content = _bytes(model)
    write_whole(file, content)
    return Converted(1, length, kept, versions("litert-torch", "ai-edge-litert", "ai-edge-quantizer", "torch"), notes)


def _read_model(content: bytes) -> Any:
    """A file as a tree of objects (`ModelT` of the schema)."""
    return require_edge("ai_edge_litert.tools.flatbuffer_utils", ENVIRONMENT).read_model_from_bytearray(
        bytearray(content)
    )


def _bytes(model: Any) -> bytes:
    """The tree as a file, in which equal lists, such as zero points of many channels, stand once."""
    flatbuffers = require_edge("flatbuffers", ENVIRONMENT)

    class Sharing(flatbuffers.Builder):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__(1 << 20)
            self.made: dict[tuple[int, bytes], int] = {}

        def CreateNumpyVector(self, values: NDArray[Any]) -> int:
            key = (values.itemsize, values.tobytes())
            if key not in self.made:
                self.made[key] = super().CreateNumpyVector(values)
            return self.made[key]

    builder = Sharing()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _short_names(model: Any) -> None:
    """Name tensors by numbers: the converter's names hold each layer's path in Python, longer than most weights."""
    for graph in model.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        for i, tensor in enumerate(graph.tensors):
            if i not in ends:
                tensor.name = f"t{i}".encode()


def _operators(model: Any) -> list[tuple[str, Any]]:
    """Kind and operator, in the order of execution."""
    schema = require_edge("ai_edge_litert.schema_py_generated", ENVIRONMENT)
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [kinds[code.builtinCode] for code in model.operatorCodes]
    return [(codes[operator.opcodeIndex], operator) for operator in model.subgraphs[0].operators]


def _quantised(
    source: TorchModel, model: Any, samples: int, calibration: Sequence[NDArray[np.float32]], body_only: bool
) -> tuple[Any, tuple[str, ...]]:
    """The model in static int8, and what of it stays in float."""
    clips = clips_without_norm_outliers(source, calibration, samples)
    ranging, measured = (log_mels(source, part) if body_only else part for part in clips)
    content = _bytes(model)
    found = _operators(model)
    begin = 0 if body_only else _end_of_front_end(found)
    names = [(kind, model.subgraphs[0].tensors[operator.outputs[0]].name.decode()) for kind, operator in found]
    head = source.as_head()
    end = len(names) - (0 if head is None else 1 + 2 * len(head.layers))
    layers = sum(kind in _WEIGHTED for kind, _ in names[begin:end])

    def make(choice: FloatLayers) -> bytes:
        return _with_ranges(content, names, begin, end, choice, ranging)

    def embeddings(form: bytes) -> NDArray[np.float32]:
        return _runner(form, 1, "the int8 file")(measured)

    form, choice, cosine = least_float(make, embeddings, source.embed_array(clips.measured), layers)
    kept = kept_in_float(choice, "activations, means and gates")
    if cosine < LITERT_INT8_COSINE:
        form = _with_ranges(content, names, begin, end, None, ranging)
        kept = ("all computation: activations lose too much in int8, and only weights are stored in it",)
    made = _read_model(form)
    if not body_only:
        _halve(made, _front_end_constants(made))
    return made, kept


def _end_of_front_end(operators: Sequence[tuple[str, Any]]) -> int:
    """The number of the front-end's operators: it ends at the log."""
    return 1 + [kind for kind, _ in operators].index("LOG")


def _front_end_constants(model: Any) -> set[int]:
    """The numbers of the tensors that the front-end's operators read."""
    operators = _operators(model)
    return {i for _, operator in operators[: _end_of_front_end(operators)] for i in operator.inputs if i >= 0}


def _with_ranges(
    content: bytes,
    names: list[tuple[str, str]],
    begin: int,
    end: int,
    choice: FloatLayers | None,
    ranging: NDArray[np.float32],
) -> bytes:
    """The file in int8 but for the front-end and the layers that stay in float, with ranges of its inputs (clips, ...).

    With `choice` None only weights are int8: stored in int8, computed in float.
    """
    aeq = require_edge("ai_edge_quantizer.quantizer", ENVIRONMENT)
    kinds = require_edge("ai_edge_quantizer.qtyping", ENVIRONMENT).TFLOperationName
    never = require_edge("ai_edge_quantizer.algorithm_manager", ENVIRONMENT).AlgorithmName.NO_QUANTIZE
    weighted = [i for i in range(begin, end) if names[i][0] in _WEIGHTED]
    floats = list(range(len(names)))
    if choice is not None:
        first = weighted[choice.first] if choice.first else begin
        last = weighted[-choice.last] if choice.last else end
        integer = (*_INT8, "ADD") if choice.sums else _INT8
        floats = [i for i in floats if not first <= i < last or names[i][0] not in integer]
    quantizer = aeq.Quantizer(content)
    if choice is not None:
        quantizer.add_static_config(".*", kinds.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
        for kind in (kinds.INPUT, kinds.OUTPUT):
            quantizer.update_quantization_recipe(".*", kind, algorithm_key=never)
        quantizer.update_quantization_recipe(
            _any_of(names[i][1] for i in floats), kinds.ALL_SUPPORTED, algorithm_key=never
        )
    # Their weights are still stored in int8.
    stored = [names[i][1] for i in floats if i >= begin and names[i][0] in _WEIGHTED]
    for kind in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D, kinds.FULLY_CONNECTED):
        quantizer.add_weight_only_config(_any_of(stored), kind, num_bits=8)
    signature, ends = next(iter(_interpreter(content, 1).get_signature_list().items()))
    samples = [{ends["inputs"][0]: clip[None]} for clip in ranging]
    ranges = quantizer.calibrate({signature: samples}, num_threads=1) if choice is not None else {}
    return bytes(quantizer.quantize(ranges).quantized_model)


def _any_of(names: Iterable[str]) -> str:
    """A pattern of whole tensor names; the quantizer puts a semicolon behind each."""
    return f"^({'|'.join(map(re.escape, names))});?$"


def _halve(model: Any, tensors: Iterable[int]) -> None:
    """Store float32 constants in float16, each behind a DEQUANTIZE that the runtime computes once."""
    schema = require_edge("ai_edge_litert.schema_py_generated", ENVIRONMENT)
    graph = model.subgraphs[0]
    made = []
    for i in sorted(tensors):
        old = graph.tensors[i]
        data = model.buffers[old.buffer].data
        if data is None or len(data) < _HALVED or old.type != _FLOAT32:
            continue
        half = schema.TensorT()
        half.name, half.shape, half.type, half.buffer = old.name + b"/half", old.shape, _FLOAT16, len(model.buffers)
        half.quantization = schema.QuantizationParametersT()
        stored = schema.BufferT()
        stored.data = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float32).astype(np.float16).view(np.uint8)
        model.buffers.append(stored)
        old.buffer = 0  # the empty one: computed, no constant
        graph.tensors.append(half)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = (
            len(model.operatorCodes),
            [len(graph.tensors) - 1],
            [i],
        )
        made.append(operator)
    if made:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
        code.version = 2
        model.operatorCodes.append(code)
        graph.operators = [*made, *graph.operators]
        used = {tensor.buffer for part in model.subgraphs for tensor in part.tensors}
        for i, buffer in enumerate(model.buffers):
            if i not in used and buffer.data is not None and len(buffer.data) >= _HALVED:
                buffer.data = None


def _interpreter(content: bytes, threads: int) -> Any:
    interpreter = require("ai_edge_litert.interpreter", "litert")
    return interpreter.Interpreter(model_content=content, num_threads=threads)


def open_litert(file: Path, threads: int | None = None) -> Run:
    """Open a .tflite file of ours; `pip install 'sondino[litert]'` is enough.

    Args:
        file: the file.
        threads: to run on; None: as many as this process may use.

    Returns:
        from waveforms (batch, samples), or log-mels (batch, n_mels, frames), to embeddings (batch, dim), row by row.

    Raises:
        MissingExtra: ai-edge-litert is not installed.
        SondinoError: it cannot be opened.
    """
    require("ai_edge_litert.interpreter", "litert")
    try:
        return _runner(file.read_bytes(), thread_count(threads), str(file))
    except (OSError, RuntimeError, ValueError) as error:
        raise SondinoError(f"{file}: LiteRT cannot open it ({first_line(error)})") from error


def _runner(content: bytes, threads: int, where: str) -> Run:
    """Runs a file row by row; returns its first output."""
    with suppress_native_output():
        model = _interpreter(content, threads)
        model.allocate_tensors()
    given, result = model.get_input_details()[0], model.get_output_details()[0]
    shape = tuple(int(n) for n in given["shape"])

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if batch.shape[1:] != shape[1:]:
            raise OptionError(f"{where} takes clips of shape {shape[1:]}, not {batch.shape[1:]}")
        rows = []
        for row in batch:
            model.set_tensor(given["index"], np.ascontiguousarray(row[None], np.float32))
            model.invoke()
            rows.append(model.get_tensor(result["index"]))
        return np.concatenate(rows)

    return run
