"""Clips of real sound, of one length, to compare models on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.audio.reading import find_audio, read
from sondino.audio.windows import ShortPolicy, Windowing, stack_windows
from sondino.errors import AudioError, OptionError
from sondino.sample_sounds import sample_folder

CLIPS = 200

MOST_SECONDS = 2400.0
"""Of all the real clips together."""


def real_clips(
    rate: int, samples: int, short: ShortPolicy, sounds: Path | None = None, count: int = CLIPS
) -> list[NDArray[np.float32]]:
    """Real sound to verify on: the first window of each file, then the next of each, until there are enough.

    Args:
        rate: hertz.
        samples: of each clip.
        short: what becomes of files under a window; "native" gives them zeros, since all clips are of one length.
        sounds: a file or folder; None: the sounds that sondino ships. Files that cannot be read are passed over.
        count: clips at most.

    Returns:
        clips (samples,) float32.

    Raises:
        OptionError: fewer than two files of it can be decoded.
    """
    folder = sample_folder() / "audio" if sounds is None else sounds
    files = find_audio(folder)
    decoded = []
    windowing = Windowing(samples / rate, short="pad" if short == "native" else short)
    for file in _spread(files, count):
        try:
            sound = read(file, rate, duration=60.0)
        except AudioError:
            continue
        pieces, _, weights = stack_windows(sound, rate, windowing)
        cut = [piece for piece, weight in zip(pieces, weights, strict=True) if weight >= min(weights[0], rate / 4)]
        # Last, where there are few: the second half of a sound by itself is another sound.
        decoded.append([*cut, stack_windows(sound[len(sound) // 2 :], rate, windowing)[0][0]])
    if len(decoded) < 2:
        raise OptionError(f"{folder}: of its files {len(decoded)} can be decoded, where comparing needs 2 or more: "
                          "name a folder of audio")  # fmt: skip
    clips = []
    for turn in range(max(map(len, decoded))):
        clips += [clips_of[turn] for clips_of in decoded if turn < len(clips_of)]
    # Of long windows fewer are taken: 200 of a minute each would be gigabytes.
    most = max(20, min(count, round(MOST_SECONDS * rate / samples)))
    return [np.ascontiguousarray(clip[:samples]) for clip in clips[:most]]


def _spread(files: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the files, evenly over the list: folders are often sorted by content."""
    step = max(1.0, len(files) / count)
    return [files[int(i * step)] for i in range(min(len(files), count))]
