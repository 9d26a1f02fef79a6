"""Sondino: small audio models out of big ones.

`distill` makes a student from a teacher and a folder of sound; `load` opens what it made.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sondino.bundle import load
    from sondino.corpus.clusters import fit_clusters
    from sondino.corpus.table import build_corpus, open_corpus
    from sondino.corpus.targets import compute_targets
    from sondino.distill.distill import distill
    from sondino.embed import embed_files
    from sondino.encoder import Encoder, check_encoder
    from sondino.errors import SondinoError
    from sondino.runtime import Model
    from sondino.teachers import load_teacher

__version__ = "0.1.0"

_HOMES = {
    "Encoder": "encoder",
    "Model": "runtime",
    "SondinoError": "errors",
    "build_corpus": "corpus.table",
    "check_encoder": "encoder",
    "compute_targets": "corpus.targets",
    "distill": "distill.distill",
    "embed_files": "embed",
    "fit_clusters": "corpus.clusters",
    "load": "bundle",
    "load_teacher": "teachers",
    "open_corpus": "corpus.table",
}

__all__ = [
    "Encoder",
    "Model",
    "SondinoError",
    "build_corpus",
    "check_encoder",
    "compute_targets",
    "distill",
    "embed_files",
    "fit_clusters",
    "load",
    "load_teacher",
    "open_corpus",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import sondino` is quick and needs nothing that the user did not install.
    if name not in _HOMES:
        raise AttributeError(f"module 'sondino' has no attribute {name!r}")
    if name == "distill":
        return import_module("sondino.distill")  # a room that is itself the function; its __init__ says why
    return getattr(import_module(f"sondino.{_HOMES[name]}"), name)
