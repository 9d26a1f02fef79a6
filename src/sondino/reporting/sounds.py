"""The sounds of a page: each clip once, until the bytes that the page may spend on them are used up."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.audio.reading import read
from sondino.errors import SondinoError
from sondino.reporting.excerpt import data_uri, excerpt, mp3, outline

SOUND_BYTES = 9_000_000
"""Of base64 in the page, of the 15 MB that it may have in all."""
HEARD_SECONDS = 60.0
"""The excerpt of a file is sought in so much of it."""
RATE = 24_000

Waveform = NDArray[np.floating] | None


class ReportClips:
    """Short excerpts, each known by its place.

    Attributes:
        uris: the excerpts as data URIs.
        outlines: their shapes, to draw.
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
        """The place of a clip's excerpt, which is made when the clip is first asked for.

        Args:
            key: what tells clips apart.
            waveform: gives it, mono (samples,) or None; what cannot be read counts as lost.
            sample_rate: of the waveform, in Hz.
            upto: bytes after which no new excerpt is added.

        Returns:
            None where there is no sound, or no room for it.
        """
        if key in self._places:
            return self._places[key]
        if upto <= self._full:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is odd in a file was told when its vector was made
                heard = waveform()
        except (SondinoError, OSError, ValueError) as error:  # the latter of names that no system takes
            self.lost.append((key, str(error)))
            heard = None
        if heard is None or not len(heard):
            self._places[key] = None
            return None
        short, rate = excerpt(heard, sample_rate)
        uri = data_uri(mp3(short, rate))
        if self.spent + len(uri) > upto:
            self._full = upto  # nothing more is read in vain
            return None
        self.spent += len(uri)
        self._places[key] = len(self.uris)
        self.uris.append(uri)
        self.outlines.append(outline(short))
        return self._places[key]

    def add_file(self, path: Path, upto: int = SOUND_BYTES) -> int | None:
        """The place of a file's excerpt, the loudest part of its first minute."""
        return self.add(str(path), lambda: read(path, RATE, 0.0, HEARD_SECONDS), RATE, upto)

    def data(self) -> dict[str, list[str] | list[list[int]]]:
        """As the page's script reads them."""
        return {"uri": self.uris, "outline": self.outlines}

    def complaint(self) -> str:
        """A sentence on the clips that could not be heard, or "" where all could."""
        if not self.lost:
            return ""
        return f"clips whose sound could not be read: {len(self.lost)}, such as {self.lost[0][1]}"
