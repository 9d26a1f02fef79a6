"""Containers, broken files, headers that are wrong: what comes out, and what is message."""

import io
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.failing_disk import REASON, Unreadable, fail_to_read
from helpers.sounds import FORMATS, HERTZ, LEVEL, noise, pipe_av, sine, write_av
from sondino import audio
from sondino.audio.decoders import open_sound
from sondino.audio.mpeg import frame_header
from sondino.audio.signal import resampled_blocks
from sondino.errors import AudioError, MissingExtra


@pytest.fixture(autouse=True)
def no_warning():
    """A warning is an answer: only tests that expect one may see it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---- containers that PyAV reads ----------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "rate", "tolerance"),
    [("clip.m4a", "aac", 44100, 0.02), ("clip.webm", "libopus", 48000, 0.02), ("clip.ac3", "ac3", 48000, 0.02)],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_containers_that_pyav_reads(tmp_path, name, codec, rate, tolerance, channels):
    path = write_av(tmp_path / name, np.stack([sine(rate, 1.5)] * channels, axis=1), rate, codec)
    facts = audio.info(path)
    assert (facts.sample_rate, facts.channels) == (rate, channels)
    assert facts.duration == pytest.approx(1.5, abs=0.05)
    y = audio.read(path, 32000)
    assert len(y) == pytest.approx(48000, abs=0.05 * 32000)
    # Priming samples may shift the sound by a codec's frame: fit phase and level of the known pitch.
    part = y[8000:40000]
    at = np.arange(8000, 40000) / 32000
    basis = np.stack([np.sin(2 * np.pi * HERTZ * at), np.cos(2 * np.pi * HERTZ * at)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, part, rcond=None)
    expected = LEVEL * 5 / 6 if channels == 6 and codec == "aac" else LEVEL  # as above
    assert np.hypot(*fit) == pytest.approx(expected, abs=0.03)
    assert np.abs(part - basis @ fit).max() < tolerance


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("x.mov", "pcm_s16le"), ("x.mkv", "pcm_s24le"), ("x.mka", "flac"), ("x.avi", "pcm_s16le"), ("x.m4a", "alac"),
     ("x.wv", "wavpack"), ("x.tta", "tta")],
)  # fmt: skip
def test_each_channel_is_where_it_was(tmp_path, name, codec, channels):
    """Lossless, so that a channel that is read from another's place is seen."""
    sound = noise(48000, 0.5, channels)
    path = write_av(tmp_path / name, sound, 48000, codec)
    with open_sound(path) as opened:
        decoded = np.concatenate(list(opened.blocks(0, None)))
    assert decoded.shape == sound.shape
    assert np.abs(decoded - sound).max() < 0.005  # 8 bits in WavPack and TTA, as they are written here


