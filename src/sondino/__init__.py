"""Small audio models out of big ones: distil a teacher into a student, export it, and embed audio with it.

`distill` makes a student from a teacher and a folder of audio; `load` opens what it made.
"""

from importlib import import_module
from typing import Any

# The module that each public name is defined in; __init__.pyi says the same to editors and type checkers.
_MODULES = {
    # use
    "load": "pretrained.load",
    "Model": "model.model",
    "Encoder": "encoder.encoder",
    "check_encoder": "encoder.check",
    "embed_files": "embedding.files",
    "embed_stream": "embedding.streams",
    "classify_files": "embedding.classify",
    "find_similar": "embedding.similar",
    # make
    "load_teacher": "teachers",
    "distill": "distillation.distill",
    "finetune": "finetuning.finetune",
    "convert": "pretrained.convert",
    "prune": "pruning.prune",
    "quantize": "exporters.quantize",
    "export": "exporters.export",
    # measure
    "evaluate": "evaluation.evaluate",
    "compare": "evaluation.compare",
    "probe": "finetuning.linear_head",
    "bench": "benchmark.bench",
    "report": "reporting.report",
    # list
    "list_models": "hub.catalogue",
    "list_students": "nets.registry",
    "list_teachers": "teachers",
    "list_tasks": "tasks.registry",
    # errors and version
    "SondinoError": "errors",
    "__version__": "version",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    # Imported at first use: `import sondino` is fast, and needs only what the user installed.
    if name not in _MODULES:
        raise AttributeError(f"module 'sondino' has no attribute {name!r}")
    return getattr(import_module(f"sondino.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
