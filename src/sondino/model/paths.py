"""File names in the place of paths: a bundle is given to others, who have not the folders of this machine."""

import re
from collections.abc import Mapping
from typing import Any

_PATH = re.compile(r"(?<![\w#/.~])(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^?#&:,/\\\n]+[/\\])*(?=[^?#&:,/\\\n])")
"""The folders in front of a file's name, absolute or from the home or working folder; not a tensor's name behind #."""
_MODEL_PATH = re.compile(
    r"^(\w+:)?(?:[^?#&:/\\]+[/\\])+(?=[^?#&:/\\]+\.(?:onnx|tflite|ts|py|npz|parquet|pt|pth|ckpt)\b)"
)
"""The folders in front of a model file in the name of a teacher, from the working folder."""
NAMES_OF_USERS = {"labels"}
"""Entries whose values are words of the user's own, and no paths."""


def without_paths(value: Any) -> Any:
    """A bundle's facts with file names in the place of paths of this machine.

    Args:
        value: of config.json, or a part of it; labels stay as they are.
    """
    if isinstance(value, str):
        return value if "://" in value else _MODEL_PATH.sub(r"\1", _PATH.sub("", value))
    if isinstance(value, Mapping):
        return {key: part if key in NAMES_OF_USERS else without_paths(part) for key, part in value.items()}
    return [without_paths(part) for part in value] if isinstance(value, list | tuple) else value
