"""The engines that run an ONNX file: ONNX Runtime, or OpenVINO where asked for. Inputs and outputs are numpy arrays."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError, SondinoError
from sondino.runtimes import import_openvino, onnx_session, openvino_model, openvino_reason
from sondino.text import first_line

Engine = Literal["onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16", "float16"]
Session = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From the file's one input to its one output. May be called from several threads at once."""

_OPENVINO_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_CAPABILITIES = {"bfloat16": "BF16", "float16": "FP16"}


def open_session(
    file: Path, callers: int, device: str = "cpu", engine: Engine = "onnxruntime", precision: Precision = "float32"
) -> Session:
    """Open an ONNX file of one input and one output.

    Args:
        file: weights outside of it are sought beside it.
        callers: threads that will call it at once; each call is computed on one processor thread.
        device: "cpu" or "cuda" (ONNX Runtime's GPU package).
        engine: what runs it.
        precision: that it computes in; below float32 only with OpenVINO, on processors that support it.

    Raises:
        OptionError: engine, device or precision that is not there, with what to install.
        SondinoError: the file cannot be opened.
    """
    for name, value, choices in (("engine", engine, get_args(Engine)), ("precision", precision, get_args(Precision))):
        if value not in choices:
            raise OptionError(f"{name} is {value!r}: give one of {', '.join(choices)}")
    if device not in ("cpu", "cuda"):
        raise OptionError(f"device is {device!r}: give cpu or cuda")
    if engine == "openvino":
        if device != "cpu":
            raise OptionError("engine openvino runs on the cpu: leave device out, or take engine onnxruntime")
        return _openvino(file, callers, precision)
    if precision != "float32":
        raise OptionError(f"precision {precision} needs engine openvino: ONNX Runtime computes in float32 on a cpu")
    return _onnxruntime(file, device)


def _onnxruntime(file: Path, device: str) -> Session:
    import onnxruntime

    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise OptionError(
            "device cuda: this onnxruntime has no CUDA; pip uninstall onnxruntime, pip install onnxruntime-gpu, "
            "or run the torch form, model.torch_model().cuda()"
        )
    try:
        # Concurrent batches, each on its calling thread, are faster than one batch on all threads.
        session = onnx_session(file, 1, providers=[provider])
    except SondinoError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise SondinoError(f"{file}: ONNX Runtime cannot open it ({first_line(error)})") from error
    if device == "cuda" and provider not in session.get_providers():
        raise OptionError("device cuda: ONNX Runtime found no GPU that it can use; leave device out")
    given, result = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run([result], {given: x})[0], dtype=np.float32)

    return run


def why_not(precision: Precision) -> str | None:
    """Why OpenVINO cannot compute in a precision here; None where it can."""
    try:
        capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except SondinoError as error:
        return str(error)
    needed = _CAPABILITIES.get(precision)
    return f"OpenVINO has no {needed} on this processor" if needed and needed not in capabilities else None


def _openvino(file: Path, callers: int, precision: Precision) -> Session:
    import_openvino()
    reason = why_not(precision)
    if reason is not None:
        raise OptionError(f"precision {precision}: {reason}; take float32")
    settings = {
        # By default OpenVINO uses bfloat16 on processors that support it.
        "INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[precision],
        "INFERENCE_NUM_THREADS": str(callers),
        "NUM_STREAMS": str(callers),
    }
    compiled = openvino_model(file, settings)
    own = threading.local()

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        try:
            return np.array(own.request.infer([x])[0], dtype=np.float32)
        except RuntimeError as error:
            raise SondinoError(openvino_reason(error)) from error

    return run
