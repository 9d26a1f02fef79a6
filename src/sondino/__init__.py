"""Small audio models out of big ones: distil a teacher into a student, export it, and embed audio with it.

`distill` makes a student from a teacher and a folder of audio; `load` opens what it made.

    use      load, Model, Encoder, Head, check_encoder, embed_files, embed_stream, classify_files, detect_files,
             find_similar; build_index (sondino[search]); SondinoEmbedder (sondino[report])
    make     load_teacher; pretrain, distill, finetune, convert, prune, quantize, export (sondino[train]);
             push (sondino[hub])
    measure  evaluate, compare, probe, bench, report
    list     list_models, list_students, list_teachers, list_tasks
    errors   SondinoError

In brackets: what `pip install` has to bring where a name needs it. Names that cannot be imported are left out of
`dir(sondino)`. docs/api.md describes each.
"""

import os
from importlib import import_module
from typing import Any

# Libraries that report how they are used unless a setting says no, the first as soon as it is imported: see
# docs/privacy.md. Here, before anything can import them, and inherited by child processes.
for _setting, _off in {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}.items():
    if not os.environ.get(_setting):  # a user's own setting stays
        os.environ[_setting] = _off

# The module that each public name is defined in; __init__.pyi says the same to editors and type checkers.
_MODULES = {
    # use
    "load": "pretrained.load",
    "Model": "model.model",
    "Encoder": "encoder.encoder",
    "Head": "encoder.head",
    "check_encoder": "encoder.check",
    "embed_files": "embedding.files",
    "embed_stream": "embedding.streams",
    "classify_files": "embedding.classify",
    "detect_files": "embedding.detect",
    "find_similar": "embedding.similar",
    "build_index": "embedding.search_index",
    "SondinoEmbedder": "scikit_learn",
    # make
    "load_teacher": "teachers",
    "pretrain": "pretraining.pretrain",
    "distill": "distillation.distill",
    "finetune": "finetuning.finetune",
    "convert": "pretrained.convert",
    "prune": "pruning.prune",
    "quantize": "exporters.quantize",
    "export": "exporters.export",
    "push": "exporters.publishing",
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

# The extras without which a name cannot be imported.
_EXTRAS = {
    **dict.fromkeys(("pretrain", "distill", "finetune", "convert", "prune", "quantize", "export"), "train"),
    "SondinoEmbedder": "report",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    # Imported at first use: `import sondino` is fast, and needs only what the user installed.
    if name not in _MODULES:
        raise AttributeError(f"module 'sondino' has no attribute {name!r}")
    return getattr(import_module(f"sondino.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    # Without names that raise: `help` and the completion of Python's prompt read each of them.
    from sondino.errors import MissingExtra, require_extra

    missing = set()
    for extra in set(_EXTRAS.values()):
        try:
            require_extra(extra)
        except MissingExtra:
            missing.add(extra)
    return [name for name in __all__ if _EXTRAS.get(name) not in missing]
