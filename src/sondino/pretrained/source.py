"""What a converted bundle's config.json records of its checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from sondino.files import sha256

CheckpointKind = Literal["ssondo", "efficientat", "panns", "matpac", "m2d"]


def source_facts(
    kind: CheckpointKind, file: Path, licence: str, dropped: Sequence[str] = (), url: str = ""
) -> dict[str, Any]:
    """The entry "source" of config.json.

    Args:
        kind: whose checkpoint it is.
        file: the checkpoint.
        licence: of the weights.
        dropped: a phrase for each part of the file that the bundle leaves out.
        url: where the file is published; empty where that is not known.
    """
    return {
        "kind": kind,
        "file": file.name,
        "sha256": sha256(file),
        "url": url,
        "licence": licence,
        "dropped": list(dropped),
    }
