"""What an export is made of: a bundle opened as a torch net, with its head and the facts that go along."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.audio import ShortPolicy
from sondino.errors import SondinoError
from sondino.frontend_torch import FFTLogMel, MatmulLogMel
from sondino.heads.head import Head, read_head
from sondino.heads.network import layers_of
from sondino.runtime import FORMAT, read_config
from sondino.students.common import Student
from sondino.students.fold import folded
from sondino.students.saved import read_student

NEEDED = ("name", "student", "window", "short", "minimum", "sample_rate", "dim", "parameters", "macs_per_10s", "hashes")
"""Entries of config.json that an export tells of."""


@dataclass(frozen=True)
class Source:
    """A bundle, opened to be exported.

    Attributes:
        folder: the bundle.
        config: all of its config.json.
        student: the net with its weights, in evaluation mode, float32, on the CPU.
        head: from vectors to labels; None where the bundle has none.
    """

    folder: Path
    config: dict[str, Any]
    student: Student
    head: Head | None

    @property
    def rate(self) -> int:
        """Hertz of the waveforms that it takes."""
        return self.student.logmel.sample_rate

    @property
    def window(self) -> float:
        """Seconds that a sound is cut into."""
        return float(self.config["window"])

    @property
    def short(self) -> ShortPolicy:
        """What becomes of a clip under a window."""
        short = self.head.short if self.head is not None and self.head.short is not None else self.config["short"]
        return cast(ShortPolicy, short)

    def vectors(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the trained net gives: vectors (batch, dim) of waveforms (batch, samples), through the FFT log-mel."""
        with torch.inference_mode():
            logmel = FFTLogMel(self.student.logmel)(torch.from_numpy(waveforms))
            return np.asarray(self.student(logmel).numpy(), np.float32)


def open_source(folder: Path) -> Source:
    """Open a bundle to export it.

    Args:
        folder: the bundle.

    Raises:
        OptionError: it is quantised, or no student.
        SondinoError: it is no bundle, or damaged.
    """
    config = read_config(folder / "config.json")
    if config.get("format") != FORMAT:
        raise SondinoError(f"{folder / 'config.json'}: format is {config.get('format')!r}, not {FORMAT!r}; name the "
                           "folder of a bundle")  # fmt: skip
    student = read_student(folder).float().cpu().eval()
    missing = [key for key in NEEDED if key not in config]
    if missing or "model.safetensors" not in config["hashes"]:
        raise SondinoError(f"{folder / 'config.json'}: is damaged (without {', '.join(missing) or 'hashes'}); "
                           "copy the whole bundle again")  # fmt: skip
    head = read_head(folder, config["head"]) if config.get("head") else None
    return Source(folder, config, student, head)


class WaveformNet(nn.Module):
    """A student with its front-end, and its head if it has one, ready to be exported.

    Takes waveforms (batch, samples), or log-mels (batch, n_mels, frames) where `body_only`; gives vectors
    (batch, dim), or vectors and probabilities (batch, labels).
    """

    def __init__(self, student: Student, head: Head | None = None, body_only: bool = False) -> None:
        super().__init__()
        self.frontend: nn.Module = nn.Identity() if body_only else MatmulLogMel(student.logmel)
        self.student = folded(student)
        self.head = layers_of(head) if head is not None else None
        self.multi_label = head is not None and head.multi_label

    def forward(self, given: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Vectors, or vectors and probabilities."""
        vector = self.student(self.frontend(given))
        if self.head is None:
            return vector
        logits = self.head(vector)
        return vector, torch.sigmoid(logits) if self.multi_label else torch.softmax(logits, dim=-1)
