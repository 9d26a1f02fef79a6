"""Labelled clips as decoded audio: random crops for training, whole clips for validation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.fragment import stretch_of
from sondino.corpus.scan import write_table
from sondino.corpus.sources import NOT_UTF8, not_utf8
from sondino.corpus.table import build_corpus
from sondino.corpus.waveforms import Waveforms, open_waveforms
from sondino.encoder.encoder import Encoder
from sondino.encoder.pipeline import Sound, embed_sounds, resolve_windowing
from sondino.errors import require
from sondino.files import DUPLICATE, make_folder
from sondino.progress import Report, show
from sondino.tasks.labelled import Labelled

STRETCH = 60.0
"""Seconds of the longest stretch; a longer file gives several, with its labels."""
MOST_WINDOWS = 4
"""Windows of a stretch that an epoch trains on."""


@dataclass(frozen=True)
class LabelledClips:
    """The audio of labelled clips at one sample rate.

    Attributes:
        waveforms: stretches of at most a minute.
        rows: (stretches,) number of each in `waveforms`.
        clips: (stretches,) the labelled clip that each belongs to.
    """

    waveforms: Waveforms
    rows: NDArray[np.int64]
    clips: NDArray[np.int64]

    def of(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Which stretches belong to the clips of a mask (clips,)."""
        return np.flatnonzero(mask[self.clips])

    def windows_of(self, stretch: int, samples: int) -> int:
        """How many windows of so many samples of a stretch are trained on: at most `MOST_WINDOWS`, at least one."""
        return min(MOST_WINDOWS, max(1, int(self.lengths[stretch]) // samples))

    def crop(self, stretch: int, samples: int, seed: Sequence[int]) -> NDArray[np.float32]:
        """So many windows of a stretch on end, from an offset that the seed draws; all of it where it is shorter."""
        waveform = self.waveforms.read(int(self.rows[stretch]))
        length = samples * self.windows_of(stretch, samples)
        spare = len(waveform) - length
        if spare <= 0:
            return waveform
        first = int(np.random.default_rng([*seed, stretch]).integers(spare + 1))
        return waveform[first : first + length]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Samples (stretches,) of each."""
        seconds = self.waveforms.corpus.column("duration")[self.rows]
        return np.rint(seconds * self.waveforms.sample_rate).astype(np.int64)

    def embeddings(
        self, model: Encoder, mask: NDArray[np.bool_], progress: Report = lambda done, total: None
    ) -> NDArray[np.float32]:
        """Embeddings (clips of the mask, dim) of whole clips: the mean of their windows' embeddings."""
        chosen = self.of(mask)
        total, weight = np.zeros((len(mask), model.dim)), np.zeros(len(mask))
        whole = _ConsecutiveStretches(self, chosen)
        with closing(embed_sounds(model, whole, resolve_windowing(model), readers=1)) as embedded:
            for found in embedded:
                if found.error is not None:
                    raise found.error
                clip = self.clips[chosen[found.index]]
                total[clip] += found.seconds * found.embeddings[0]
                weight[clip] += found.seconds
                progress(found.index + 1, len(chosen))
        return (total[mask] / weight[mask, None]).astype(np.float32)


class _ConsecutiveStretches(Sequence[Sound]):
    """Stretches one after another, each read when its turn comes."""

    def __init__(self, clips: LabelledClips, stretches: NDArray[np.int64]) -> None:
        self._clips, self._stretches = clips, stretches

    def __len__(self) -> int:
        return len(self._stretches)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        row = int(self._clips.rows[self._stretches[place]])
        return self._clips.waveforms.read(row), self._clips.waveforms.sample_rate


def gather(labelled: Labelled, folder: Path, sample_rate: int, quiet: bool) -> tuple[Labelled, LabelledClips]:
    """Decode labelled clips once, into a folder; if interrupted, the same call resumes.

    Returns:
        The clips that could be decoded, and their audio.
    """
    strange = {clip.path: NOT_UTF8 for clip in labelled.clips if not_utf8(clip.path)}
    labelled = labelled.without(strange) if strange else labelled
    paths = [clip.path for clip in labelled.clips]
    stretches = [stretch_of(path) for path in paths]
    listed: dict[str, list[Any]] = {
        "path": [str(Path(stretch.file).absolute()) for stretch in stretches],
        "id": [str(n) for n in range(len(paths))],
    }
    if any(path != stretch.file for path, stretch in zip(paths, stretches, strict=True)):
        listed |= {"start": [s.start for s in stretches], "duration": [s.duration for s in stretches]}
    write_table(make_folder(folder) / "list.parquet", require("pyarrow", "train").table(listed))
    with show("headers", "files", quiet) as progress:
        corpus = build_corpus(folder / "list.parquet", folder / "corpus", STRETCH, progress=progress)
    with show(f"audio at {sample_rate} Hz", "clips", quiet) as progress:
        waveforms = open_waveforms(corpus, sample_rate, progress)
    number = np.array([_number(name) for name in corpus.ids()])
    reasons = {_number(name): _reason(reason, paths) for name, reason in [*corpus.skipped, *waveforms.skipped]}
    decodable = set(number[waveforms.valid].tolist())
    lost = {path: reasons.get(i, "could not be decoded") for i, path in enumerate(paths) if i not in decodable}
    kept = labelled.without(lost)
    place = {clip.path: number for number, clip in enumerate(kept.clips)}
    clips = np.array([place.get(paths[i], -1) for i in number], dtype=np.int64)
    rows = np.flatnonzero(waveforms.valid & (clips >= 0))
    return kept, LabelledClips(waveforms, rows, clips[rows])


def _number(name: str) -> int:
    return int(name.partition("@")[0])


def _reason(reason: str, paths: Sequence[str]) -> str:
    """The reason with the path of the file that this one repeats, where it does."""
    if not reason.startswith(DUPLICATE):
        return reason
    return DUPLICATE + paths[_number(reason.removeprefix(DUPLICATE))]
