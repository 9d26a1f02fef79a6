"""Teachers with the HEAR API (Turian and others 2022, arXiv 2203.03022): load_model, get_scene_embeddings."""

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.errors import EncoderError, OptionError, require
from sondino.files import sha256
from sondino.teachers.device import pick_device
from sondino.teachers.module import FunctionEncoder
from sondino.teachers.spec import TeacherSpec


def load_hear(spec: TeacherSpec, device: str = "auto") -> FunctionEncoder:
    """Open `hear:package?weights=FILE`; rate and dimension are the model's own, it takes any length.

    Raises:
        OptionError: the package is not installed or has not the two functions.
        EncoderError: `load_model` fails, or its model does not give its rate and dimension.
    """
    torch = require("torch", "train")
    name = spec.file or ""
    try:
        package = importlib.import_module(name)
    except ImportError as error:
        raise OptionError(f"teacher {spec.text!r}: {name} cannot be imported ({error}): pip install it here") from error
    lacking = [f for f in ("load_model", "get_scene_embeddings") if not callable(getattr(package, f, None))]
    if lacking:
        raise OptionError(f"teacher {spec.text!r}: {name} has no {' and no '.join(lacking)}: it is no HEAR package")
    weights = spec.options.get("weights")
    if weights is not None and not Path(weights).exists():
        raise OptionError(f"teacher {spec.text!r}: weights {weights} do not exist")
    try:
        model = package.load_model(weights) if weights is not None else package.load_model()
        rate, dim = int(model.sample_rate), int(model.scene_embedding_size)
    except Exception as error:
        raise EncoderError(f"teacher {spec.text!r}: load_model failed: {type(error).__name__}: {error}") from error
    target = pick_device(device)
    if isinstance(model, torch.nn.Module):
        model = model.to(target).eval()

    def embed(waveforms: NDArray[np.float32]) -> Any:
        batch = torch.from_numpy(np.ascontiguousarray(waveforms, dtype=np.float32)).to(target)
        with torch.inference_mode():
            answer = package.get_scene_embeddings(batch, model)
        if hasattr(answer, "detach"):
            answer = answer.detach().float().cpu()
        return answer.numpy() if hasattr(answer, "numpy") else answer

    content = " ".join([name, str(getattr(package, "__version__", "")), *(sha256(file) for file in _files(weights))])
    return FunctionEncoder(embed, spec, hashlib.sha256(content.encode()).hexdigest(), rate=rate, dim=dim)


def _files(weights: str | None) -> list[Path]:
    """The file of weights, or those of a folder (such as a bundle), sorted."""
    if weights is None:
        return []
    path = Path(weights)
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
