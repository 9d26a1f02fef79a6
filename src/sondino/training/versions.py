"""The versions and the device that a run was made with."""

import platform

import torch

from sondino.version import __version__


def versions(device: torch.device) -> dict[str, str]:
    """Versions and device of a run, for its record."""
    import onnxruntime

    threads = torch.get_num_threads()
    return {
        "sondino": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {threads} threads",
    }
