"""How long MPEG audio is: layers II and III, free format, tags at the end."""

import io
import warnings

import numpy as np
import pytest
import soundfile

from helpers.sounds import noise, sine, write_av
from sondino import audio
from sondino.audio.mpeg import frame_header, mpeg_frames
from sondino.audio.walk import SNIFFED, is_audio


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def bare_mp3(seconds: float = 3.0, mode: str = "CONSTANT") -> bytes:
    """An mp3 without its Xing frame."""
    held = io.BytesIO()
    soundfile.write(held, noise(44100, seconds)[:, 0], 44100, format="MP3", bitrate_mode=mode, compression_level=0.5)
    data = held.getvalue()
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    start = data.rfind(b"\xff\xfb", 0, tag)
    return data[start + frame_header(data[start : start + 3])[0] :]


def free_format(data: bytes) -> bytes:
    """The same frames with no bit rate in their headers."""
    changed, at = bytearray(data), 0
    while at < len(data) - 4:
        length, _, _ = frame_header(data[at : at + 3])
        changed[at + 2] &= 0x0F
        at += length
    return bytes(changed)


@pytest.mark.parametrize("suffix", [".mp2", ".mp3"])  # recorders give it either
@pytest.mark.parametrize("quiet", [False, True])
def test_layer_ii_is_read_whole(tmp_path, suffix, quiet):
    sound = noise(48000, 5.0)[:, 0] * (np.arange(240000) % 48000 > 30000 if quiet else 1)
    path = write_av(tmp_path / "x.mp2", sound, 48000, "mp2").rename(tmp_path / f"y{suffix}")
    whole = audio.read(path, 48000)
    assert len(whole) == pytest.approx(240000, abs=2 * 1152) and audio.info(path).duration == len(whole) / 48000
    lag = np.fft.irfft(np.fft.rfft(whole, 2**19) * np.conj(np.fft.rfft(sound, 2**19))).argmax()
    assert (
        lag < 1152 and np.corrcoef(whole[lag:][:200000], sound[:200000])[0, 1] > 0.7
    )  # white noise has more than layer II keeps


def test_free_format_is_read_whole(tmp_path):
    data = bare_mp3()
    (tmp_path / "table.mp3").write_bytes(data)
    (tmp_path / "free.mp3").write_bytes(free_format(data))
    whole = audio.read(tmp_path / "table.mp3", 44100)
    assert len(whole) >= 3 * 44100
    assert np.array_equal(audio.read(tmp_path / "free.mp3", 44100), whole)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("tag", [b"TAG" + b" " * 125, b"APETAGEX" + b"\0" * 60, b"ID3\4" + b"\0" * 40])
def test_the_last_frame_before_a_tag_counts(mode, tag):
    data = bare_mp3(mode=mode)
    frames = mpeg_frames(io.BytesIO(data))
    assert frames is not None and frames % 1152 == 0
    assert mpeg_frames(io.BytesIO(data + tag)) == frames


def test_mp3_in_wav_is_as_long_as_its_frames(tmp_path):
    path = write_av(tmp_path / "x.wav", sine(44100, 3.0), 44100, "libmp3lame")
    assert audio.info(path).duration == pytest.approx(len(audio.read(path, 44100)) / 44100)


def test_an_mp3_is_known_without_its_suffix_and_without_a_tag():
    data = bare_mp3(0.5)
    assert is_audio(data[:SNIFFED])
    assert not is_audio(b"\xff\xfe" + "text in UTF-16".encode("utf-16-le") * 50)
    assert not is_audio(data[:3] + bytes(SNIFFED))
