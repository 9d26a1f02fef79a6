"""Sounds whose answer is known, and files of them, for the tests of audio."""

import io
from pathlib import Path

import numpy as np
import pytest

HERTZ, LEVEL = 440.0, 0.5

# format, subtype, rate, largest error of the decoded sine: the step of integers, the loss of lossy codecs
FORMATS = {
    "u8.wav": ("WAV", "PCM_U8", 44100, 1 / 100),
    "s16.wav": ("WAV", "PCM_16", 44100, 1 / 25000),
    "s24.wav": ("WAV", "PCM_24", 44100, 2e-6),
    "s32.wav": ("WAV", "PCM_32", 44100, 2e-6),
    "f32.wav": ("WAV", "FLOAT", 44100, 2e-6),
    "f64.wav": ("WAV", "DOUBLE", 44100, 2e-6),
    "s16.flac": ("FLAC", "PCM_16", 44100, 1 / 25000),
    "s24.flac": ("FLAC", "PCM_24", 44100, 2e-6),
    "vorbis.ogg": ("OGG", "VORBIS", 44100, 0.02),
    "clip.opus": ("OGG", "OPUS", 48000, 0.02),
    "clip.mp3": ("MP3", "MPEG_LAYER_III", 44100, 0.02),
    "s16.aiff": ("AIFF", "PCM_16", 44100, 1 / 25000),
}


def sine(rate: int, seconds: float, hertz: float = HERTZ, level: float = LEVEL) -> np.ndarray:
    at = np.arange(round(rate * seconds)) / rate
    return (level * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def middle(x: np.ndarray, edge: int) -> np.ndarray:
    return x[edge : len(x) - edge]


def write_av(path: Path, x: np.ndarray, rate: int, codec: str) -> Path:
    """Write (samples,) or (samples, channels) with PyAV."""
    av = pytest.importorskip("av")
    x = x.reshape(len(x), -1)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[x.shape[1]]
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=rate, layout=layout)
        track.bit_rate = 128_000 * x.shape[1]
        convert = av.AudioResampler(format=track.format.name, layout=layout, rate=rate, frame_size=960)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(x.reshape(1, -1), np.float32), format="flt", layout=layout
        )
        frame.sample_rate, frame.pts = rate, 0  # without a time, no length is written
        for piece in [*convert.resample(frame), *convert.resample(None)]:
            container.mux(track.encode(piece))
        container.mux(track.encode(None))
    return path


def pipe_av(x: np.ndarray, rate: int, form: str, codec: str) -> bytes:
    """What a program writes that cannot seek back to fill in the length."""
    av = pytest.importorskip("av")

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError("a pipe")

    sink = Pipe()
    with av.open(sink, "w", format=form) as container:
        track = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((x * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
        return sink.getvalue() if container.close() is None else b""


def noise(rate: int, seconds: float, channels: int = 1) -> np.ndarray:
    x = np.random.default_rng(1).normal(0, 0.1, (round(rate * seconds), channels))
    return np.clip(x, -0.9, 0.9).astype(np.float32)
