"""Open models in any runtime on a number of threads: waveforms to embeddings, and the front-end by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.errors import EncoderError, SondinoError, require
from sondino.files import read_json
from sondino.runtimes import onnx_session, openvino_model
from sondino.text import first_line

Array = NDArray[np.float32]
Run = Callable[[Array], Array]


@dataclass(frozen=True)
class Parts:
    """A model's front-end and net, to be timed separately.

    Attributes:
        net: log-mels (batch, n_mels, frames) to embeddings, in the same runtime on the same threads.
        log_mels: waveforms to log-mels, the input of the net.
        front_end: the same as the model computes it, to be timed; None where it is part of a graph: its time is then
            that of the model minus that of the net.
    """

    net: Callable[[Any], Any]
    log_mels: Run
    front_end: Callable[[Array], Any] | None


@dataclass(frozen=True)
class Opened:
    """A model ready to run.

    Attributes:
        embed: waveforms (batch, samples) to embeddings (batch, dim).
        sample_rate: hertz.
        window: seconds, a fixed length; None: any length.
        hop: seconds from one window to the next; None: as long as a window.
        files: needed to run it.
        parameters: weights that the embeddings come from; None: not known.
        macs_per_10s: multiply-accumulates for 10 s of audio, without the front-end; None: not known.
        parts: opens front-end and net; None where they cannot be separated.
        encoder: a teacher, whose parameters are counted at the end.
    """

    embed: Run
    sample_rate: int
    window: float | None
    hop: float | None
    files: tuple[Path, ...]
    parameters: int | None = None
    macs_per_10s: int | None = None
    parts: Callable[[], Parts] | None = None
    encoder: Any = field(default=None, compare=False)


def open_bundle(folder: Path, runtime: str, precision: str, threads: int) -> Opened:
    """A bundle in one of `given.OF_BUNDLES`.

    Raises:
        SondinoError: a file of it cannot be read, or the runtime cannot open it.
    """
    config = read_json(folder / "config.json")
    parts: Callable[[], Parts] | None
    net = "body.onnx" if (folder / "body.onnx").is_file() and "front_end" in config else None
    if runtime == "torch":
        embed, parts = _torch(folder, threads)
        shipped: tuple[str, ...] = ("model.safetensors", "config.json")
    elif runtime.endswith("-graph"):
        opener = _plain(runtime.removesuffix("-graph"), precision, threads)
        embed, shipped = opener(folder / "model.onnx"), ("model.onnx",)
        parts = None if net is None else lambda: Parts(opener(folder / net), _numpy_log_mels(config), None)
    else:
        embed = _model(folder, runtime, precision, threads)
        shipped = ("model.onnx", *((net,) if net else ()), "config.json")
        parts = None if net is None else lambda: _own_parts(folder / net, config, runtime, precision)
    from sondino.nets.registry import STUDENTS

    return Opened(
        embed,
        int(config["sample_rate"]),
        None if config.get("student") in STUDENTS else config.get("window"),
        config.get("hop"),
        tuple(folder / name for name in shipped),
        config.get("parameters"),
        config.get("macs_per_10s"),
        parts,
    )


def _model(folder: Path, runtime: str, precision: str, threads: int) -> Run:
    """As `sondino.load` opens it."""
    from sondino.model.model import Model

    model = Model(folder, threads, engine=runtime, precision=_computed_in(precision))  # type: ignore[arg-type]
    return model.embed


def _computed_in(precision: str) -> str:
    """The precision of the layers that are not quantized."""
    return "float32" if precision == "int8" else precision


def _numpy_log_mels(config: dict[str, Any]) -> Run:
    from sondino.frontend.logmel import LogMel
    from sondino.frontend.logmel_numpy import log_mel

    spec = LogMel.from_dict(config["front_end"])
    return lambda waveforms: np.stack([log_mel(spec, waveform) for waveform in waveforms])


def _own_parts(body: Path, config: dict[str, Any], runtime: str, precision: str) -> Parts:
    """On the calling thread alone, as a single clip is embedded."""
    from sondino.model.sessions import open_session

    front_end = _numpy_log_mels(config)
    session = open_session(body, 1, "cpu", runtime, _computed_in(precision))  # type: ignore[arg-type]
    return Parts(session, front_end, front_end)


def _torch(folder: Path, threads: int) -> tuple[Run, Callable[[], Parts]]:
    torch = require("torch", "train")
    from sondino.frontend.logmel_torch import FFTLogMel
    from sondino.nets.saved import read_student

    torch.set_num_threads(threads)
    student = read_student(folder)
    front_end = FFTLogMel(student.logmel)

    def embed(waveforms: Array) -> Array:
        with torch.inference_mode():
            embeddings: Array = student(front_end(torch.from_numpy(waveforms))).numpy()
        return embeddings

    def inference(module: Any) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            with torch.inference_mode():
                return module(torch.as_tensor(x))

        return run

    return embed, lambda: Parts(inference(student), inference(front_end), inference(front_end))


def _plain(engine: str, precision: str, threads: int) -> Callable[[Path], Run]:
    """A graph in plain ONNX Runtime or OpenVINO, without sondino's own session."""
    if engine == "openvino":
        return lambda file: _plain_openvino(file, precision, threads)
    return lambda file: _plain_onnxruntime(file, threads)


