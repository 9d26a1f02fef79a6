"""Sondino: small audio models out of big ones.

`distill` makes a student from a teacher and a folder of sound; `load` opens what it made.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sondino.corpus.clusters import fit_clusters
    from sondino.corpus.table import build_corpus, open_corpus
    from sondino.corpus.targets import compute_targets
    from sondino.distillation.distill import distill
    from sondino.embedding.files import embed_files
    from sondino.encoder.check import check_encoder
    from sondino.encoder.encoder import Encoder
    from sondino.errors import SondinoError
    from sondino.model.model import Model
    from sondino.pretrained.load import load
    from sondino.teachers import load_teacher
    from sondino.version import __version__ as __version__


_HOMES = {
    "__version__": "version",
    "Encoder": "encoder.encoder",
    "Model": "model.model",
    "SondinoError": "errors",
    "build_corpus": "corpus.table",
    "check_encoder": "encoder.check",
    "compute_targets": "corpus.targets",
    "distill": "distillation.distill",
    "embed_files": "embedding.files",
    "fit_clusters": "corpus.clusters",
    "load": "pretrained.load",
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
    return getattr(import_module(f"sondino.{_HOMES[name]}"), name)
