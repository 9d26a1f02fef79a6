import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helpers.corpora import RATE, noise, read_clips, write, write_sounds
from helpers.skips import needs_posix
from sondino.corpus import waveforms as module
from sondino.corpus.table import build_corpus
from sondino.corpus.views import add_views
from sondino.corpus.waveforms import open_waveforms, rows_a_part, to_int16
from sondino.errors import AudioError, RunError

SOUNDS = {"a.wav": 1.0, "b.wav": 0.4, "c.wav": 2.3, "d.wav": 0.7, "e.wav": 1.0}


@pytest.fixture
def corpus(tmp_path):
    write_sounds(tmp_path / "sounds", SOUNDS)
    write(tmp_path / "sounds/loud.wav", 30 * noise(0.5, 8))
    write(tmp_path / "sounds/quiet.wav", 1e-4 * noise(0.5, 9))
    write(tmp_path / "sounds/silent.wav", np.zeros(RATE // 2, np.float32))
    return build_corpus(tmp_path / "sounds", tmp_path / "corpus", clip=1.0)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "rows_a_part", lambda clip: 3)


@pytest.mark.parametrize("rate", [RATE, 16000])
def test_kept_clips_are_the_clips_to_16_bits(corpus, small_parts, rate):
    seen = []
    waveforms = open_waveforms(corpus, rate, lambda done, total: seen.append((done, total)), cache=True)
    assert seen[0] == (0, len(corpus)) and seen[-1] == (len(corpus), len(corpus))
    for row, clip in enumerate(read_clips(corpus, range(len(corpus)), rate)):
        kept = waveforms.read(row)
        assert kept.dtype == np.float32 and kept.shape == clip.shape
        # Half a step of the clip's own peak: loud clips do not clip, quiet ones keep their bits.
        assert np.abs(kept - clip).max() <= 0.51 * np.abs(clip).max() / 32767
    assert waveforms.valid.all() and waveforms.skipped == []


def test_kept_and_decoded_read_the_same_bits(corpus):
    views = add_views(corpus, 2)
    kept, decoded = (open_waveforms(views, 16000, cache=cache) for cache in (True, False))
    assert not (corpus.folder / "waveforms").exists()  # beside the views, of their clips alone
    assert np.load(kept.folder / "lengths.npy").shape == (len(corpus),)
    for row in range(len(views)):
        np.testing.assert_array_equal(kept.read(row), decoded.read(row))
    assert kept.valid.all() and decoded.valid.all()


def test_views_are_as_the_teacher_embeds_them(corpus):
    views = add_views(corpus, 2)
    waveforms = open_waveforms(views, RATE, cache=True)
    for row, clip in enumerate(read_clips(views, range(len(views)), RATE)):
        assert np.abs(waveforms.read(row) - clip).max() <= 1e-3 * max(np.abs(clip).max(), 0.1)


def test_integers_keep_what_is_loud_quiet_and_silent():
    for peak in (1e-6, 0.5, 1.0, 37.0):
        x = (peak * np.linspace(-1, 1, 1001)).astype(np.float32)
        kept, step = to_int16(x)
        assert np.abs(kept).max() == 32767
        np.testing.assert_allclose(kept * np.float32(step), x, atol=0.51 * peak / 32767)
    kept, step = to_int16(np.zeros(5, np.float32))
    assert step == 0 and not kept.any()
    kept, step = to_int16(np.full(3, 1e-44, np.float32))  # below what a step can hold
    assert np.isfinite(kept * np.float32(step)).all()


def test_a_clip_that_cannot_be_decoded_is_named(corpus, small_parts):
    (Path(corpus.root) / "d.wav").write_bytes(b"RIFF no more")
    waveforms = open_waveforms(corpus, RATE, cache=True)
    row = corpus.ids().index("d.wav")
    assert [name for name, _ in waveforms.skipped] == ["d.wav"]
    assert np.flatnonzero(~waveforms.valid).tolist() == [row]
    with pytest.raises(AudioError, match=r"d\.wav"):
        waveforms.read(row)
    with pytest.raises(AudioError, match=r"d\.wav"):
        read_clips(corpus, [0, row], RATE)
    (Path(corpus.root) / "e.wav").unlink()
    with pytest.raises(AudioError, match=r"e\.wav is no longer in .*: put it back"):
        read_clips(corpus, [row + 1], RATE)


def test_a_view_of_a_broken_clip_is_not_valid(corpus):
    views = add_views(corpus, 2)
    (Path(corpus.root) / "d.wav").write_bytes(b"RIFF no more")
    waveforms = open_waveforms(views, RATE, cache=True)
    broken = views.ids().index("d.wav")
    expected = (views.column("base_row") != broken) & (views.column("mix_row") != broken)
    np.testing.assert_array_equal(waveforms.valid, expected)
    for row in np.flatnonzero(~expected):
        with pytest.raises(AudioError, match=r"d\.wav"):
            waveforms.read(int(row))


def test_reads_in_threads(corpus):
    waveforms = open_waveforms(add_views(corpus, 2), RATE, cache=True)
    rows = list(range(len(waveforms.corpus))) * 5
    alone = [waveforms.read(row) for row in rows]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(waveforms.read, rows), strict=True):
            np.testing.assert_array_equal(one, other)


def test_room_decides_unless_an_option_does(corpus, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage)
    assert open_waveforms(corpus, RATE).folder is None
    with pytest.raises(RunError, match="make room"):
        open_waveforms(corpus, RATE, cache=True)
    Usage.free = 10**9
    assert open_waveforms(corpus, RATE).folder is not None
    Usage.free = 1000
    assert open_waveforms(corpus, RATE).folder is not None  # what was begun is gone on with


def test_parts_hold_a_bounded_length_of_sound():
    assert [rows_a_part(clip) for clip in (0.5, 10, 30, 5000)] == [256, 256, 85, 1]


KILLED = """
import os, signal, sys
from sondino.corpus import waveforms, parts
from sondino.corpus.table import open_corpus
waveforms.rows_a_part = lambda clip: 3
marks = []
def mark(self, part, values, mark=parts.Parts.mark):
    marks.append(part)
    if len(marks) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    mark(self, part, values)
parts.Parts.mark = mark
waveforms.open_waveforms(open_corpus(sys.argv[1]), 8000, cache=True)
"""


@needs_posix
def test_a_killed_run_goes_on_to_the_same_bits(corpus, tmp_path, small_parts):
    other = build_corpus(corpus.root, tmp_path / "other", clip=1.0)
    whole = open_waveforms(other, RATE, cache=True)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(corpus.folder)], check=False)
    assert ended.returncode == -signal.SIGKILL
    seen = []
    again = open_waveforms(corpus, RATE, lambda done, total: seen.append(done), cache=True)
    assert seen[0] == 3  # one part was whole; the one that was being written is made again
    for name in ("samples", "lengths", "steps"):
        assert (again.folder / f"{name}.npy").read_bytes() == (whole.folder / f"{name}.npy").read_bytes()
