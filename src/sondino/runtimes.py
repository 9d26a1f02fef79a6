"""ONNX Runtime and OpenVINO, opened here alone: on the processors that this process may use, and without reports."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from sondino.errors import require
from sondino.files import thread_count


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
    return onnxruntime.InferenceSession(given, options, providers=list(providers))


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
