"""What a WAV holds: the table that the page is tested with too (web/tests), read from a file and from a pipe."""

import io
import json
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sondino import audio
from sondino.audio.decoded import Decoded
from sondino.audio.decoders import open_sound
from sondino.audio.pipe import Pipe, open_wav
from sondino.audio.signal import mono_blocks, to_mono
from sondino.errors import SondinoError

CASES = json.loads((Path(__file__).parents[1] / "data" / "wav_headers.json").read_text())
LEFT_OUT = "left out"


def of_file(data: bytes, folder: Path) -> np.ndarray:
    (folder / "x.wav").write_bytes(data)
    with open_sound(folder / "x.wav") as sound:
        return np.concatenate(list(mono_blocks(sound, "x.wav", 0, None)))


def of_pipe(data: bytes, folder: Path) -> np.ndarray:
    stream = open_wav(Pipe(io.BytesIO(data)))
    sound = Decoded(stream.rate, stream.channels, None, lambda *_: stream.blocks(1))
    return np.concatenate(list(mono_blocks(sound, "x.wav", 0, None)))


@pytest.mark.parametrize("read", [of_file, of_pipe])
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_wav_holds_what_is_in_the_table(tmp_path, case, read):
    data = bytes.fromhex(case["hex"])
    piped = read is of_pipe
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        if case["error"]:
            with pytest.raises(SondinoError, match=None if case["error"] == "decode" else case["error"]):
                read(data, tmp_path)
            return
        samples = read(data, tmp_path)
    frames = case.get("pipe_frames", case["frames"]) if piped else case["frames"]
    messages = [str(warning.message) for warning in raised]
    assert len(samples) == frames
    if "pipe_frames" not in case:
        assert samples[0] == pytest.approx(case["first"], abs=1e-6)
        # The end of a resampled sound differs with the resampler's filter.
        assert "rate" in case["name"] or samples[-1] == pytest.approx(case["last"], abs=1e-6)
    expected = case["note"]
    if piped and "pipe_frames" in case:
        expected = LEFT_OUT
    if piped and expected == "truncated":
        expected = "before the length in its header"
    assert len(messages) == (expected is not None), messages
    assert expected is None or expected in messages[0]


def sparse_wav(file: Path, held: int, size: int, after: bytes = b"") -> None:
    """A WAV of `held` bytes of samples, which take no room, that says it holds `size`."""
    with file.open("wb") as opened:
        fmt = struct.pack("<IHHIIHH", 16, 1, 1, 48000, 96000, 2, 16)
        head = b"RIFF" + struct.pack("<I", (36 + size) % 2**32) + b"WAVEfmt " + fmt
        opened.write(head + b"data" + struct.pack("<I", size))
        opened.truncate(44 + held)
        opened.seek(44 + held)
        opened.write(after)


CHUNK = b"LIST" + struct.pack("<I", 4) + b"INFO"


@pytest.mark.parametrize(
    ("held", "size", "after"),
    [
        (2**32 + 2**26, 2**26, b""),  # 32 bits have wrapped
        (2**32 + 2**26, 2**26, CHUNK),
        (2**33 + 2**26, 2**26, CHUNK),
        (3_200_000_000, 0x80000000, b""),  # arecord
        (4_500_000_000, 0xFFFFFFFF, b""),  # ffmpeg to a pipe
        (4_500_000_000, 0x7FFFF000, b""),  # sox
    ],
)
def test_more_than_the_size_field_can_hold_is_read(tmp_path, held, size, after):
    sparse_wav(tmp_path / "x.wav", held, size, after)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        assert audio.info(tmp_path / "x.wav").duration == held / 96000
        assert len(audio.read(tmp_path / "x.wav", 48000, held / 96000 - 1.0)) == 48000
    assert all("its header says" in str(each.message) for each in raised) and raised


