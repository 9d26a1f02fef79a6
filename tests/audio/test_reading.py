"""Sound in, on signals whose answer is known: a sine of known pitch and level is compared with the sine itself."""

import io
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.sounds import FORMATS, LEVEL, middle, noise, sine, write_av
from sondino import audio
from sondino.audio import sndfile
from sondino.errors import AudioError, OptionError
from sondino.frontend.logmel import resampled_length

CLIPS = Path(__file__).parents[1] / "data" / "clips"


@pytest.fixture(autouse=True)
def no_warning():
    """A warning is an answer: only tests that expect one may see it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---- formats --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "name"),
    # an mp3 holds two channels at most
    [(channels, name) for channels in (1, 2, 6) for name in FORMATS if channels < 6 or FORMATS[name][0] != "MP3"],
)
def test_every_format_gives_the_sine_at_the_rate_asked_for(tmp_path, name, channels):
    form, subtype, rate, tolerance = FORMATS[name]
    x = sine(rate, 1.0)
    # Lossy coders cut the bass channel of six above some 120 Hz: five sixths of the level stay.
    level = LEVEL * 5 / 6 if form == "OGG" and channels == 6 else LEVEL
    soundfile.write(tmp_path / name, np.stack([x] * channels, axis=1), rate, format=form, subtype=subtype)
    facts = audio.info(tmp_path / name)
    assert (facts.sample_rate, facts.channels) == (rate, channels)
    assert facts.duration == pytest.approx(1.0, abs=1e-3)
    for target in (rate, 16000, 32000):
        y = audio.read(tmp_path / name, target)
        assert y.dtype == np.float32 and y.shape == (target,)
        # Lossy codecs start and end softly, and the resampler rings at the cut: the middle is what is known.
        assert np.abs(middle(y - sine(target, 1.0, level=level), target // 10)).max() < tolerance


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("target", [8000, 16000, 32000, 48000])
def test_every_rate_to_every_rate_is_the_sine(tmp_path, rate, target):
    x = sine(rate, 0.5)
    soundfile.write(tmp_path / "x.wav", x, rate, subtype="FLOAT")
    y = audio.read(tmp_path / "x.wav", target)
    assert len(y) == round(len(x) * target / rate)
    assert np.abs(middle(y - sine(target, 0.5)[: len(y)], target // 20)).max() < 1e-5


def test_resampling_down_removes_what_the_rate_cannot_hold():
    high = sine(48000, 1.0, hertz=12000)
    assert np.abs(middle(audio.from_array(high, 48000, 16000), 800)).max() < 1e-4


def test_44100_is_near_48000_and_stereo_near_mono():
    rng = np.random.default_rng(0)
    # Sound below 8 kHz, so that both rates can hold it.
    base = audio.resample(rng.normal(0, 0.1, 16000).astype(np.float32), 16000, 96000)
    at_44, at_48 = audio.resample(base, 96000, 44100), audio.resample(base, 96000, 48000)
    a, b = audio.from_array(at_44, 44100, 32000), audio.from_array(at_48, 48000, 32000)
    level = np.sqrt(np.mean(b**2))
    assert np.abs(middle(a - b, 1600)).max() < 1e-4 * level * 10
    stereo = np.stack([at_48 + 0.02, at_48 - 0.02])
    assert np.abs(audio.from_array(stereo, 48000, 32000) - b).max() < 1e-6
    different = np.stack([at_48, at_48 * 0.8])
    near = audio.from_array(different, 48000, 32000)
    assert float(near @ b / np.linalg.norm(near) / np.linalg.norm(b)) > 0.99999


def test_real_clips_agree_at_every_rate():
    for path in sorted(CLIPS.glob("*.ogg")):
        full, low = audio.read(path, 32000), audio.read(path, 16000)
        again = audio.resample(full, 32000, 16000)
        assert len(low) == len(again)
        assert np.abs(low - again).max() < 1e-6 + 1e-3 * np.abs(low).max()


# ---- stretches and streams ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_a_stretch_is_a_slice_of_the_whole(tmp_path, name):
    form, subtype, rate, _ = FORMATS[name]
    soundfile.write(tmp_path / name, noise(rate, 4.0), rate, format=form, subtype=subtype)
    for target in (rate, 32000, 16000):
        whole = audio.read(tmp_path / name, target)
        for start, duration in ((0, 1), (0.3337, 0.5), (2, 1.25), (3.5, None), (3.5, 9)):
            part = audio.read(tmp_path / name, target, start, duration)
            first = round(start * target)
            expected = whole[first : None if duration is None else first + round(duration * target)]
            assert part.shape == expected.shape
            if target == rate and form == "WAV":
                assert np.array_equal(part, expected)
            else:
                assert np.abs(part - expected).max() < 2e-6


@pytest.mark.parametrize("name", ["s16.wav", "vorbis.ogg", "clip.mp3", "clip.opus", "s16.flac"])
@pytest.mark.parametrize("block", [0.1, 0.7, 60.0])
@pytest.mark.parametrize(
    "sound", ["noise", "sine"]
)  # the frames of an mp3 lean on earlier ones only where bits are left
def test_a_stream_is_seamless(tmp_path, name, block, sound, monkeypatch):
    form, subtype, rate, _ = FORMATS[name]
    x = noise(rate, 3.0, 2) if sound == "noise" else np.stack([sine(rate, 3.0)] * 2, axis=1)
    soundfile.write(tmp_path / name, x, rate, format=form, subtype=subtype)
    whole = soundfile.read(tmp_path / name, dtype="float32")[0].mean(axis=1, dtype=np.float32)
    whole = audio.resample(whole, rate, 32000)
    for start in (0.5, 1.7):  # a segment equals that of the whole file, the decoder's state included
        first = round(start * 32000)
        part = audio.read(tmp_path / name, 32000, start, 1.0)
        assert np.abs(part - whole[first : first + 32000]).max() < 1e-4
    monkeypatch.setattr(sndfile, "BLOCK_SAMPLES", 20000)  # many decoded blocks, cut elsewhere than ours
    blocks = list(audio.stream(tmp_path / name, 32000, block))
    assert [len(x) for x in blocks[:-1]] == [round(block * 32000)] * (len(blocks) - 1)
    assert 0 < len(blocks[-1]) <= round(block * 32000)
    assert np.abs(np.concatenate(blocks) - whole).max() < 1e-6


def test_a_whole_read_equals_soxr_on_the_whole_array(tmp_path):
    import soxr

    x = noise(44100, 3.0)[:, 0]
    soundfile.write(tmp_path / "x.wav", x, 44100, subtype="FLOAT")
    assert np.array_equal(audio.read(tmp_path / "x.wav", 32000), soxr.resample(x, 44100, 32000))


@pytest.mark.full
def test_an_hour_streams_in_constant_memory(tmp_path):
    path = tmp_path / "hour.wav"
    minute = sine(8000, 60.0)
    with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_16") as file:
        for _ in range(60):
            file.write(minute)
    code = (
        "import json, resource, sys\n"
        "from sondino import audio\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "sum(len(x) for x in audio.stream(sys.argv[2], 32000))\n"
        "before = peak()\n"
        "samples = sum(len(x) for x in audio.stream(sys.argv[1], 32000))\n"
        "print(json.dumps([samples, peak() - before]))\n"
    )
    (tmp_path / "short").mkdir()
    soundfile.write(tmp_path / "short" / "two.wav", np.tile(minute, 2), 8000)
    out = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "short" / "two.wav"],
        capture_output=True,
        text=True,
        check=True,
    )
    samples, grown = json.loads(out.stdout)
    assert samples == 3600 * 32000
    assert grown < 40  # MiB; the hour itself is 440


def test_an_hour_is_windowed_in_constant_memory():
    held = []

    def hour():
        for _ in range(60):
            block = np.zeros(60 * 8000, np.float32)
            held.append(len(block))
            yield block

    total = weight = 0
    for window, _, real in audio.iter_windows(hour(), 8000, audio.Windowing(10.0, 5.0)):
        assert window.base is None or window.base.nbytes < 3 * 60 * 8000 * 4
        total, weight = total + 1, weight + real
    assert total == (3600 - 10) // 5 + 1 and weight == total * 80000


# ---- windows --------------------------------------------------------------------------------------------------

RAMP = np.arange(1, 10_001, dtype=np.float32)


@pytest.mark.parametrize(
    ("samples", "starts", "weights"),
    [
        (1, [0], [1]),
        (999, [0], [999]),
        (1000, [0], [1000]),
        (1001, [0, 1], [1000, 1]),
        (2000, [0, 1], [1000, 1000]),
        (2500, [0, 1, 2], [1000, 1000, 500]),
    ],
)
def test_windows_keep_the_tail(samples, starts, weights):
    cuts, at, real = audio.stack_windows(RAMP[:samples], 1000, audio.Windowing(1.0))
    assert at.tolist() == starts and real.tolist() == weights
    assert cuts.shape == (len(starts), 1000) and cuts.dtype == np.float32
    # Every sample is there once, in its place; the rest is zero.
    assert np.array_equal(cuts.reshape(-1)[:samples], RAMP[:samples])
    assert not cuts.reshape(-1)[samples:].any()


def test_windows_that_overlap_end_with_the_sound():
    cuts, at, real = audio.stack_windows(RAMP[:2000], 1000, audio.Windowing(1.0, hop=0.5))
    assert at.tolist() == [0, 0.5, 1.0] and real.tolist() == [1000, 1000, 1000]
    cuts, at, real = audio.stack_windows(RAMP[:2001], 1000, audio.Windowing(1.0, hop=0.5))
    assert at.tolist() == [0, 0.5, 1.0, 1.5] and real.tolist() == [1000, 1000, 1000, 501]
    assert cuts[3, 500] == 2001 and not cuts[3, 501:].any()


def test_windows_with_gaps():
    _, at, real = audio.stack_windows(RAMP[:4500], 1000, audio.Windowing(1.0, hop=2.0))
    assert at.tolist() == [0, 2, 4] and real.tolist() == [1000, 1000, 500]
    _, at, _ = audio.stack_windows(RAMP[:3500], 1000, audio.Windowing(1.0, hop=2.0))
    assert at.tolist() == [0, 2]


def test_short_policies():
    x = RAMP[:300]
    pad, _, weight = audio.stack_windows(x, 1000, audio.Windowing(1.0, short="pad"))
    assert np.array_equal(pad[0, :300], x) and not pad[0, 300:].any() and weight.tolist() == [300]
    native, _, weight = audio.stack_windows(x, 1000, audio.Windowing(1.0, short="native"))
    assert np.array_equal(native, x[None]) and weight.tolist() == [300]
    native, _, weight = audio.stack_windows(x, 1000, audio.Windowing(1.0, short="native"), minimum=400)
    assert native.shape == (1, 400) and not native[0, 300:].any() and weight.tolist() == [300]
    repeat, _, weight = audio.stack_windows(x, 1000, audio.Windowing(1.0, short="repeat"))
    assert np.array_equal(repeat[0], np.tile(x, 4)[:1000]) and weight.tolist() == [300]
    whole, at, weight = audio.stack_windows(x, 1000, audio.Windowing(None), minimum=301)
    assert whole.shape == (1, 301) and at.tolist() == [0] and weight.tolist() == [300]
    with pytest.raises(OptionError, match="pad, native, repeat"):
        audio.stack_windows(x, 1000, audio.Windowing(1.0, short="loop"))
    with pytest.raises(OptionError, match="window"):
        audio.stack_windows(x, 1000, audio.Windowing(0.0))


@pytest.mark.parametrize("window", [1.0, 0.1, 3.7, None])
@pytest.mark.parametrize("hop", [None, 0.33, 1.5])
@pytest.mark.parametrize("samples", [1, 999, 1000, 1001, 5432])
def test_cutting_blocks_equals_cutting_the_whole(window, hop, samples):
    x = RAMP[:samples]
    blocks = np.split(x, [i for i in (1, 7, 900, 1000, 1007, 4000) if i < samples])
    whole, starts, weights = audio.stack_windows(x, 1000, audio.Windowing(window, hop))
    parts = list(audio.iter_windows(blocks, 1000, audio.Windowing(window, hop)))
    assert np.array_equal(np.stack([p for p, _, _ in parts]), whole)
    assert [s for _, s, _ in parts] == starts.tolist() and [w for _, _, w in parts] == weights.tolist()


@pytest.mark.parametrize("rate", [500, 1000, 1102, 1500])
@pytest.mark.parametrize("hop", [None, 0.33, 1.5])
@pytest.mark.parametrize("seconds", [0.3, 0.9995, 1.0, 2.5, 5.4321])
def test_windows_at_another_rate_are_those_of_the_resampled_sound(rate, hop, seconds):
    """A ramp in time holds its place: each window must hold what lies at its start."""
    windowing = audio.Windowing(1.0, hop, short="native")
    time = np.arange(round(seconds * rate), dtype=np.float32) / rate
    resampled = np.arange(resampled_length(len(time), rate, 1000), dtype=np.float32) / 1000
    _, starts, weights = audio.stack_windows(resampled, 1000, windowing)
    found = list(audio.iter_windows(np.array_split(time, 7), 1000, windowing, rate=rate))
    assert [start for _, start, _ in found] == starts.tolist()
    assert [real for _, _, real in found] == weights.tolist()
    for window, start, real in found:
        assert window[0] == pytest.approx(start, abs=0.51 / rate)
        assert np.count_nonzero(np.append(window[1:], 1)) == pytest.approx(real * rate / 1000, abs=1)
    assert all(len(window) == rate for window, _, _ in found) or seconds < 1


def test_a_short_clip_at_another_rate_is_padded_to_the_minimum():
    ((window, _, real),) = audio.iter_windows([RAMP[:20]], 1000, audio.Windowing(1.0, short="native"), 101, rate=441)
    assert len(window) == 45 and resampled_length(44, 441, 1000) < 101 <= resampled_length(45, 441, 1000) and real == 45
    ((window, _, _),) = audio.iter_windows([RAMP[:20]], 1000, audio.Windowing(None), 101, rate=441)
    assert len(window) == 45


def test_merge_weights_by_real_samples():
    embeddings = np.array([[1, 0], [0, 1]], np.float32)
    assert audio.merge(embeddings, np.array([3.0, 1.0])).tolist() == [0.75, 0.25]
    assert audio.merge(embeddings, np.array([3.0, 1.0])).dtype == np.float32
    assert audio.merge(embeddings, np.zeros(2)).tolist() == [0.5, 0.5]


# ---- odd sound ------------------------------------------------------------------------------------------------


def test_one_sample_is_a_sound_at_any_rate(tmp_path):
    soundfile.write(tmp_path / "one.wav", np.array([0.5], np.float32), 44100, subtype="FLOAT")
    for target in (8000, 16000, 44100, 48000):
        y = audio.read(tmp_path / "one.wav", target)
        assert len(y) == max(1, round(target / 44100)) and np.isfinite(y).all()
        assert np.array_equal(np.concatenate(list(audio.stream(tmp_path / "one.wav", target))), y)
        assert len(audio.from_array([0.5], 44100, target)) == len(y)


def test_no_sample_is_an_error(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 44100)
    assert audio.info(tmp_path / "none.wav").duration == 0
    with pytest.raises(AudioError, match=r"none\.wav: holds no sound"):
        audio.read(tmp_path / "none.wav", 32000)
    with pytest.raises(AudioError, match=r"none\.wav: holds no sound"):
        list(audio.stream(tmp_path / "none.wav", 32000))
    with pytest.raises(AudioError, match="holds no sound"):
        audio.from_array(np.zeros(0), 44100, 32000)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match=r"empty\.wav: holds no sound, the file is empty"):
        audio.read(tmp_path / "empty.wav", 32000)


def test_silence_is_a_sound(tmp_path):
    soundfile.write(tmp_path / "zero.wav", np.zeros((44100, 2), np.float32), 44100)
    y = audio.read(tmp_path / "zero.wav", 32000)
    assert y.shape == (32000,) and not y.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_samples_become_zero_with_a_warning(tmp_path, bad):
    x = sine(32000, 0.1)
    x[100] = bad
    soundfile.write(tmp_path / "bad.wav", x, 32000, subtype="FLOAT")
    expected = x.copy()
    expected[100] = 0
    with pytest.warns(UserWarning, match=r"bad\.wav: NaN or infinite"):
        assert np.array_equal(audio.read(tmp_path / "bad.wav", 32000), expected)
    with pytest.warns(UserWarning, match="NaN or infinite"):
        assert np.array_equal(audio.from_array(x, 32000, 32000), expected)


def test_nothing_but_nan_is_an_error(tmp_path):
    x = np.full(1000, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", x, 32000, subtype="FLOAT")
    with pytest.warns(UserWarning), pytest.raises(AudioError, match=r"nan\.wav: holds no sound"):
        audio.read(tmp_path / "nan.wav", 32000)
    with pytest.raises(AudioError, match="holds no sound"):
        audio.from_array(x, 32000, 32000)


# ---- channels -------------------------------------------------------------------------------------------------


def test_channels_are_averaged():
    x = np.stack([np.full(100, c, np.float32) for c in (0.0, 0.1, 0.2, 0.3, 0.4, 0.8)], axis=1)
    assert audio.to_mono(x) == pytest.approx(np.full(100, 0.3))
    assert np.array_equal(audio.to_mono(x[:, 3]), x[:, 3])


def test_channels_that_cancel_leave_one_of_them(tmp_path):
    x = sine(32000, 0.5)
    silent = np.zeros_like(x)
    assert np.array_equal(audio.to_mono(np.stack([x, -x], axis=1)), x)
    assert np.array_equal(audio.to_mono(np.stack([silent, x, -x], axis=1)), x)
    assert audio.to_mono(np.stack([x, silent], axis=1)) == pytest.approx(x / 2)
    assert not audio.to_mono(np.stack([silent, silent], axis=1)).any()
    # The sound begins after silence, in a later block than the first.
    late = np.concatenate([np.zeros(2_000_000, np.float32), x])
    soundfile.write(tmp_path / "x.wav", np.stack([late, -late], axis=1), 32000, subtype="FLOAT")
    assert np.array_equal(audio.read(tmp_path / "x.wav", 32000), late)


# ---- arrays, open files, folders ------------------------------------------------------------------------------


def test_arrays_of_every_shape_and_type():
    x = sine(16000, 0.1)
    for given in (x, x[None], x[:, None], np.stack([x, x]), np.stack([x, x], axis=1), x.astype(np.float64), list(x)):
        assert audio.from_array(given, 16000, 16000) == pytest.approx(x, abs=1e-7)
    assert audio.from_array((x * 32767).astype(np.int16), 16000, 16000) == pytest.approx(x, abs=1e-4)
    assert audio.from_array((x * 2147483647).astype(np.int32), 16000, 16000) == pytest.approx(x, abs=1e-6)
    assert audio.from_array(np.round(x * 127 + 128).astype(np.uint8), 16000, 16000) == pytest.approx(x, abs=0.01)


@pytest.mark.parametrize(
    ("array", "rate", "message"),
    [
        (np.zeros((2, 2, 2)), 16000, "shape"),
        (np.zeros((100, 200)), 16000, "100 channels"),
        (np.array(["a", "b"]), 16000, "not a sound"),
        (np.zeros(10, complex), 16000, "not a sound"),
        (np.zeros(10), 0, "rate"),
        (np.zeros(10), None, "rate"),
        (np.zeros(10), "44100", "rate"),
        (0.5, 16000, "shape"),
    ],
)
def test_arrays_that_are_no_sound(array, rate, message):
    with pytest.raises(AudioError, match=message):
        audio.from_array(array, rate, 16000)


def test_open_files(tmp_path):
    path = CLIPS / "tabla_tun1.ogg"
    whole = audio.read(path, 16000)
    data = path.read_bytes()
    assert np.array_equal(audio.read(io.BytesIO(data), 16000), whole)
    with path.open("rb") as file:
        assert np.array_equal(audio.read(file, 16000), whole)
        assert np.array_equal(audio.read(file, 16000), whole)  # again from its beginning
        assert audio.info(file).sample_rate == 32000
    with pytest.raises(AudioError, match="not a sound"):
        audio.read(io.BytesIO(b"text" * 100), 16000)
    m4a = write_av(tmp_path / "x.m4a", sine(44100, 1.0), 44100, "aac")
    assert np.array_equal(audio.read(io.BytesIO(m4a.read_bytes()), 16000), audio.read(m4a, 16000))


def test_options_out_of_range():
    path = CLIPS / "bd_haus.ogg"
    for options in ((0,), (16000, -1.0), (16000, float("nan")), (16000, 0.0, 0.0), (16000, 0.0, -1.0)):
        with pytest.raises(OptionError):
            audio.read(path, *options)
    with pytest.raises(AudioError, match="past the end"):
        audio.read(path, 16000, 5.0)
    with pytest.raises(AudioError, match="past the end"):
        audio.read(path, 32000, 5.0, 1.0)
    with pytest.raises(AudioError, match="a folder, not a file"):
        audio.read(CLIPS, 16000)
    with pytest.raises(AudioError, match="no such file"):
        audio.read(CLIPS / "nope.wav", 16000)


# ---- whole numbers that were not scaled --------------------------------


COUNTS = np.round(sine(16000, 0.5) * 32767)


@pytest.mark.parametrize(
    ("counts", "full"),
    [
        (COUNTS.astype(np.float32), 2**15),
        (COUNTS.astype(np.float64) * 256, 2**23),
        (COUNTS.astype(np.int32), 2**15),
        (COUNTS.astype(np.int64), 2**15),
        ((COUNTS * 256).astype(np.int32), 2**23),
    ],
)
def test_scale_auto_divides_counts_by_their_full_scale(counts, full):
    expected = (counts / full).astype(np.float32)
    assert np.allclose(audio.from_array(counts, 16000, 16000, scale="auto"), expected, atol=1e-7)


def test_counts_in_a_wider_type_are_taken_as_they_are_with_a_warning():
    with pytest.warns(UserWarning, match="an array: its floats reach 16,384, far above the full scale of 1"):
        assert np.array_equal(audio.from_array(COUNTS.astype(np.float32), 16000, 16000), COUNTS.astype(np.float32))
    with pytest.warns(UserWarning, match="int32 samples reach 16,384 of 2,147,483,648"):
        audio.from_array(COUNTS.astype(np.int32), 16000, 16000)
    for right in (COUNTS.astype(np.int16), (COUNTS * 65536).astype(np.int32), 8 * sine(16000, 0.5)):
        assert np.array_equal(audio.from_array(right, 16000, 16000), audio.from_array(right, 16000, 16000, "auto"))


def test_a_file_of_counts_has_one_scale_in_every_stretch(tmp_path):
    counts = COUNTS.astype(np.float32) * np.linspace(0, 1, len(COUNTS), dtype=np.float32)
    soundfile.write(tmp_path / "x.wav", counts, 16000, subtype="FLOAT")
    with pytest.warns(UserWarning, match=r"x\.wav: its floats reach \d"):
        assert np.array_equal(audio.read(tmp_path / "x.wav", 16000), counts)
    whole = audio.read(tmp_path / "x.wav", 16000, scale="auto")
    assert np.array_equal(whole, counts / np.float32(32768))
    assert np.array_equal(audio.read(tmp_path / "x.wav", 16000, 0.0, 0.01, scale="auto"), whole[:160])
    assert np.array_equal(np.concatenate(list(audio.stream(tmp_path / "x.wav", 16000, 0.1, "auto"))), whole)
