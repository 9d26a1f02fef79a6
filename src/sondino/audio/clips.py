"""Clips of real audio, of one length, to compare models on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sondino.audio.decoded import FilePart
from sondino.audio.reading import read
from sondino.audio.walk import find_audio
from sondino.audio.windows import ShortPolicy, Windowing, stack_windows
from sondino.errors import AudioError, OptionError
from sondino.sample_sounds import sample_folder

CLIPS = 200

_Sound = TypeVar("_Sound")

MOST_SECONDS = 2400.0
"""Total length of the clips, at most."""


def real_clips(
    rate: int,
    samples: int,
    short: ShortPolicy,
    sounds: Path | Sequence[str | FilePart] | None = None,
    count: int = CLIPS,
) -> list[NDArray[np.float32]]:
    """Real audio to verify on: the first window of each file, then the next of each, until there are enough.

    Args:
        rate: hertz.
        samples: of each clip.
        short: what is done with files shorter than a window; "native" pads them too, since all clips have one length.
        sounds: a file or folder, or the sounds themselves; None: the audio that sondino ships. Those that cannot be
            decoded are skipped.
        count: clips at most.

    Returns:
        clips (samples,) float32.

    Raises:
        OptionError: fewer than two of its files can be decoded.
    """
    given = sample_folder() / "audio" if sounds is None else sounds
    files = find_audio(given) if isinstance(given, Path) else given
    windows_of_files = []
    windowing = Windowing(samples / rate, short="pad" if short == "native" else short)
    for file in _spread(files, count):
        try:
            sound = read(file, rate, duration=60.0)
        except AudioError:
            continue
        stacked, _, weights = stack_windows(sound, rate, windowing)
        windows = [each for each, weight in zip(stacked, weights, strict=True) if weight >= min(weights[0], rate / 4)]
        # Last, where there are few: the second half of a sound by itself is another sound.
        windows_of_files.append([*windows, stack_windows(sound[len(sound) // 2 :], rate, windowing)[0][0]])
    if len(windows_of_files) < 2:
        where = given if isinstance(given, Path) else "the list or tar file"
        raise OptionError(f"{where}: {len(windows_of_files)} of its files can be decoded, and comparing needs 2 or "
                          "more: name a folder of audio")  # fmt: skip
    clips = []
    for turn in range(max(map(len, windows_of_files))):
        clips += [clips_of[turn] for clips_of in windows_of_files if turn < len(clips_of)]
    # Long windows are fewer: 200 of a minute each would be gigabytes.
    most = max(20, min(count, round(MOST_SECONDS * rate / samples)))
    return [np.ascontiguousarray(clip[:samples]) for clip in clips[:most]]


def _spread(files: Sequence[_Sound], count: int) -> list[_Sound]:
    """At most `count` of the files, evenly over the list: folders are often sorted by their content."""
    step = max(1.0, len(files) / count)
    return [files[int(i * step)] for i in range(min(len(files), count))]
