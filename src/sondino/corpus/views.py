"""Augmented views of clips as rows of their own, so that teacher and student get exactly the same audio.

A good teacher is patient and consistent (Beyer and others, 2022): the student processes the same audio that
the teacher embedded. A view is drawn once, by seed, as a few numbers in the table, and made from the clip whenever it
is read:

- crop: a stretch of half the clip to all of it;
- speed: in half of the views it is played at 2/3 to 3/2 of its speed, pitch included, by resampling;
- direction: in a quarter of the views it is played backwards;
- mix: in half of the views, another clip from 12 dB below it to as loud as it is; the sum is scaled back so that it
  cannot exceed the louder of the two;
- gain: 0 to 12 dB down.

Nothing here depends on the samples (no peak or loudness is measured) and no time falls between samples at any usual
rate, so a view is the same sound at the teacher's rate and at the student's, as far as both rates hold it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soxr
from numpy.typing import NDArray

from sondino.corpus.table import Corpus, content_hash, save_corpus
from sondino.errors import OptionError, require
from sondino.files import make_folder
from sondino.locks import lock_or_fail

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa = require("pyarrow", "train")
    pc = require("pyarrow.compute", "train")

GRID = 0.04
"""Times are multiples of 1/25 s: a whole number of samples at every rate from 8 to 192 kHz, 11025 Hz included."""
LEAST_SHARE = 0.5
LEAST_SECONDS = 0.48
"""A view keeps at least this share of its clip, and this much of it (or the whole of a shorter clip)."""
LOWEST_GAIN = -12.0
LOWEST_MIX = -12.0
MIXED = 0.5
"""Share of the views that another clip is mixed into."""
SPEEDS = (2 / 3, 3 / 4, 4 / 5, 5 / 6, 8 / 9, 9 / 8, 6 / 5, 5 / 4, 4 / 3, 3 / 2)
CHANGED_SPEED = 0.5
"""Share of the views that are played at one of these speeds."""
BACKWARDS = 0.25
"""Share of the views that are played backwards."""
BLOCK = 64
"""Clips that are neighbours in the table, after shuffling, and are mixed with one another: their sound is decoded
once for all their views."""


@dataclass(frozen=True)
class View:
    """How a row's sound is made from clips; rows are those of the corpus with views, times in s, gains in dB."""

    base: int
    crop: float
    duration: float
    gain: float
    mix: int
    """-1: nothing is mixed in."""
    mix_crop: float
    mix_gain: float
    speed: float = 1.0
    """The stretch of the clip is this many times as long as the view."""
    backwards: bool = False


def add_views(corpus: Corpus, views: int, seed: int = 0) -> Corpus:
    """Add augmented views of every clip, in a folder of their own inside the corpus.

    The table holds every clip of `corpus` in an order drawn by seed, each followed by its views, whose ids end in `#v1`
    and so on. Clips of different splits are never mixed. The new columns:

    - view: 0 for the clip as it is, 1 and up for its views;
    - base_row: row of the clip that a view is of; crop: seconds from that clip's start; gain: dB;
    - mix_row: row of the clip mixed in, -1 for none; mix_crop: seconds from its start; mix_gain: dB;
    - speed: seconds of the clip in a second of the view; backwards: whether its samples are in reverse order.

    Args:
        corpus: as `build_corpus` made it.
        views: how many of each clip; 0 gives `corpus` back.
        seed: of the draws; the same seed gives the same views.
    """
    if views < 0:
        raise OptionError(f"views is {views}: give 0 or more")
    if views == 0:
        return corpus
    if corpus.views:
        raise OptionError(f"{corpus.folder} holds views already: add views to the corpus that they were made from")
    rng = np.random.default_rng([seed, views])
    clips, each = len(corpus), 1 + views
    order = rng.permutation(clips)
    clip = np.repeat(np.arange(clips), each)  # in the new order
    view = np.tile(np.arange(each, dtype=np.int32), clips)
    is_view = view > 0
    source = order[clip]
    whole = corpus.column("duration")[source]

    speed = np.where(rng.random(len(clip)) < CHANGED_SPEED, rng.choice(SPEEDS, len(clip)), 1.0)
    speed = np.where(is_view, speed, 1.0)
    crop, stretch = _crops(whole, speed, rng)
    crop, duration = np.where(is_view, crop, 0.0), np.where(is_view, stretch / speed, whole)
    backwards = is_view & (rng.random(len(clip)) < BACKWARDS)
    # Another clip of the same block: any of its size - 1 others, counted on from the clip itself.
    first = clip // BLOCK * BLOCK
    size = np.minimum(BLOCK, clips - first)
    others = rng.integers(1, np.maximum(size, 2))
    partner = first + (clip - first + others) % size
    mixed = is_view & (rng.random(len(clip)) < MIXED) & (partner != clip)
    if "split" in corpus.table.column_names:
        splits = pc.fill_null(corpus.table["split"], "").combine_chunks().dictionary_encode().indices.to_numpy()
        mixed &= splits[order[partner]] == splits[source]
    gain = np.round(rng.uniform(LOWEST_GAIN, 0.0, len(clip)), 3)
    mix_gain = np.round(rng.uniform(LOWEST_MIX, 0.0, len(clip)), 3)
    spare = np.maximum(corpus.column("duration")[order[partner]] - duration, 0)
    mix_crop = _on_grid(rng.random(len(clip)) * spare)

    rows = pa.array(source)
    columns = {name: corpus.table[name].take(rows) for name in corpus.table.column_names}
    # A suffix of nothing for the clips themselves, whose ids stay.
    suffix = pa.array(["", *(f"#v{number}" for number in range(1, each))]).take(pa.array(view))
    columns["id"] = pc.binary_join_element_wise(columns["id"], suffix, "")
    columns["start"] = pa.array(corpus.column("start")[source] + crop)
    columns["duration"] = pa.array(duration)
    columns |= {
        "view": pa.array(view),
        "base_row": pa.array(clip * each),
        "crop": pa.array(crop),
        "gain": pa.array(np.where(is_view, gain, 0.0)),
        "mix_row": pa.array(np.where(mixed, partner * each, -1)),
        "mix_crop": pa.array(np.where(mixed, mix_crop, 0.0)),
        "mix_gain": pa.array(np.where(mixed, mix_gain, 0.0)),
        "speed": pa.array(speed),
        "backwards": pa.array(backwards),
    }
    table = pa.table(columns).combine_chunks()
    folder = make_folder(corpus.folder / f"views-{views}-seed{seed}")
    facts = {key: value for key, value in corpus.facts.items() if key not in ("seconds_to_build", "root_from_here")}
    facts |= {
        "hash": content_hash(table, corpus.clip, corpus.scale),
        "root": corpus.root,
        "clips": len(table),
        "seconds": round(float(np.sum(duration)), 3),
        "views": views,
        "seed": seed,
        "made_from": corpus.hash,
    }
    if corpus.facts.get("root_from_here") is not None:
        facts["root_from_here"] = f"../{corpus.facts['root_from_here']}"
    with lock_or_fail(folder, "corpus", "making the views in"):
        return save_corpus(folder, table, facts, corpus.skipped, 0.0)