CONTAINERS = [
    ("x.m4a", "aac"), ("x.mp4", "libopus"), ("x.mov", "pcm_s16le"), ("x.m4a", "alac"),
    ("x.webm", "libopus"), ("x.mkv", "aac"), ("x.mov", "ac3"), ("x.mka", "flac"), ("x.mkv", "pcm_s16le"),
    ("x.wma", "wmav2"), ("x.aac", "aac"), ("x.ac3", "ac3"), ("x.ts", "mp2"), ("x.wav", "g722"), ("x.caf", "alac"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
def test_a_stretch_of_a_container_is_a_slice_of_the_whole(tmp_path, name, codec):
    rate = 16000 if codec == "g722" else 48000
    sound = noise(rate, 4.0)[:, 0]
    path = write_av(tmp_path / name, sound, rate, codec)
    whole = audio.read(path, rate)
    lag = np.fft.irfft(np.fft.rfft(whole, 2**19) * np.conj(np.fft.rfft(sound, 2**19))).argmax()
    # What has a length in its header is as long as what was written, and begins with it.
    exact = codec != "ac3" and (name.endswith(("m4a", "mp4", "mov", "webm", "mka")) or codec == "pcm_s16le")
    assert len(whole) - len(sound) in range(*((0, 129) if exact else (-4096, 6000)))
    assert lag == 0 or not exact
    assert audio.info(path).duration == len(whole) / rate
    for start in (0.2, 1.0, 2.5):
        part = audio.read(path, rate, start, 0.5)
        expected = whole[round(start * rate) :][: rate // 2]
        assert part.shape == (rate // 2,)
        # A decoder that fills gaps with noise draws other noise after a seek.
        assert np.abs(part - expected).max() < (0.02 if codec in ("aac", "libopus") else 1e-6)
        assert np.corrcoef(part, expected)[0, 1] > 0.999


def test_the_length_of_a_picture_is_not_that_of_its_sound(tmp_path):
    av = pytest.importorskip("av")
    for name in ("film.mkv", "film.mp4"):
        with av.open(str(tmp_path / name), "w") as container:
            picture, track = (
                container.add_stream("mpeg4", rate=25),
                container.add_stream("aac", rate=48000, layout="mono"),
            )
            picture.width = picture.height = 32
            picture.pix_fmt = "yuv420p"
            for _ in range(100):  # 4 s, of which 1 s has sound
                container.mux(
                    picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"))
                )
            container.mux(picture.encode(None))
            frame = av.AudioFrame.from_ndarray(noise(48000, 1.0).T.copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, 0
            for packet in [*track.encode(frame), *track.encode(None)]:
                container.mux(packet)
        assert audio.info(tmp_path / name).duration == pytest.approx(1.0, abs=0.03)
        assert len(audio.read(tmp_path / name, 48000)) == pytest.approx(48000, abs=0.03 * 48000)


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32"])
def test_a_codec_that_cannot_seek_is_decoded_from_the_beginning(tmp_path, subtype):
    soundfile.write(tmp_path / "x.wav", noise(8000, 4.0), 8000, subtype=subtype)
    whole = audio.read(tmp_path / "x.wav", 8000)
    for start in (0.0, 0.2, 3.0):
        assert np.array_equal(audio.read(tmp_path / "x.wav", 8000, start, 0.5), whole[round(start * 8000) :][:4000])
    with pytest.raises(AudioError, match="past the end"):
        audio.read(tmp_path / "x.wav", 8000, 5.0)


@pytest.mark.parametrize(("at", "value"), [(20, 9), (34, 0), (22, 0)])  # codec, bits, channels
def test_a_header_that_no_decoder_takes(tmp_path, at, value):
    soundfile.write(tmp_path / "x.wav", sine(16000, 0.5), 16000)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    data[at : at + 2] = value.to_bytes(2, "little")
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(AudioError, match=r"x\.wav: not a sound that can be decoded"):
        audio.read(tmp_path / "x.wav", 16000)


@pytest.mark.parametrize("rate", [1, 3, 99, 10_000_001])
def test_a_rate_that_is_none_of_sound(tmp_path, rate):
    soundfile.write(tmp_path / "x.wav", sine(16000, 0.5), 16000)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(data)
    for call in (audio.info, lambda path: audio.read(path, 16000)):
        with pytest.raises(AudioError, match=rf"a rate of {rate} Hz is outside 100 Hz to 10 MHz"):
            call(tmp_path / "x.wav")


def test_resampling_gives_no_more_than_a_bounded_block():
    blocks = list(resampled_blocks(iter([np.ones(65536, np.float32)]), 100, 48000))
    assert sum(map(len, blocks)) == 65536 * 480
    assert max(map(len, blocks)) < 2 * 2**20


# ---- broken files ----------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_file_gives_what_is_there_with_a_warning(tmp_path, name):
    form, subtype, rate, _ = FORMATS[name]
    soundfile.write(tmp_path / name, noise(rate, 6.0), rate, format=form, subtype=subtype)
    whole = audio.read(tmp_path / name, rate)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=f"{name}: truncated or damaged"):
        half = audio.read(tmp_path / name, rate)
    assert 0.25 < len(half) / len(whole) < 0.6
    assert np.abs(half[:-5000] - whole[: len(half) - 5000]).max() < 1e-5
    with pytest.warns(UserWarning, match="truncated or damaged"):
        assert np.array_equal(np.concatenate(list(audio.stream(tmp_path / name, rate, 0.5))), half)
    # A segment before the damage is complete: no warning.
    assert len(audio.read(tmp_path / name, rate, 0.5, 0.5)) == rate // 2
    (tmp_path / name).write_bytes(data[:30])
    with pytest.raises(AudioError, match=name):
        audio.read(tmp_path / name, rate)


def test_a_truncated_container(tmp_path):
    path = write_av(tmp_path / "x.webm", noise(48000, 6.0)[:, 0], 48000, "libopus")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=r"x\.webm: truncated or damaged"):
        y = audio.read(path, 32000)
    assert 2 < len(y) / 32000 < 4
    path = write_av(tmp_path / "x.m4a", noise(48000, 6.0)[:, 0], 48000, "aac")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])  # its index is at the end: nothing can be found
    with pytest.raises(AudioError, match=r"x\.m4a: not a sound that can be decoded"):
        audio.read(path, 32000)


@pytest.mark.parametrize("with_av", [True, False])
def test_a_text_file_named_wav(tmp_path, monkeypatch, with_av):
    if with_av:
        pytest.importorskip("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "text.wav").write_text("this is no sound\n" * 100)
    for call in (lambda: audio.read(tmp_path / "text.wav", 16000), lambda: audio.info(tmp_path / "text.wav")):
        with pytest.raises(AudioError, match=r"text\.wav: not a sound that can be decoded"):
            call()


@pytest.mark.parametrize(
    ("name", "codec"),
    [("x.m4a", "aac"), ("x.webm", "libopus"), ("x.oga", "flac"), ("x.caf", "alac"), ("x.wav", "g722"),
     ("x.wv", "wavpack"), ("x.tta", "tta"), ("x.ts", "mp2"), ("x.aac", "aac"), ("x.ac3", "ac3"), ("x.wma", "wmav2")],
)  # fmt: skip
def test_a_container_without_the_extra_names_the_pip_line(tmp_path, monkeypatch, name, codec):
    rate = 16000 if codec == "g722" else 48000
    path = write_av(tmp_path / name, sine(rate, 0.5), rate, codec)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=rf"{name}: .*pip install 'sondino\[av\]'"):
        audio.read(path, 16000)


def test_a_video_without_sound(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        track = container.add_stream("mpeg4", rate=25)
        track.width = track.height = 32
        track.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    with pytest.raises(AudioError, match="no audio track"):
        audio.read(tmp_path / "film.mp4", 16000)


@pytest.mark.parametrize(("form", "codec"), [("flac", "flac"), ("wav", "pcm_s16le")])
def test_a_header_that_leaves_the_length_open(tmp_path, form, codec):
    x = sine(44100, 2.0)
    (tmp_path / "pipe").write_bytes(pipe_av(x, 44100, form, codec))
    assert audio.info(tmp_path / "pipe").duration == pytest.approx(2.0)
    assert np.abs(audio.read(tmp_path / "pipe", 44100) - x).max() < 1e-4
    assert len(audio.read(tmp_path / "pipe", 44100, 1.5, 3)) == 22050


def mp3_without_length(path: Path, x: np.ndarray) -> None:
    """A variable-rate mp3 that has lost its Xing header: a guess from the first frame's bit rate is wrong."""
    soundfile.write(path, x, 44100)
    data = path.read_bytes()
    path.write_bytes(data[data.index(b"\xff\xfb", data.index(b"Xing")) :])


def test_an_mp3_may_be_longer_than_its_header_states(tmp_path, monkeypatch):
    pytest.importorskip("av")
    path = tmp_path / "bare.mp3"
    x = np.concatenate([noise(44100, 0.5)[:, 0], np.zeros(5 * 44100, np.float32), noise(44100, 0.5)[:, 0]])
    mp3_without_length(path, x)
    with soundfile.SoundFile(path) as file:
        assert file.frames < 4 * 44100  # the trap is there
    assert audio.info(path).duration == pytest.approx(6.0, abs=0.1)
    y = audio.read(path, 44100)
    assert len(y) == pytest.approx(len(x), abs=4000)
    assert np.abs(y[-20000:]).max() > 0.1
    assert np.array_equal(audio.read(path, 44100, 5.5, 0.3), y[242550 : 242550 + 13230])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.warns(UserWarning, match=r"bare\.mp3: its header leaves out .* s at the end"):
        audio.read(path, 44100)


def test_an_mp3_may_be_shorter_than_its_header_states(tmp_path):
    path = tmp_path / "bare.mp3"
    x = np.concatenate([np.zeros(22050, np.float32), noise(44100, 5.0)[:, 0]])
    mp3_without_length(path, x)
    with soundfile.SoundFile(path) as file:
        assert file.frames > 10 * 44100  # the trap is there
    assert audio.info(path).duration == pytest.approx(5.5, abs=0.1)
    y = audio.read(path, 44100)  # complete, so no warning
    assert len(y) == pytest.approx(len(x), abs=4000)
    assert np.abs(audio.read(path, 44100, 4.0, 0.5) - y[176400:198450]).max() < 1e-5


def test_two_mp3_without_a_header_put_together_are_both_read(tmp_path):
    pytest.importorskip("av")
    soundfile.write(tmp_path / "x.mp3", sine(44100, 2.0), 44100)
    data = (tmp_path / "x.mp3").read_bytes()
    bare = data[frame_header(data[:3])[0] :]
    (tmp_path / "two.mp3").write_bytes(bare + bare)  # nothing says what their encoder put before and behind each
    assert audio.info(tmp_path / "two.mp3").duration == pytest.approx(4.0, abs=0.15)
    assert np.abs(audio.read(tmp_path / "two.mp3", 44100)[-44100:]).max() > 0.4
    assert audio.info(io.BytesIO(data)).duration == pytest.approx(2.0, abs=0.01)


def test_a_file_that_cannot_be_read_is_an_audio_error_that_names_it(tmp_path, monkeypatch):
    file = tmp_path / "a.wav"
    soundfile.write(file, np.zeros(800), 8000)
    fail_to_read(monkeypatch, "a.wav")
    named = re.escape(f"{file}: cannot be read ({REASON})")
    for use in (audio.info, lambda path: audio.read(path, 8000), lambda path: list(audio.stream(path, 8000))):
        with pytest.raises(AudioError, match=named):
            use(file)
    opened = Unreadable()
    opened.name = "b.wav"
    with pytest.raises(AudioError, match=re.escape(f"b.wav: cannot be read ({REASON})")):
        audio.info(opened)
    with pytest.raises(AudioError, match="no such file"):
        audio.info("a\0.wav")


def test_an_error_of_who_reads_a_sound_stays_what_it_is(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    with pytest.raises(OSError, match="No space left"), open_sound(tmp_path / "a.wav"):
        raise OSError(28, "No space left on device")
