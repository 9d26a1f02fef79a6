"""From a folder of audio to what training reads: the clip table, decoded clips, a teacher's targets, clusters."""

from importlib import import_module
from typing import Any

# The module that each public name is defined in; __init__.pyi says the same to editors and type checkers.
_MODULES = {
    "build_corpus": "table",
    "open_corpus": "table",
    "compute_targets": "targets",
    "fit_clusters": "clusters",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    # Imported at first use: tables need pyarrow, which the base install does not have.
    if name not in _MODULES:
        raise AttributeError(f"module 'sondino.corpus' has no attribute {name!r}")
    return getattr(import_module(f"sondino.corpus.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
