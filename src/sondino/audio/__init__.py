"""Audio input: decode, mix to mono, resample, cut into windows, average the windows' embeddings."""

from sondino.audio.decoded import Source
from sondino.audio.reading import AudioInfo, info, read, stream
from sondino.audio.signal import from_array, resample, to_mono
from sondino.audio.walk import SUFFIXES, find_audio
from sondino.audio.windows import ShortPolicy, Windowing, WindowPolicy, iter_windows, merge, stack_windows

__all__ = [
    "SUFFIXES",
    "AudioInfo",
    "ShortPolicy",
    "Source",
    "WindowPolicy",
    "Windowing",
    "find_audio",
    "from_array",
    "info",
    "iter_windows",
    "merge",
    "read",
    "resample",
    "stack_windows",
    "stream",
    "to_mono",
]
