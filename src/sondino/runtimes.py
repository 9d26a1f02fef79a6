"""ONNX Runtime and OpenVINO, opened here alone: on the processors that this process may use, and without reports."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from sondino.errors import SondinoError, content_elsewhere, require
from sondino.files import thread_count
from sondino.onnx_weights import with_weights


def onnx_session(
    model: str | os.PathLike[str] | bytes,
    threads: int | None = None,
    *,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    optimized: Path | None = None,
) -> Any:
    """Open an ONNX Runtime session.

    Args:
        model: a file, or what it holds.
        threads: that a call is computed on; None: as many as this process may use.
        providers: of ONNX Runtime.
        optimized: where to write the graph after basic optimizations.

    Returns:
        an onnxruntime.InferenceSession; ONNX Runtime's own errors pass.

    Raises:
        SondinoError: the file, or its weights beside it, is a link to nothing.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Its default is a thread for each core of the machine, each bound to it, whatever affinity the process has.
    options.intra_op_num_threads = thread_count(threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors are raised too
    if optimized is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(optimized)
    given = model if isinstance(model, bytes) else os.fspath(model)
    try:
        return onnxruntime.InferenceSession(given, options, providers=list(providers))
    except Exception:  # its errors have no common base
        whole = None if isinstance(model, bytes) else through_links(Path(model))
        if whole is None:
            raise
    return onnxruntime.InferenceSession(whole, options, providers=list(providers))


def through_links(file: Path) -> bytes | None:
    """The content of an ONNX file with its weights inside, where it or a file beside it is a link; else None.

    Both runtimes refuse weights that are a link out of the folder, as those of git-annex and of the hub's cache are.

    Raises:
        SondinoError: a link leads nowhere.
    """
    try:
        beside = [each for each in file.parent.iterdir() if each.is_symlink()]
        if not beside or file.suffix != ".onnx":
            return None
        return with_weights(file)
    except OSError as error:
        elsewhere = content_elsewhere(Path(error.filename)) if error.filename else None
        if elsewhere is None:
            return None
        raise SondinoError(elsewhere) from error
    except ValueError:
        return None


def openvino_model(file: Path, settings: Mapping[str, str]) -> Any:
    """A model compiled by OpenVINO for the processor.

    Args:
        file: model.onnx, or model.xml.
        settings: of OpenVINO.

    Returns:
        an openvino.CompiledModel.

    Raises:
        MissingExtra: openvino is not installed.
        SondinoError: it cannot be opened.
    """
    openvino = import_openvino()
    # Its binding looks NumPy up at its first array. Two threads that come to it together wait for each other for ever
    # (pybind11's lock and the interpreter's; OpenVINO 2026.4): so it is done here.
    openvino.Tensor(np.zeros(1, np.float32)).data  # noqa: B018
    core = openvino.Core()
    try:
        try:
            return core.compile_model(str(file), "CPU", dict(settings))
        except Exception:
            whole = through_links(file)
            if whole is None:
                raise
        return core.compile_model(core.read_model(whole), "CPU", dict(settings))
    except SondinoError:
        raise
    except Exception as error:  # RuntimeErrors of many kinds
        raise SondinoError(f"{file}: OpenVINO cannot open it ({openvino_reason(error)})") from error


def openvino_reason(error: BaseException) -> str:
    """The line of an OpenVINO error that says what is wrong: the last, after places in its own source."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    rest = [line for line in lines if not re.fullmatch(r"(Exception from|Check '.*' failed at) \S+:\d+:?", line)]
    return (rest or lines or [type(error).__name__])[-1]


def import_openvino() -> ModuleType:
    """The openvino package, imported without its reports.

    Raises:
        MissingExtra: it is not installed.
    """
    # Its import sends an event to Google Analytics and writes to the home folder, unless openvino_telemetry is absent.
    # The only setting for that is a file in the home folder.
    hidden = "openvino_telemetry"
    if "openvino" in sys.modules or hidden in sys.modules:
        return require("openvino", "openvino")
    sys.modules[hidden] = cast(ModuleType, None)
    try:
        return require("openvino", "openvino")
    finally:
        del sys.modules[hidden]