def test_a_size_of_one_sample_more_than_4_gib_is_not_taken_for_a_wrapped_one(tmp_path):
    sparse_wav(tmp_path / "x.wav", 96000, 96000, CHUNK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert audio.info(tmp_path / "x.wav").duration == 1.0


def big_endian(data: bytes) -> bytes:
    """A WAV of 16-bit samples as RIFX."""
    sizes = [b"RIFX", data[4:8][::-1], b"WAVEfmt ", data[16:20][::-1]]
    fields = [data[20:22], data[22:24], data[24:28], data[28:32], data[32:34], data[34:36]]
    samples = np.frombuffer(data[44:], "<i2").astype(">i2").tobytes()
    return b"".join([*sizes, *(field[::-1] for field in fields), b"data", data[40:44][::-1], samples])


@pytest.mark.parametrize("read", [of_file, of_pipe])
@pytest.mark.parametrize("name", ["16-bit", "size 0, RIFF size 0", "too small, 80 of 200", "size 0xFFFFFFFF"])
def test_big_endian_is_read_by_the_same_rules(tmp_path, name, read):
    case = next(case for case in CASES if case["name"] == name)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        samples = read(big_endian(bytes.fromhex(case["hex"])), tmp_path)
    assert (len(samples), samples[0], samples[-1]) == (100, case["first"], case["last"])
    assert [case["note"] in str(each.message) for each in raised] == [True] * (case["note"] is not None)


def test_a_second_sound_with_a_broken_header_is_named(tmp_path):
    first = bytes.fromhex(CASES[0]["hex"])
    with pytest.warns(UserWarning, match="another sound follows, which cannot be read and is left out"):
        assert len(of_file(first + first[:12] + b"fmt ", tmp_path)) == 100


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_plain_samples_are_those_of_libsndfile(tmp_path, subtype, channels):
    """Read by NumPy, whole and in stretches, at the largest, the smallest and any values."""
    x = np.random.default_rng(1).uniform(-1, 1, (70_000, channels))
    x[:2] = [[-1.0], [1.0]]
    soundfile.write(tmp_path / "x.wav", x, 8000, subtype)
    expected, _ = soundfile.read(tmp_path / "x.wav", dtype="float32", always_2d=True)
    with open_sound(tmp_path / "x.wav") as sound:
        assert (sound.rate, sound.channels, sound.frames) == (8000, channels, 70_000)
        assert sound.floats == (subtype in ("FLOAT", "DOUBLE"))
        for first, count in ((0, None), (69_000, None), (12_345, 50_000), (69_999, 10)):
            found = np.concatenate(list(sound.blocks(first, count)))
            assert np.array_equal(found, expected[first : None if count is None else first + count])
        assert not list(sound.blocks(70_000, None))


def test_plain_samples_do_not_go_through_libsndfile(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "x.wav", np.zeros(100), 8000)
    monkeypatch.setattr(soundfile, "SoundFile", None)
    with open_sound(tmp_path / "x.wav") as sound:
        assert np.concatenate(list(sound.blocks(0, None))).shape == (100, 1)


def test_the_mean_of_two_channels_is_that_of_any():
    x = np.random.default_rng(2).standard_normal((1000, 2)).astype(np.float32)
    assert np.array_equal(to_mono(x), x.mean(axis=1, dtype=np.float32))


def test_a_file_that_becomes_shorter_while_it_is_read_is_named(tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, np.full(400_000, 0.5), 8000, "PCM_16")
    with open_sound(file) as sound, pytest.warns(UserWarning, match=r"a\.wav: truncated .* read up to"):
        blocks = sound.blocks(0, None)
        held = len(next(blocks))
        os.truncate(file, 44)
        held += sum(map(len, blocks))
    assert 0 < held < 400_000


class Failing(io.BytesIO):
    """A file on a disk that fails behind its first 100 000 bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 100_000:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_of_a_disk_that_fails_what_was_read_is_given(tmp_path):
    held = io.BytesIO()
    soundfile.write(held, np.full(400_000, 0.5), 8000, "PCM_16", format="WAV")
    with pytest.warns(UserWarning, match=r"damaged \(OSError: .*Input/output error\); read up to"):
        assert 0 < len(audio.read(Failing(held.getvalue()), 8000)) < 400_000