def _plain_onnxruntime(file: Path, threads: int) -> Run:
    try:
        session = onnx_session(file, threads)
    except SondinoError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise SondinoError(f"{file}: ONNX Runtime cannot open it ({first_line(error)})") from error
    given, result = session.get_inputs()[0].name, session.get_outputs()[0].name
    return lambda x: np.asarray(session.run([result], {given: x})[0], np.float32)


def _plain_openvino(file: Path, precision: str, threads: int) -> Run:
    kinds = {"bfloat16": "bf16", "float16": "f16"}
    settings = {
        "INFERENCE_PRECISION_HINT": kinds.get(precision, "f32"),
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": "1",
    }
    request = openvino_model(file, settings).create_infer_request()
    return lambda x: np.array(request.infer([x])[0], np.float32)


def _plain_executorch(file: Path, threads: int) -> Run:
    """With nothing but its runtime in memory, which in Python needs torch; one clip a call, as the file is."""
    runtime = require("executorch.extension.pybindings.portable_lib", "train")
    torch = require("torch", "train")
    runtime._unsafe_reset_threadpool(threads)
    try:
        module = runtime._load_for_executorch(str(file))
    except RuntimeError as error:
        raise SondinoError(f"{file}: ExecuTorch cannot open it ({first_line(error)})") from error

    def run(x: Array) -> Array:
        rows = (torch.from_numpy(row[None]) for row in x)
        return np.concatenate([module.forward([row])[0].numpy().copy() for row in rows])

    return run


def _plain_litert(file: Path, threads: int, dim: int) -> Run:
    """With nothing but LiteRT in memory: sondino's own exporting side needs torch."""
    litert = require("ai_edge_litert.interpreter", "litert")
    try:
        model = litert.Interpreter(model_path=str(file), num_threads=threads)
        model.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise SondinoError(f"{file}: LiteRT cannot open it ({first_line(error)})") from error
    source = model.get_input_details()[0]["index"]
    # Where there is a head its probabilities are an output too.
    result = next(each["index"] for each in model.get_output_details() if each["shape"][-1] == dim)

    def run(x: Array) -> Array:
        if tuple(model.get_input_details()[0]["shape"]) != x.shape:
            model.resize_tensor_input(source, x.shape)
            model.allocate_tensors()
        model.set_tensor(source, x)
        model.invoke()
        return np.array(model.get_tensor(result), np.float32)

    return run


def open_export(folder: Path, threads: int) -> Opened:
    """An export of `sondino export`, in its own runtime.

    Raises:
        SondinoError: the runtime cannot open it.
    """
    facts = read_json(folder / "export.json")
    file, to, rate = folder / facts["file"], facts["to"], int(facts["sample_rate"])
    precision = "float32" if facts["precision"] == "f16" else facts["precision"]  # f16: of the weights
    if to == "executorch":
        run = _plain_executorch(file, threads)
    elif to == "litert":
        run = _plain_litert(file, threads, int(facts["dim"]))
    else:
        run = _plain("openvino" if to == "openvino" else "onnxruntime", precision, threads)(file)
    if facts.get("batch") == 1:
        run = _one_by_one(run)
    embed, parts = run, None
    if facts["input"] == "logmel":
        front_end = _numpy_log_mels(facts)

        def embed(waveforms: Array) -> Array:
            return run(front_end(waveforms))

        def parts() -> Parts:
            return Parts(run, front_end, front_end)

    return Opened(
        embed,
        rate,
        None if facts["samples"] is None else facts["samples"] / rate,
        None,
        tuple(folder / name for name in facts["hashes"] if name != "card.md"),
        facts.get("parameters"),
        facts.get("macs_per_10s"),
        parts,
    )


def _one_by_one(run: Run) -> Run:
    return lambda batch: np.concatenate([run(batch[i : i + 1]) for i in range(len(batch))])


def open_teacher(name: str, threads: int) -> Opened:
    """A teacher as `sondino teachers` lists them.

    Raises:
        SondinoError: it cannot be opened.
    """
    from sondino.encoder.encoder import resolve
    from sondino.teachers import load_teacher
    from sondino.teachers.catalogue import RECORDS
    from sondino.teachers.spec import parse_teacher

    record = RECORDS[parse_teacher(name).kind]
    if "threads" in record.options:
        name = f"{name}{'&' if parse_teacher(name).options else '?'}threads={threads}"
    elif record.extra == "train":
        require("torch", "train").set_num_threads(threads)
    teacher = resolve(load_teacher(name, "cpu"))
    file = teacher.path or parse_teacher(name).file
    beside = [Path(file), Path(f"{file}.data")] if file else []
    files = tuple(each for each in beside if each.is_file())
    return Opened(teacher.embed, teacher.sample_rate, teacher.window, teacher.hop, files, encoder=teacher)


def check_embeddings(embeddings: Array, rows: int) -> None:
    """Check that a result is one finite embedding a row: its time would mean nothing otherwise.

    Raises:
        EncoderError: it is not.
    """
    shape = np.shape(embeddings)
    if len(shape) != 2 or shape[0] != rows:
        raise EncoderError(f"it gave an array of shape {shape} for {rows} waveforms, not one embedding each")
    if not np.isfinite(embeddings).all():
        raise EncoderError("it gave NaN or infinite values for noise")
