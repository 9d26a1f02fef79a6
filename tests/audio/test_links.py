"""Files that hold several sounds, and headers of AU, AIFF, CAF and FLAC with a length that is too small or none."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.sounds import noise, write_av
from sondino import audio
from sondino.audio.mpeg import frame_header
from sondino.audio.sizes import flac_held
from sondino.audio.wav import FOLLOW
from sondino.errors import AudioError


def encoded(x: np.ndarray, rate: int, form: str, subtype: str) -> bytes:
    held = io.BytesIO()
    soundfile.write(held, x, rate, format=form, subtype=subtype)
    return held.getvalue()


def read(path: Path, rate: int, notes: list[str]) -> np.ndarray:
    """The whole sound, with just these warnings."""
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        waveform = audio.read(path, rate)
    messages = [str(each.message) for each in raised]
    assert len(messages) == len(notes) and all(note in text for note, text in zip(notes, messages, strict=True)), (
        messages
    )
    return waveform


# ---- several sounds in a file ------------------------------------------

FIRST, SECOND = noise(48000, 1.0)[:, 0], noise(48000, 1.7)[::-1, 0]
KINDS = [
    ("OGG", "VORBIS", []),
    ("OGG", "OPUS", []),
    ("FLAC", "PCM_16", ["2 sounds follow one another"]),
    ("AU", "PCM_16", ["2 sounds follow one another"]),
    ("AIFF", "PCM_16", ["2 sounds follow one another"]),
    ("WAV", "PCM_16", ["2 sounds follow one another"]),
    ("WAV", "IMA_ADPCM", ["2 sounds follow one another"]),
    ("MP3", "MPEG_LAYER_III", ["2 sounds follow one another"]),
]


@pytest.mark.parametrize(("form", "subtype", "notes"), KINDS)
def test_a_sound_that_follows_another_is_read(tmp_path, form, subtype, notes):
    one, two = encoded(FIRST, 48000, form, subtype), encoded(SECOND, 48000, form, subtype)
    both = np.concatenate([soundfile.read(io.BytesIO(data), dtype="float32")[0] for data in (one, two)])
    file = tmp_path / "both"
    file.write_bytes(one + two)
    assert np.abs(read(file, 48000, notes) - both).max() < 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert audio.info(file).duration == len(both) / 48000
        for start in (0.2, 0.9, 1.5):  # before, over and behind the seam
            part = audio.read(file, 48000, start, 0.4)
            assert np.abs(part - both[round(start * 48000) :][:19200]).max() < 1e-6
        assert np.array_equal(audio.read(io.BytesIO(one + two), 48000), audio.read(file, 48000))


def untagged(data: bytes) -> bytes:
    """An MP3 without the frame that holds its Xing header."""
    return data[frame_header(data[:3])[0] :]


@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125) + b"ID3\4\0\0\0\0\0\x14" + bytes(20)])
@pytest.mark.parametrize("rate", [48000, 16000])
def test_mp3_files_in_one_are_read_without_their_padding(tmp_path, tag, rate):
    one, two = (encoded(sound, rate, "MP3", "MPEG_LAYER_III") for sound in (FIRST, SECOND))
    alone = [soundfile.read(io.BytesIO(data), dtype="float32")[0] for data in (one, two)]
    file = tmp_path / "x.mp3"
    file.write_bytes(one + tag + two + tag + one)
    both = read(file, rate, [FOLLOW.format(count=3)])
    assert np.abs(both - np.concatenate([*alone, alone[0]])).max() < 1e-6
    file.write_bytes(one + tag + untagged(two))  # what its encoder put before and behind the second is not known
    both = read(file, rate, [FOLLOW.format(count=2)])
    assert len(both) - len(FIRST) in range(len(SECOND), len(SECOND) + 4 * 1152)
    assert np.abs(both[: len(FIRST)] - alone[0]).max() < 1e-6
    file.write_bytes(untagged(one) + two)
    both = read(file, rate, [FOLLOW.format(count=2)])
    assert np.abs(both[-len(SECOND) :] - alone[1]).max() < 1e-6
    file.write_bytes(one[: len(one) // 2] + two)
    with pytest.warns(UserWarning, match="truncated"):
        both = audio.read(file, rate)
        assert audio.info(file).duration == len(both) / rate
    assert np.abs(both[-len(SECOND) :] - alone[1]).max() < 1e-6


@pytest.mark.parametrize("behind", [0, 1, 3])
def test_an_mp3_that_ends_in_the_header_of_the_next_is_read(tmp_path, behind):
    one = encoded(FIRST, 32000, "MP3", "MPEG_LAYER_III")
    name = max(one.find(b"Xing"), one.find(b"Info"))
    file = tmp_path / "x.mp3"
    file.write_bytes(untagged(one) + one[: name + 4 + behind])
    sound = audio.read(file, 32000)
    assert len(sound) in range(len(FIRST), len(FIRST) + 4 * 1152)


def test_a_header_of_zeros_ends(tmp_path):
    (tmp_path / "x.au").write_bytes(b".snd" + struct.pack(">5I", 0, 0, 3, 44100, 1) + b"\1\2" * 5000)
    with pytest.raises(AudioError):
        audio.read(tmp_path / "x.au", 44100)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_stretch_at_the_end_of_vorbis_is_a_slice(tmp_path, rate):
    (tmp_path / "x.ogg").write_bytes(encoded(noise(rate, 5.37)[:, 0], rate, "OGG", "VORBIS"))
    whole = audio.read(tmp_path / "x.ogg", rate)
    for start in (3.2, 3.5, 4.7, 4.9, 5.0, 5.2, 5.3):
        part = audio.read(tmp_path / "x.ogg", rate, start, 0.4)
        assert np.abs(part - whole[round(start * rate) :][: len(part)]).max() < 1e-6


def test_the_same_file_twice_is_a_chain(tmp_path):
    data = encoded(FIRST, 48000, "OGG", "VORBIS")  # with one serial number
    (tmp_path / "x.ogg").write_bytes(data * 3)
    assert audio.info(tmp_path / "x.ogg").duration == 3.0


def test_links_of_other_rates_and_channels_are_read_at_the_rate_of_the_first(tmp_path):
    stereo = np.stack([SECOND, SECOND], axis=1)
    (tmp_path / "x.ogg").write_bytes(encoded(FIRST, 48000, "OGG", "VORBIS") + encoded(stereo, 44100, "OGG", "VORBIS"))
    seconds = 1.0 + len(SECOND) / 44100
    assert audio.info(tmp_path / "x.ogg").duration == pytest.approx(seconds, abs=1e-4)
    whole = read(tmp_path / "x.ogg", 48000, [])
    alone = tmp_path / "alone.ogg"
    alone.write_bytes(encoded(SECOND, 44100, "OGG", "VORBIS"))
    expected = audio.read(alone, 48000)
    assert np.corrcoef(whole[48000:][: len(expected)], expected)[0, 1] > 0.97  # encoded once as stereo, once as mono


def test_a_chain_of_ogg_flac_is_read_by_pyav(tmp_path):
    for name, sound in (("one", FIRST), ("two", SECOND)):
        write_av(tmp_path / f"{name}.oga", sound, 48000, "flac")
    (tmp_path / "x.oga").write_bytes(b"".join((tmp_path / f"{name}.oga").read_bytes() for name in ("one", "two")))
    both = read(tmp_path / "x.oga", 48000, [])
    assert np.abs(both - np.concatenate([FIRST, SECOND])).max() < 1e-4


def test_the_warning_counts_the_sounds(tmp_path):
    (tmp_path / "x.flac").write_bytes(encoded(FIRST, 48000, "FLAC", "PCM_16") * 3)
    assert len(read(tmp_path / "x.flac", 48000, [FOLLOW.format(count=3)])) == 3 * 48000


# ---- lengths in headers ------------------------------------------------


def with_size(data: bytes, form: str, size: int, width: int) -> bytes:
    """The file with another length of its samples (bytes) in its header."""
    changed = bytearray(data)
    if form == "AU":
        changed[8:12] = struct.pack(">I", size)
    elif form == "AIFF":
        at = data.index(b"SSND") + 4
        changed[at : at + 4] = struct.pack(">I", size + 8)
    elif form == "CAF":
        at = data.index(b"data") + 4
        changed[at : at + 8] = struct.pack(">q", size + 4)
    else:  # FLAC counts samples, in 36 bits
        changed[21:26] = bytes([data[21] & 0xF0]) + struct.pack(">I", size // width)
    return bytes(changed)


SIZED = [
    ("AU", "PCM_16", 2), ("AU", "PCM_24", 3), ("AU", "FLOAT", 4), ("AU", "ULAW", 1),
    ("AIFF", "PCM_S8", 1), ("AIFF", "PCM_16", 2), ("AIFF", "PCM_24", 3), ("AIFF", "FLOAT", 4), ("AIFF", "ALAW", 1),
    ("CAF", "PCM_16", 2), ("CAF", "FLOAT", 4), ("FLAC", "PCM_16", 2), ("FLAC", "PCM_24", 2),
]  # fmt: skip


@pytest.mark.parametrize(("form", "subtype", "width"), SIZED)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_length_that_is_too_small_loses_nothing(tmp_path, form, subtype, width, channels):
    data = encoded(np.stack([FIRST] * channels, axis=1), 48000, form, subtype)
    whole = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0][:, 0]
    frame = width * (1 if form == "FLAC" else channels)
    (tmp_path / "x").write_bytes(with_size(data, form, 12000 * frame, frame))
    note = "its header says 0.25 s, 1.00 s are there and are read"
    assert np.abs(read(tmp_path / "x", 48000, [note]) - whole).max() < 1e-6
    if form in ("AU", "AIFF"):
        (tmp_path / "x").write_bytes(with_size(data, form, 0, frame))
        note = "its header was never finished; all 1.00 s after it are read"
        assert np.abs(read(tmp_path / "x", 48000, [note]) - whole).max() < 1e-6


def test_little_endian_samples(tmp_path):
    for form, endian in (("AIFF", "LITTLE"), ("AU", "LITTLE")):
        held = io.BytesIO()
        soundfile.write(held, FIRST, 48000, format=form, subtype="PCM_16", endian=endian)
        data = bytearray(held.getvalue())
        if form == "AU":
            data[8:12] = struct.pack("<I", 24000)
        else:
            data = bytearray(with_size(bytes(data), form, 24000, 2))
        (tmp_path / "x").write_bytes(data)
        whole = read(tmp_path / "x", 48000, ["its header says 0.25 s, 1.00 s"])
        assert np.abs(whole - FIRST).max() < 1e-4


@pytest.mark.parametrize(("form", "subtype", "width"), SIZED)
def test_a_right_length_is_read_without_a_word(tmp_path, form, subtype, width):
    (tmp_path / "x").write_bytes(encoded(FIRST, 48000, form, subtype))
    assert len(read(tmp_path / "x", 48000, [])) == 48000


def test_a_length_that_is_too_large_gives_a_warning(tmp_path):
    for form in ("AU", "AIFF"):
        (tmp_path / "x").write_bytes(with_size(encoded(FIRST, 48000, form, "PCM_16"), form, 200000, 2))
        assert len(read(tmp_path / "x", 48000, ["truncated or damaged"])) == 48000


CUT = [
    ("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "subtype"), CUT)
@pytest.mark.parametrize("part", [0.45, 0.6, 0.77])
def test_a_cut_file_is_as_long_as_what_is_there(tmp_path, form, subtype, part):
    data = encoded(np.concatenate([SECOND, FIRST]), 48000, form, subtype)
    (tmp_path / "x").write_bytes(data[: int(part * len(data))])
    with pytest.warns(UserWarning, match="truncated or damaged"):
        whole = audio.read(tmp_path / "x", 48000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert audio.info(tmp_path / "x").duration == len(whole) / 48000 < 2.7
    (tmp_path / "x").write_bytes(data)
    assert audio.info(tmp_path / "x").duration == 2.7


def test_a_flac_that_ends_behind_a_frame_holds_that_frame(tmp_path):
    data = encoded(np.concatenate([SECOND, FIRST]), 48000, "FLAC", "PCM_16")
    for number in (3, 17):
        # A frame's header: 4096 samples at 48 kHz, one channel of 16 bits, and its number.
        (tmp_path / "x").write_bytes(data[: data.index(bytes([0xFF, 0xF8, 0xCA, 0x08, number]))])
        assert audio.info(tmp_path / "x").duration == number * 4096 / 48000


def test_samples_that_look_like_a_frame_of_flac_are_none(tmp_path):
    """White noise is stored as it is, with a whole header of frame 67,108,863 among its samples."""
    header = bytes.fromhex("fff8ca08fcbfbfbfbfbf")
    value = 0
    for byte in header:  # the CRC of a frame's header
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07 if value & 0x80 else value << 1) & 0xFF
    samples = np.random.default_rng(0).integers(-32768, 32767, 4096 * 5, dtype=np.int16)
    samples[4096 * 4 + 1000 :][:6] = np.frombuffer(header + bytes([value, 0]), ">i2")
    soundfile.write(tmp_path / "x.flac", samples, 48000)
    data = (tmp_path / "x.flac").read_bytes()
    assert header + bytes([value]) in data
    assert len(read(tmp_path / "x.flac", 48000, [])) == len(samples)
    with (tmp_path / "x.flac").open("rb") as handle:  # cut in a frame, of which that header is the last
        cut = io.BytesIO(handle.read(data.index(header) + 500))
    assert flac_held(cut) is None  # it has the last frame's header
    samples = np.concatenate([samples, samples[: 4096 * 2]])
    soundfile.write(tmp_path / "y.flac", samples, 48000)
    data = (tmp_path / "y.flac").read_bytes()
    assert flac_held(io.BytesIO(data[: data.index(header) + 500])) == 4096 * 4


def test_more_than_4_gib_of_aiff(tmp_path):
    """32 bits have wrapped: 13 hours, on a disk that stores no zeros."""
    held = 2**32 + 48000 * 2
    data = with_size(encoded(FIRST, 48000, "AIFF", "PCM_16"), "AIFF", 48000 * 2, 2)
    with (tmp_path / "x.aiff").open("wb") as file:
        file.write(data)
        file.truncate(len(data) - 96000 + held)
    with pytest.warns(UserWarning, match="its header says 1.00 s"):
        assert audio.info(tmp_path / "x.aiff").duration == held / 96000
