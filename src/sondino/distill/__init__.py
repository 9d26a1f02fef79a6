"""Distillation from output embeddings alone (S-SONDO, arXiv 2604.24933)."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sondino.errors import require

for _module in ("torch", "accelerate", "safetensors", "pyarrow", "sklearn", "yaml", "onnx", "onnxscript"):
    require(_module, "train")


class _Callable(ModuleType):
    """Python gives a package's name to the package itself, so `sondino.distill(...)` must be a call of this one."""

    def __call__(self, *args: Any, **options: Any) -> Path:
        """Call `sondino.distill.distill.distill`."""
        from sondino.distill.distill import distill

        return distill(*args, **options)


sys.modules[__name__].__class__ = _Callable
