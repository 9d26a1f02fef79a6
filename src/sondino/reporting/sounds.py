"""The audio of a page: an excerpt of each clip, once, within a budget of bytes."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.audio.reading import read
from sondino.errors import SondinoError
from sondino.reporting.excerpt import data_uri, excerpt, mp3, outline

SOUND_BYTES = 9_000_000
"""Budget of base64 audio in a page, whose limit is 15 MB in all."""
SEARCHED_SECONDS = 60.0
"""The excerpt of a file is taken from its first seconds, this many."""
RATE = 24_000

Waveform = NDArray[np.floating] | None


class ReportClips:
    """Short excerpts, each identified by its index.

    Attributes:
        uris: the excerpts as data URIs.
        outlines: their peak values, to draw.
        lost: (key, reason) of those that could not be read.
    """

    def __init__(self) -> None:
        self.uris: list[str] = []
        self.outlines: list[list[int]] = []
        self.lost: list[tuple[str, str]] = []
        self.spent = 0
        self._places: dict[str, int | None] = {}
        self._full = 0

    def add(
        self, key: str, waveform: Callable[[], Waveform], sample_rate: int = RATE, upto: int = SOUND_BYTES
    ) -> int | None:
        """The index of a clip's excerpt, which is made at the first call for the clip.

        Args:
            key: identifies the clip.
            waveform: returns it, mono (samples,) or None; a clip that cannot be read counts as lost.
            sample_rate: of the waveform, in Hz.
            upto: bytes after which no new excerpt is added.

        Returns:
            None where there is no audio, or no budget left.
        """
        if key in self._places:
            return self._places[key]
        if upto <= self._full:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # embedding has warned of these already
                decoded = waveform()
        except SondinoError as error:
            self.lost.append((key, str(error)))
            decoded = None
        if decoded is None or not len(decoded):
            self._places[key] = None
            return None
        short, rate = excerpt(decoded, sample_rate)
        uri = data_uri(mp3(short, rate))
        if self.spent + len(uri) > upto:
            self._full = upto  # so that no further clip is decoded
            return None
        self.spent += len(uri)
        self._places[key] = len(self.uris)
        self.uris.append(uri)
        self.outlines.append(outline(short))
        return self._places[key]

    def add_file(self, path: Path, upto: int = SOUND_BYTES) -> int | None:
        """The index of a file's excerpt, the loudest part of its first minute."""
        return self.add(str(path), lambda: read(path, RATE, 0.0, SEARCHED_SECONDS), RATE, upto)

    def data(self) -> dict[str, list[str] | list[list[int]]]:
        """As the page's script reads them."""
        return {"uri": self.uris, "outline": self.outlines}

    def message(self) -> str:
        """A message that counts the clips that could not be decoded, or "" where all could."""
        if not self.lost:
            return ""
        return f"clips whose audio could not be read: {len(self.lost)}, such as {self.lost[0][1]}"
