"""Random crops of log-mels, the same for an update however often the run was interrupted."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sondino.corpus.table import Corpus
from sondino.errors import AudioError, OptionError
from sondino.frontend.logmel import n_frames
from sondino.pretraining.logmels import RAW, LogMels
from sondino.pretraining.masks import count_visible
from sondino.processors import cores
from sondino.training.ahead import made_ahead

PATCH = 16
"""Frames, and mels, of a patch."""


@dataclass(frozen=True)
class Grid:
    """The patches of a crop."""

    rows: int
    columns: int
    visible: int

    @property
    def patches(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    @property
    def frames(self) -> int:
        """Frames of a crop."""
        return self.columns * PATCH

    @property
    def seconds(self) -> float:
        """Seconds of a crop's sound."""
        return RAW.samples_for(self.frames) / RAW.sample_rate


def crop_grid(crop: float, mask_ratio: float) -> Grid:
    """The patches of a crop of some seconds, and how many stay visible.

    Raises:
        OptionError: none would be visible, or none masked, or the crop is shorter than a patch.
    """
    columns = n_frames(RAW, round(crop * RAW.sample_rate)) // PATCH
    rows = RAW.n_mels // PATCH
    if columns < 1:
        least = RAW.samples_for(PATCH) / RAW.sample_rate
        raise OptionError(f"crop is {crop:g} s, shorter than a patch: give {least:g} s or more")
    visible = count_visible(rows * columns, mask_ratio)
    if not 0 < visible < rows * columns:
        lacking = "visible" if visible == 0 else "masked"
        raise OptionError(
            f"mask_ratio {mask_ratio:g} leaves no {lacking} patch of the {rows * columns} of a crop of {crop:g} s: "
            f"give a {'smaller' if visible == 0 else 'larger'} ratio, or a longer crop"
        )
    return Grid(rows, columns, visible)


def check_length(corpus: Corpus, frames: int) -> None:
    """Raise AudioError where no stretch is as long as a crop of some frames, going by the headers alone."""
    # A header may be some milliseconds off.
    if corpus.column("duration").max() < 0.9 * RAW.samples_for(frames) / RAW.sample_rate:
        raise _too_short(corpus, frames)


def _too_short(corpus: Corpus, frames: int) -> AudioError:
    longest, needed = corpus.column("duration").max(), RAW.samples_for(frames) / RAW.sample_rate
    return AudioError(
        f"no recording is long enough for a crop of {needed:.2f} s; the longest has {longest:.2f} s: give a shorter "
        "--crop, or longer recordings"
    )


@dataclass
class Crops:
    """Draws crops of log-mels: stretches by their length, starts uniformly within a stretch.

    Args:
        logmels: of the corpus.
        frames: of a crop.
        normalisation: mean and deviation.
        seed: of the draws.

    Raises:
        AudioError: no stretch is long enough.
    """

    logmels: LogMels
    frames: int
    normalisation: tuple[float, float]
    seed: int
    waited: float = 0.0
    """Seconds that the net has waited for data."""
    rows: NDArray[np.int64] = field(init=False)
    """Stretches that are long enough."""

    def __post_init__(self) -> None:
        frames = self.logmels.frames
        self.rows = np.flatnonzero(frames >= self.frames)
        if len(self.rows) == 0:
            raise _too_short(self.logmels.corpus, self.frames)
        self._shares = np.cumsum(frames[self.rows] / frames[self.rows].sum())

    def draw(self, update: int, count: int) -> list[tuple[int, int]]:
        """The (row, first frame) of the crops of an update."""
        rng = np.random.default_rng([self.seed, update])
        rows = self.rows[np.minimum(np.searchsorted(self._shares, rng.random(count)), len(self.rows) - 1)]
        starts = (rng.random(count) * (self.logmels.frames[rows] - self.frames + 1)).astype(np.int64)
        return list(zip(rows.tolist(), starts.tolist(), strict=True))

    def batch(self, chosen: list[tuple[int, int]]) -> Tensor:
        """Normalised log-mels (batch, n_mels, frames) of some crops."""
        mean, std = self.normalisation
        crops = np.stack([self.logmels.read(row, start, self.frames) for row, start in chosen])
        return torch.from_numpy((crops - np.float32(mean)) / np.float32(std))

    def batches(self, first: int, last: int, size: int, parts: int, rank: int, world: int) -> Iterator[Tensor]:
        """The batches of the updates from `first` to `last`, this not included, prepared ahead in threads.

        Args:
            first: update to begin with.
            last: update to end before.
            size: crops of a batch.
            parts: batches of an update, one after the other.
            rank: which of the processes this is.
            world: how many there are.
        """
        todo = ((update, part) for update in range(first, last) for part in range(parts))

        def prepare(task: tuple[int, int]) -> Tensor:
            update, part = task
            drawn = self.draw(update, parts * world * size)
            begin = (part * world + rank) * size
            return self.batch(drawn[begin : begin + size])

        def waited(seconds: float) -> None:
            self.waited += seconds

        for _, ready in made_ahead(todo, prepare, max(1, cores() // 2), waited):
            yield ready
