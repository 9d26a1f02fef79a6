"""Files that are there and cannot be read, as on a disk that fails."""

import io
from pathlib import Path
from typing import Any

import pytest

REASON = "Input/output error"


class Unreadable(io.BytesIO):
    """An open file whose every read fails."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, REASON)


def fail_to_read(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let files of these names be opened, and every read of them fail."""
    real = Path.open

    def opened(self: Path, mode: str = "r", *given: Any, **options: Any) -> Any:
        return Unreadable() if mode == "rb" and self.name in names else real(self, mode, *given, **options)

    monkeypatch.setattr(Path, "open", opened)
