"""Short excerpts of clips as MP3, for a page that plays them with the network off."""

import base64
import io
from itertools import pairwise

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

SECONDS = 3.0
# Browsers may drop the first 20 ms while they open the audio device, so shorter clips are padded with silence.
MIN_SECONDS = 0.25
MIME = "audio/mpeg"

_RATES = (16000, 22050, 24000)  # rates of MPEG-2 layer III
_KBIT = 32
_PEAK = 0.7
_FADE = 0.008  # seconds, at an edge where the clip was cut


def excerpt(waveform: NDArray[np.floating], sample_rate: int) -> tuple[NDArray[np.float32], int]:
    """The loudest 3 s of a clip, peak-normalised, at a sample rate that MP3 supports.

    Args:
        waveform: (samples,) mono.
        sample_rate: of the waveform, in Hz.

    Returns:
        (samples,) float32 of 0.25 to 3 s with its largest value at 0.7 (silence stays silent), and its rate.
    """
    x = np.nan_to_num(np.asarray(waveform, np.float32).reshape(-1), nan=0.0, posinf=0.0, neginf=0.0)
    longest = round(SECONDS * sample_rate)
    if len(x) > longest:
        energy = np.concatenate([[0.0], np.cumsum(np.square(x, dtype=np.float64))])
        starts = np.arange(0, len(x) - longest + 1, max(1, sample_rate // 20))
        start = int(starts[np.argmax(energy[starts + longest] - energy[starts])])
        end = start + longest
        fade = np.linspace(0.0, 1.0, max(2, round(_FADE * sample_rate)), dtype=np.float32)
        before, after = start > 0, end < len(x)
        x = x[start:end].copy()
        if before:
            x[: len(fade)] *= fade
        if after:
            x[-len(fade) :] *= fade[::-1]
    rate = sample_rate
    if rate not in _RATES:
        rate = _RATES[-1]
        # soxr fails on an empty array.
        x = np.asarray(soxr.resample(x, sample_rate, rate), np.float32) if len(x) else x
    short = round(MIN_SECONDS * rate) - len(x)
    if short > 0:
        x = np.pad(x, (0, short))
    loudest = float(np.abs(x).max())
    return (x * np.float32(_PEAK / loudest) if loudest > 1e-5 else x), rate


def mp3(waveform: NDArray[np.float32], sample_rate: int) -> bytes:
    """A waveform as constant 32 kbit/s MP3, which every browser plays (Opus in Ogg does not reach older Safari)."""
    # libsndfile maps its compression level to the bit rates of MPEG-2, 8 to 160 kbit/s.
    level = 1.0 - (_KBIT - 8) / (160 - 8)
    file = io.BytesIO()
    soundfile.write(
        file,
        waveform,
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=level,
    )
    return file.getvalue()


def data_uri(sound: bytes) -> str:
    """An MP3 as a data URI."""
    return f"data:{MIME};base64,{base64.b64encode(sound).decode('ascii')}"


def outline(waveform: NDArray[np.float32], bars: int = 48) -> list[int]:
    """The peaks of a waveform in `bars` segments, 0 to 100, compressed so that quiet parts are visible."""
    edges = np.linspace(0, len(waveform), bars + 1).astype(int)
    peaks = [float(np.abs(waveform[a : max(b, a + 1)]).max(initial=0.0)) for a, b in pairwise(edges.tolist())]
    top = max(peaks)
    return [round(100 * (p / top) ** 0.6) if top > 1e-5 else 0 for p in peaks]
