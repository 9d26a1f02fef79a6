import numpy as np
import pytest
import soxr

from helpers.corpora import RATE, noise, read_clips, write, write_sounds
from sondino.corpus.table import build_corpus, open_corpus
from sondino.corpus.views import BLOCK, GRID, LOWEST_GAIN, LOWEST_MIX, SPEEDS, View, add_views, render
from sondino.errors import OptionError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    write_sounds(folder / "sounds", {f"{i:02d}.wav": 1.0 + (i % 7) / 10 for i in range(70)})
    return build_corpus(folder / "sounds", folder / "corpus", clip=1.5)


def test_clips_come_with_their_views_behind_them(corpus):
    views = add_views(corpus, 3, seed=5)
    assert len(views) == 4 * len(corpus) and views.views == 3
    assert views.column("view").tolist() == [0, 1, 2, 3] * len(corpus)
    assert views.column("base_row").tolist() == [row // 4 * 4 for row in range(len(views))]
    ids = views.ids()
    assert sorted(ids[::4]) == sorted(corpus.ids())
    assert all(ids[row] == f"{ids[row - row % 4]}#v{row % 4}" for row in range(len(views)) if row % 4)
    own = views.column("view") == 0
    for name, value in (("crop", 0), ("gain", 0), ("mix_row", -1)):
        assert (views.column(name)[own] == value).all()
    by_id = {row["id"]: row for row in corpus.table.to_pylist()}
    for row in views.table.select(corpus.table.column_names).filter(own).to_pylist():
        assert row == by_id[row["id"]]


def test_what_is_drawn_stays_within_bounds(corpus):
    views = add_views(corpus, 3, seed=5)
    column = views.column
    base, mix = column("base_row"), column("mix_row")
    whole = column("duration")[base]
    speed = column("speed")
    stretch = column("duration") * speed
    assert (column("duration") <= whole + 1e-9).all() and (stretch <= whole + 1e-9).all()
    assert (stretch >= 0.5 * np.minimum(whole, whole * speed) - GRID).all()
    assert (column("crop") + stretch <= whole + 1e-9).all()
    np.testing.assert_allclose(column("start"), column("start")[base] + column("crop"))
    own = column("view") == 0
    assert (speed[own] == 1).all() and set(speed[~own]) == {1.0, *SPEEDS}
    assert 0.4 < (speed[~own] == 1).mean() < 0.6
    assert not column("backwards")[own].any() and 0.15 < column("backwards")[~own].mean() < 0.35
    assert ((column("gain") >= LOWEST_GAIN) & (column("gain") <= 0)).all() and np.ptp(column("gain")[~own]) > 10
    mixed = mix >= 0
    assert 0.35 < mixed[~own].mean() < 0.65
    assert (column("view")[mix[mixed]] == 0).all() and (mix[mixed] != base[mixed]).all()
    assert (mix[mixed] // 4 // BLOCK == base[mixed] // 4 // BLOCK).all()  # close by, so that it is decoded once
    assert ((column("mix_gain")[mixed] >= LOWEST_MIX) & (column("mix_gain")[mixed] <= 0)).all()
    for times in (column("crop"), column("mix_crop")):
        np.testing.assert_allclose(times / GRID, np.rint(times / GRID), atol=1e-6)


def test_views_are_drawn_by_seed(corpus):
    first, again, other = (add_views(corpus, 2, seed) for seed in (1, 1, 2))
    assert first.table.equals(again.table) and first.hash == again.hash == open_corpus(first.folder).hash
    assert first.hash != other.hash != corpus.hash
    assert not np.array_equal(first.column("gain"), other.column("gain"))
    assert add_views(corpus, 0, 1) is corpus
    with pytest.raises(OptionError, match="views is -1"):
        add_views(corpus, -1)
    with pytest.raises(OptionError, match="holds views already"):
        add_views(first, 1)


def test_clips_of_different_splits_are_not_mixed(corpus, tmp_path):
    lines = ["path,split"] + [f"{path},{('train', 'test')[i % 2]}" for i, path in enumerate(corpus.column("path"))]
    (tmp_path / "list.csv").write_text("\n".join(lines).replace("\n", f"\n{corpus.root}/"))
    views = add_views(build_corpus(tmp_path / "list.csv", tmp_path / "out", clip=1.5), 4)
    mix, split = views.column("mix_row"), views.column("split")
    assert (mix >= 0).sum() > 40
    assert (split[mix[mix >= 0]] == split[mix >= 0]).all()


def test_a_view_is_the_arithmetic_of_its_row():
    rate = 100
    clips = {0: np.linspace(0.1, 1, 200, dtype=np.float32), 1: np.linspace(-1, 1, 60, dtype=np.float32)}

    def read(row, first, stop):
        return clips[row][first:stop]

    view = View(0, crop=0.4, duration=0.8, gain=-6, mix=1, mix_crop=0.2, mix_gain=-20)
    expected = clips[0][40:120].copy()
    expected[:40] += 0.1 * clips[1][20:]  # the partner ends sooner
    expected *= 10 ** (-6 / 20) / 1.1
    np.testing.assert_allclose(render(view, read, rate), expected, rtol=1e-6)
    plain = View(0, crop=0.4, duration=0.8, gain=-6, mix=-1, mix_crop=0.0, mix_gain=0.0)
    np.testing.assert_allclose(render(plain, read, rate), clips[0][40:120] * 10 ** (-6 / 20), rtol=1e-6)
    late = View(1, crop=0.8, duration=0.2, gain=0, mix=-1, mix_crop=0.0, mix_gain=0.0)
    np.testing.assert_array_equal(
        render(late, read, rate), clips[1][:20]
    )  # the clip was shorter than its header message


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_view_at_another_speed_has_another_pitch_and_the_length_of_its_row(speed):
    rate, hertz = 16000, 500.0
    tone = np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate).astype(np.float32)
    view = View(0, crop=0.2, duration=1.2 / speed, gain=0, mix=-1, mix_crop=0.0, mix_gain=0.0, speed=speed)
    found = render(view, lambda row, first, stop: tone[first:stop], rate)
    assert len(found) == round(1.2 / speed * rate)
    at = (0.2 + np.arange(len(found)) / rate * speed)[200:-200]  # seconds of the clip, but the resampler's edges
    np.testing.assert_allclose(found[200:-200], np.sin(2 * np.pi * hertz * at), atol=2e-3)


def test_a_view_played_backwards_is_its_clip_reversed_and_the_partner_is_not():
    clips = {0: np.arange(10, dtype=np.float32), 1: np.full(10, 100, np.float32) + np.arange(10, dtype=np.float32)}
    view = View(0, crop=0.2, duration=0.6, gain=0, mix=1, mix_crop=0.0, mix_gain=0.0, backwards=True)
    found = render(view, lambda row, first, stop: clips[row][first:stop], 10)
    np.testing.assert_allclose(found, (np.arange(8, 2, -1) + 100 + np.arange(6)) / 2)
    whole = View(0, crop=0.0, duration=1.0, gain=0, mix=-1, mix_crop=0.0, mix_gain=0.0, backwards=True)
    # The sample at the end of the clip is the first of what comes after it: silence stands for it.
    found = render(whole, lambda row, first, stop: clips[row][first:stop], 10)
    np.testing.assert_array_equal(found, [0, *range(9, 0, -1)])


@pytest.mark.parametrize("rates", [(16000, 32000), (22050, 16000), (11025, 32000)])
def test_teacher_and_student_embed_the_same_view(tmp_path, rates):
    low = min(rates)
    for i in range(6):  # nothing above 3 kHz: resampling must not be what differs
        waveform = soxr.resample(noise(2.0, i, 6000), 6000, 48000)
        write(tmp_path / f"sounds/{i}.wav", waveform, 48000)
    views = add_views(build_corpus(tmp_path / "sounds", tmp_path / "out"), 3)
    embedded = {rate: read_clips(views, range(len(views)), rate) for rate in rates}
    assert (views.column("mix_row") >= 0).any()
    for one, other in zip(embedded[rates[0]], embedded[rates[1]], strict=True):
        pair = [soxr.resample(x, rate, low) for x, rate in zip((one, other), rates, strict=True)]
        assert abs(len(pair[0]) - len(pair[1])) <= 1
        edge = low // 50  # the resampler of this test sees a cut where the view begins
        a, b = (x[edge : min(map(len, pair)) - edge] for x in pair)
        assert np.corrcoef(a, b)[0, 1] > 0.9999
        assert abs(np.std(a) / np.std(b) - 1) < 1e-3


def test_no_view_is_louder_than_its_clips(corpus):
    views = add_views(corpus, 3, seed=5)
    clips = read_clips(views, range(len(views)), RATE)
    peak = np.array([np.abs(clip).max() for clip in clips])
    mix, base = views.column("mix_row"), views.column("base_row")
    # At another speed there are samples between those of the clip, where its waveform may be higher than at any.
    between = np.where(views.column("speed") == 1, 1 + 1e-6, 1.5)
    assert (peak <= np.maximum(peak[base], np.where(mix >= 0, peak[mix], 0)) * between).all()