def _crops(
    whole: NDArray[np.float64], speed: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a stretch of each clip begins, and how long it is; at its speed it takes no longer than the clip."""
    longest = np.minimum(whole, whole * speed)
    length = _on_grid(rng.uniform(LEAST_SHARE, 1.0, len(whole)) * longest)
    length = np.minimum(np.maximum(length, LEAST_SECONDS), longest)
    start = _on_grid(rng.random(len(whole)) * (whole - length))
    return start, length


def _on_grid(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    grid: NDArray[np.float64] = (np.floor(seconds / GRID + 1e-9) * GRID).round(6)
    return grid


def view_of(corpus: Corpus, row: int) -> View | None:
    """How a row is made from clips; None for a clip as it is."""
    table = corpus.table
    if "view" not in table.column_names or table["view"][row].as_py() == 0:
        return None
    return View(*(table[name][row].as_py() for name in VIEW_COLUMNS if name in table.column_names))


VIEW_COLUMNS = ("base_row", "crop", "duration", "gain", "mix_row", "mix_crop", "mix_gain", "speed", "backwards")
"""The fields of a View in order; a corpus of an earlier version lacks the last two."""

Read = Callable[[int, int, int], NDArray[np.float32]]
"""(row of a clip, first sample, one after the last) -> samples; a clip that ends sooner gives fewer."""


def render(view: View, read: Read, sample_rate: int) -> NDArray[np.float32]:
    """Make a view's waveform (samples,) at a rate from its clips at that rate."""
    first, samples = round(view.crop * sample_rate), max(1, round(view.duration * view.speed * sample_rate))
    # Backwards it begins with the sample at the end of the stretch, which is the same time at every rate.
    waveform = read(view.base, first + view.backwards, first + view.backwards + samples)
    if len(waveform) == 0:  # the file holds less than its header said: what there is stands for it
        waveform = read(view.base, 0, samples)
    if view.backwards:
        waveform = np.pad(waveform[::-1], (samples - len(waveform), 0))
    if view.speed != 1:
        waveform = soxr.resample(waveform, view.speed, 1)[: max(1, round(view.duration * sample_rate))]
    gain = 10 ** (float(view.gain) / 20)
    if view.mix < 0:
        return waveform * np.float32(gain)
    share = 10 ** (float(view.mix_gain) / 20)
    first = round(view.mix_crop * sample_rate)
    other = read(view.mix, first, first + len(waveform))
    mixed = waveform * np.float32(gain / (1 + share))
    mixed[: len(other)] += other * np.float32(gain * share / (1 + share))
    return mixed
