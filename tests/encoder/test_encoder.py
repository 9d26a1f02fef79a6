"""The contract and its checker, on encoders whose embeddings can be computed by hand."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sondino.audio.windows import Windowing
from sondino.embedding.classify import classify_files
from sondino.embedding.detect import detect_files
from sondino.embedding.files import embed_files
from sondino.embedding.streams import embed_stream
from sondino.encoder.check import check_encoder
from sondino.encoder.encoder import Costs, Encoder, embed_clips, resolve
from sondino.errors import AudioError, EncoderError, OptionError

RATE = 100
WEIGHTS = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)


class Fake:
    """Mean, mean square, largest and first sample of a window, through a fixed matrix."""

    name = "fake"
    sample_rate = RATE
    dim = 3
    window: float | None = 1.0
    batch_size = 4

    def __init__(self, **attributes):
        self.seen = []
        for name, value in attributes.items():
            setattr(self, name, value)

    def embed(self, waveforms):
        self.seen.append(waveforms.shape)
        x = waveforms
        return np.stack([x.mean(1), (x**2).mean(1), x.max(1), x[:, 0]], axis=1) @ WEIGHTS


class Writes(Fake):
    def embed(self, waveforms):
        embeddings = super().embed(waveforms)
        waveforms *= 0.5
        return embeddings


class Random(Fake):
    def embed(self, waveforms):
        embeddings = super().embed(waveforms)
        return embeddings + np.random.default_rng().standard_normal(embeddings.shape).astype(np.float32)


class BatchNorm(Fake):
    def embed(self, waveforms):
        embeddings = super().embed(waveforms)
        return embeddings - embeddings.mean(axis=0)


class Deaf(Fake):
    def embed(self, waveforms):
        return np.ones((len(waveforms), 3), np.float32)


class NanInSilence(Fake):
    def embed(self, waveforms):
        with np.errstate(all="ignore"):
            return super().embed(waveforms / np.abs(waveforms).max(axis=1, keepdims=True))


class SpreadsNan(Fake):
    def embed(self, waveforms):
        return super().embed(waveforms) + 0 * waveforms.sum()


class AnyLengthFrom(Fake):
    window = None

    def embed(self, waveforms):
        if waveforms.shape[1] < 25:
            raise ValueError("kernel larger than input")
        return super().embed(waveforms)


class Refuses(Fake):
    def embed(self, waveforms):
        raise RuntimeError("out of memory\nand a long trace")


class Shaped(Fake):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def embed(self, waveforms):
        return self.change(super().embed(waveforms))


class Lists(Fake):
    def embed(self, waveforms):
        return super().embed(waveforms).tolist()


GOOD = [Fake(), Fake(window=None), Fake(hop=0.5), Fake(window=1), AnyLengthFrom(minimum=25), Fake(fingerprint="a")]


@pytest.mark.parametrize("encoder", GOOD)
def test_good_encoders_have_no_fault(encoder):
    assert isinstance(encoder, Encoder)
    assert check_encoder(encoder) == []


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Fake(name=""), "`name` is ''"),
        (Fake(sample_rate=16000.0), "`sample_rate` is 16000.0"),
        (Fake(sample_rate=0), "`sample_rate` is 0"),
        (Fake(dim=True), "`dim` is True"),
        (Fake(window=-1), "`window` is -1"),
        (Fake(window=float("nan")), "`window` is nan"),
        (Fake(window=0.001), "holds no sample"),
        (Fake(hop=2.0), "audio between windows is lost"),
        (Fake(batch_size=0), "`batch_size` is 0"),
        (Fake(fingerprint=""), "`fingerprint` is ''"),
        (Fake(embed=3), "`embed` is 3"),
        (Fake(dim=4), "shape (3, 3) for 3 waveforms of noise (100 samples), not (3, 4)"),
        (Writes(), "changes the waveforms"),
        (Random(), "a second time"),
        (BatchNorm(), "alone than in a batch"),
        (Deaf(), "does not depend on its input"),
        (NanInSilence(), "NaN or infinite values for silence"),
        (SpreadsNan(), "NaN in one waveform"),
        (AnyLengthFrom(), "kernel larger than input (give the fewest samples"),
        (Refuses(), "embed fails on silence (100 samples): RuntimeError: out of memory"),
        (Shaped(lambda v: v.astype(np.float64)), "float64"),
        (Shaped(lambda v: v.T), "shape (3, 1) for 1 waveform"),
        (Lists(), "a list for 3 waveforms"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_is_found(encoder, message):
    faults = check_encoder(encoder)
    assert any(message in fault for fault in faults), faults


def test_every_fault_is_listed_at_once():
    class Nothing:
        pass

    missing = check_encoder(Nothing())
    assert [f.split("`")[1] for f in missing] == ["name", "sample_rate", "dim", "window", "embed"]
    assert not isinstance(Nothing(), Encoder)

    class Bad(Random):
        def embed(self, waveforms):
            return super().embed(waveforms).astype(np.float64) / np.abs(waveforms).max()

    with np.errstate(all="ignore"):
        faults = check_encoder(Bad())
    assert len(faults) >= 4
    for message in ("float64", "a second time", "silence", "alone"):
        assert any(message in fault for fault in faults), (message, faults)


def test_precomputed_vectors_need_attributes_alone():
    assert check_encoder(Refuses(lookup=lambda ids: None, window=None)) == []
    assert len(check_encoder(Refuses(lookup=lambda ids: None, dim=0))) == 1


def noise(samples, seed=0):
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def test_a_clip_is_the_mean_of_its_windows_by_real_samples():
    fake, clip = Fake(), noise(230)
    padded = np.concatenate([clip, np.zeros(70, np.float32)]).reshape(3, 100)
    expected = np.average(fake.embed(padded).astype(np.float64), axis=0, weights=[100, 100, 30])
    got = embed_clips(fake, [clip])
    assert got.shape == (1, 3) and got.dtype == np.float32
    np.testing.assert_allclose(got[0], expected, rtol=1e-5)


def test_windows_are_batched_across_clips():
    fake = Fake()
    clips = [noise(300, 1), noise(100, 2), noise(150, 3), noise(40, 4)]  # 3 + 1 + 2 + 1 windows
    together = embed_clips(fake, clips)
    assert fake.seen == [(4, 100), (3, 100)]
    alone = np.concatenate([embed_clips(Fake(), [clip]) for clip in clips])
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_clips_of_any_length_are_batched_by_length():
    fake = Fake(window=None)
    clips = [noise(300, 1), noise(120, 2), noise(300, 3)]
    got = embed_clips(fake, clips)
    assert fake.seen == [(2, 300), (1, 120)]
    np.testing.assert_allclose(got, np.concatenate([fake.embed(c[None]) for c in clips]), rtol=1e-5)


@pytest.mark.parametrize("short", ["pad", "native", "repeat"])
def test_short_clips_follow_the_policy(short):
    clip = noise(40)
    padded = {"pad": np.pad(clip, (0, 60)), "native": clip, "repeat": np.resize(clip, 100)}[short]
    np.testing.assert_allclose(embed_clips(Fake(), [clip], short)[0], Fake().embed(padded[None])[0], rtol=1e-5)


def test_hop_gives_overlapping_windows():
    fake = Fake(hop=0.5)
    embed_clips(fake, [noise(200)])
    assert sum(rows for rows, _ in fake.seen) == 3


def test_no_clips_and_clips_of_nothing():
    assert embed_clips(Fake(), []).shape == (0, 3)
    with pytest.raises(AudioError, match="holds no sound"):
        embed_clips(Fake(), [noise(10), noise(0)])


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (NanInSilence(), "'fake' gave NaN or infinite values for 1 of 2 waveforms"),
        (Fake(dim=5), r"shape \(2, 3\) for 2 waveforms.*dimension is 5"),
        (Shaped(lambda v: v[:1]), r"expected \(2, 3\)"),
        (Refuses(), "'fake' failed on a 2x100 batch: RuntimeError: out of memory$"),
    ],
)
def test_a_broken_answer_is_an_encoder_error(encoder, message):
    with pytest.raises(EncoderError, match=message):
        embed_clips(encoder, [np.zeros(100, np.float32), noise(100)])


def test_a_dimension_that_changes_midway_is_an_encoder_error():
    class Changes(Fake):
        def embed(self, waveforms):
            embeddings = super().embed(waveforms)
            return embeddings if len(self.seen) == 1 else embeddings[:, :2]

    with pytest.raises(EncoderError, match="dimension is 3"):
        embed_clips(Changes(), [noise(600)])


def test_fingerprint_follows_the_vectors_and_the_windows():
    plain = resolve(Fake()).fingerprint
    assert resolve(Fake()).fingerprint == plain and len(plain) == 64
    assert resolve(Fake(fingerprint="abc")).fingerprint == "abc"
    others = [
        Fake(hop=0.5),
        Fake(window=2.0),
        Fake(sample_rate=200),
        Fake(name="other"),
        Shaped(lambda v: v * np.float32(1.01)),
        Shaped(lambda v: v + np.float32([0, 0, 0.05])),
    ]
    assert len({plain, *(resolve(each).fingerprint for each in others)}) == 1 + len(others)
    # What another number of threads changes must not make old targets useless.
    assert resolve(Shaped(lambda v: v * np.float32(1 + 1e-6))).fingerprint == plain


def test_resolve_fills_in_the_optional_attributes():
    plain = resolve(Fake(batch_size=None, licence=None))
    assert (plain.name, plain.sample_rate, plain.dim, plain.window) == ("fake", RATE, 3, 1.0)
    assert (plain.hop, plain.short, plain.window_policy, plain.minimum) == (None, "pad", "all", 0)
    assert (plain.batch_size, plain.workers, plain.threads, plain.licence, plain.notice) == (16, 1, None, None, "")
    assert (plain.path, plain.lookup, plain.costs) == (None, None, None)
    assert isinstance(plain, Encoder) and resolve(plain) is plain
    assert np.array_equal(plain.embed(noise(100)[None]), plain.embed_batch(noise(100)[None]))
    given = resolve(
        Fake(hop=0.5, short="repeat", window_policy="published", minimum=7, batch_size=2, workers=3, threads=3,
             licence="MIT", notice="mind", path="a/b", lookup=len, costs=lambda: Costs(1, 2), fingerprint="f")
    )  # fmt: skip
    assert given.windowing == Windowing(1.0, 0.5, "repeat", "published")
    assert (given.minimum, given.batch_size, given.workers, given.threads) == (7, 2, 3, 3)
    assert (given.licence, given.notice, given.path, given.lookup) == ("MIT", "mind", Path("a/b"), len)
    assert given.costs is not None and given.costs() == Costs(1, 2) and given.fingerprint == "f"


def test_what_is_no_model_is_named(tmp_path):
    sound = (noise(16000), 16000)
    for call in (
        lambda model: embed_files([], model, tmp_path / "x.npz"),
        lambda model: detect_files([], model),
        lambda model: classify_files([], model),
        lambda model: embed_clips(model, [sound[0]]),
        lambda model: next(embed_stream(model, io.BytesIO(b""))),
    ):
        with pytest.raises(OptionError, match="'sondino-small', a name or path: open it with sondino"):
            call("sondino-small")
        with pytest.raises(OptionError, match="a dict is no model"):
            call({})
        with pytest.raises(OptionError, match=r"the model is the class Fake: give an object of it, Fake\(\.\.\.\)"):
            call(Fake)
        with pytest.raises(OptionError, match=r"a SimpleNamespace, has no name, dim: see sondino\.Encoder"):
            call(SimpleNamespace(embed=len, sample_rate=16000, window=None))
    with pytest.raises(OptionError, match="fake has no head"):
        classify_files([], Fake())
