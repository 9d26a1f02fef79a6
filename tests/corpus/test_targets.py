import errno
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from helpers.corpora import RATE, Moments, changed_rows, open_targets, read_clips, write_sounds
from helpers.skips import needs_posix
from sondino.corpus import parts as parts_module
from sondino.corpus import targets as module
from sondino.corpus.table import build_corpus, open_corpus
from sondino.corpus.targets import compute_targets
from sondino.corpus.views import add_views
from sondino.corpus.waveforms import open_waveforms
from sondino.encoder.encoder import embed_clips
from sondino.errors import EncoderError, RunError

SOUNDS = {f"{i:02d}.wav": 0.2 + 0.1 * (i % 4) for i in range(20)}
"""With 6 rows a part: parts of 6, 6, 6 and 2 rows."""


@pytest.fixture
def corpus(tmp_path):
    return build_corpus(write_sounds(tmp_path / "sounds", SOUNDS), tmp_path / "corpus", clip=1.0)


def matrix_bytes(targets) -> bytes:
    return (targets.folder / "targets.npy").read_bytes()


def test_every_row_is_the_teachers_vector(corpus):
    seen = []
    targets = compute_targets(
        corpus, Moments(), "module:moments", part_rows=6, progress=lambda *args: seen.append(args)
    )
    clips = read_clips(corpus, range(20), RATE)
    expected = [[x.mean(), np.sqrt((x**2).mean()), x[0], x[-1]] for x in clips]
    np.testing.assert_allclose(targets.matrix, expected, atol=2e-4)  # float16
    assert targets.matrix.dtype == np.float16 and targets.matrix.shape == (20, 4) and len(targets) == 20
    assert targets.valid.all() and targets.skipped == []
    assert seen == [(0, 20), (6, 20), (12, 20), (18, 20), (20, 20)]
    assert 0 < targets.timing["teacher_seconds"] <= targets.timing["seconds"] and targets.timing["rows"] == 20
    message = json.loads((targets.folder / "targets.json").read_text())
    assert message["teacher"] == "moments" and message["spec"] == "module:moments" and message["corpus"] == corpus.hash


def test_views_are_embedded_as_they_sound(corpus):
    views = add_views(corpus, 2)
    targets = compute_targets(views, Moments(), part_rows=7)
    expected = embed_clips(Moments(), read_clips(views, range(len(views)), RATE))
    np.testing.assert_allclose(targets.matrix, expected, atol=1e-3)  # float16, of clips in 16 bits


def test_views_are_embedded_from_audio_that_is_kept_decoded(corpus, monkeypatch):
    views = add_views(corpus, 3)
    kept = open_waveforms(views, RATE)
    decoded = compute_targets(views, Moments(), part_rows=7)
    in_memory = np.array(decoded.matrix)
    monkeypatch.setattr("sondino.corpus.waveforms.decode", lambda *_: pytest.fail("decoded again"))
    shutil.rmtree(decoded.folder)
    targets = compute_targets(views, Moments(), part_rows=7, waveforms=kept)
    expected = embed_clips(Moments(), [kept.read(row) for row in range(len(views))])
    np.testing.assert_array_equal(targets.matrix, expected.astype(np.float16))
    # A disk that is full keeps nothing, and the targets are the same, to the bit, in the same folder.
    np.testing.assert_array_equal(targets.matrix, in_memory)
    assert targets.folder == decoded.folder and targets.valid.all()


def test_a_clip_that_is_damaged_has_one_reason_for_all_its_views(tmp_path):
    folder = write_sounds(tmp_path / "sounds", SOUNDS)
    corpus = build_corpus(folder, tmp_path / "corpus", clip=1.0)
    views = add_views(corpus, 2)
    (folder / "03.wav").write_bytes(b"RIFF")
    kept = open_waveforms(views, RATE)
    targets = compute_targets(views, Moments(), waveforms=kept)
    (reason,) = {reason for _, reason in kept.skipped}
    assert {reason for _, reason in targets.skipped} == {reason}
    assert {name.partition("#")[0] for name, _ in targets.skipped} >= {corpus.ids([3])[0]}


def test_audio_kept_at_another_rate_is_not_used(corpus):
    kept = open_waveforms(corpus, RATE // 2)
    assert compute_targets(corpus, Moments(), waveforms=kept).folder == compute_targets(corpus, Moments()).folder


def test_a_teacher_says_how_its_short_clips_are_processed(corpus):
    class Repeats(Moments):
        short = "repeat"
        window = 0.9

    clips = read_clips(corpus, range(20), RATE)
    targets = compute_targets(corpus, Repeats())
    np.testing.assert_array_equal(targets.matrix, embed_clips(Repeats(), clips, "repeat").astype(np.float16))
    assert np.abs(targets.matrix - embed_clips(Repeats(), clips, "pad")).max() > 0.01
    np.testing.assert_array_equal(embed_clips(Repeats(), clips), embed_clips(Repeats(), clips, "repeat"))
    assert compute_targets(corpus, Repeats(), short="pad").folder != targets.folder


def test_what_is_done_is_not_done_again(corpus):
    first = compute_targets(corpus, Moments(), part_rows=6)
    teacher = Moments()
    again = compute_targets(corpus, teacher, part_rows=5)  # parts stay as the folder was begun
    assert teacher.embedded == 0 and again.folder == first.folder and again.timing["rows"] == 0
    np.testing.assert_array_equal(open_targets(first.folder).matrix, first.matrix)


@pytest.mark.parametrize(
    "change", [{"fingerprint": "moments-2"}, {"window": 0.3}, {"hop": 0.1, "window": 0.3}, {"minimum": 5000}]
)
def test_another_teacher_or_window_never_reuses(corpus, change):
    first = compute_targets(corpus, Moments())
    teacher = Moments()
    for name, value in change.items():
        setattr(teacher, name, value)
    other = compute_targets(corpus, teacher)
    assert teacher.embedded >= 20 and other.folder != first.folder
    assert compute_targets(corpus, teacher, short="repeat").folder not in (first.folder, other.folder)


def test_a_moved_corpus_keeps_its_targets(corpus, tmp_path):
    first = compute_targets(corpus, Moments())
    (tmp_path / "new").mkdir()
    for name in ("sounds", "corpus"):
        (tmp_path / name).rename(tmp_path / "new" / name)
    teacher = Moments()
    compute_targets(build_corpus(tmp_path / "new/sounds", tmp_path / "new/corpus", clip=1.0), teacher)
    assert teacher.embedded == 0 and (tmp_path / "new/corpus/targets" / first.folder.name).exists()


def test_a_clip_that_cannot_be_decoded_is_left_out(corpus):
    whole = np.array(compute_targets(corpus, Moments(), part_rows=6).matrix)
    for name in ("07.wav", "18.wav", "19.wav"):
        (Path(corpus.root) / name).write_bytes(b"RIFF no more")
    teacher = Moments()
    teacher.fingerprint = "again"
    targets = compute_targets(corpus, teacher, part_rows=6)  # the last part has nothing at all
    assert np.flatnonzero(~targets.valid).tolist() == [7, 18, 19]
    assert [name for name, _ in targets.skipped] == ["07.wav", "18.wav", "19.wav"]
    assert all(reason for _, reason in targets.skipped)
    assert not targets.matrix[~targets.valid].any()
    np.testing.assert_array_equal(targets.matrix[targets.valid], whole[targets.valid])
    assert open_targets(targets.folder).skipped == targets.skipped
    teacher.fingerprint = "yet again"
    for name in SOUNDS:
        (Path(corpus.root) / name).unlink()
    with pytest.raises(RunError, match=r"no clip .* could be decoded; the first, 00\.wav"):
        compute_targets(corpus, teacher)


class Breaking(Moments):
    """Breaks the contract once it has embedded 12 clips."""

    broken = True

    def embed(self, waveforms):
        vectors = super().embed(waveforms)
        if self.broken and self.embedded > 12:
            return self.spoil(vectors)
        return vectors

    @staticmethod
    def spoil(vectors):
        return vectors * np.nan


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v * np.nan, "NaN"),
        (lambda v: v[:, :3], "shape"),
        (lambda v: np.pad(v, ((0, 0), (0, 1))), "shape"),
        (lambda v: v[:1, :2], "shape"),
        (lambda v: v + 1e5, r"1e\+05.*at most 65504"),
    ],
)
def test_a_teacher_that_breaks_midway_keeps_what_is_done(corpus, spoil, message):
    teacher = Breaking()
    teacher.spoil = spoil
    with pytest.raises(EncoderError, match=message):
        compute_targets(corpus, teacher, part_rows=6)
    teacher.broken, teacher.embedded = False, 0
    targets = compute_targets(corpus, teacher, part_rows=6)
    assert teacher.embedded == 8  # the last two parts
    other = Moments()
    other.fingerprint = "other"
    assert matrix_bytes(targets) == matrix_bytes(compute_targets(corpus, other, part_rows=6))


class Known:
    """Embeddings by id, as of a teacher that can only be called elsewhere."""

    name, sample_rate, dim, window, fingerprint = "known", 1, 2, None, "known-1"
    bad = False

    def lookup(self, ids):
        vectors = np.array([[float(name[:2]), 1.0] for name in ids], dtype=np.float32)
        return vectors[:, :1] if self.bad else vectors

    def embed(self, waveforms):
        raise AssertionError


def test_vectors_can_be_looked_up_by_id(corpus):
    for name in SOUNDS:
        (Path(corpus.root) / name).unlink()  # no sound is read
    targets = compute_targets(corpus, Known(), part_rows=6)
    np.testing.assert_array_equal(targets.matrix[:, 0], np.arange(20))
    teacher = Known()
    teacher.fingerprint = "shared"
    half = compute_targets(corpus, teacher, part_rows=6, world=2)
    assert sorted(half.parts.done()) == [0, 2]
    teacher.bad, teacher.fingerprint = True, "known-2"
    with pytest.raises(EncoderError, match=r"shape \(6, 1\)"):
        compute_targets(corpus, teacher, part_rows=6)


def test_processes_can_share_the_parts(corpus):
    alone = Moments()
    alone.fingerprint = "alone"
    expected = matrix_bytes(compute_targets(corpus, alone, part_rows=6))
    teachers = [Moments(), Moments()]
    first = compute_targets(corpus, teachers[0], part_rows=6, rank=0, world=2)
    with pytest.raises(RunError, match="2 of 4 parts"):
        _ = open_targets(first.folder).valid
    second = compute_targets(corpus, teachers[1], part_rows=6, rank=1, world=2)
    assert [teacher.embedded for teacher in teachers] == [12, 8]
    assert first.valid.all() and second.valid.all()  # asked for when both are done
    assert matrix_bytes(first) == expected


def test_a_second_process_is_refused(corpus):
    first = compute_targets(corpus, Moments(), part_rows=6)
    (first.folder / "parts/000002.json").unlink()
    with (
        FileLock(first.folder / ".fill.lock"),
        pytest.raises(RunError, match="another process is filling the targets"),
    ):
        compute_targets(corpus, Moments())
    teacher = Moments()
    compute_targets(corpus, teacher)
    assert teacher.embedded == 6


def test_damage_is_noticed(corpus):
    targets = compute_targets(corpus, Moments(), part_rows=6)
    file = targets.folder / "targets.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert changed_rows(open_targets(targets.folder)) == [[18, 20]]
    file.unlink()
    with pytest.raises(RunError, match="damaged"):
        _ = open_targets(targets.folder).matrix
    teacher = Moments()
    again = compute_targets(corpus, teacher)  # markers of a matrix that is gone say nothing
    assert teacher.embedded == 20
    assert changed_rows(again) == []


def test_a_full_disk_is_an_error_message_and_what_is_done_stays(corpus, monkeypatch):
    write_rows, writes = module.write_rows, []

    def full(file, first, rows):
        writes.append(first)
        if first == 12:
            raise parts_module.disk_error(file, OSError(errno.ENOSPC, "No space left on device"))
        return write_rows(file, first, rows)

    monkeypatch.setattr(module, "write_rows", full)
    with pytest.raises(RunError, match=r"No space left on device.*same command again"):
        compute_targets(corpus, Moments(), part_rows=6)
    monkeypatch.undo()
    teacher = Moments()
    compute_targets(corpus, teacher)
    assert teacher.embedded == 8


def test_a_write_that_fails_is_an_error_message(corpus, monkeypatch):
    def fail(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parts_module.os, "fsync", fail)
    with pytest.raises(RunError, match="No space left on device"):
        compute_targets(corpus, Moments())


def test_too_little_room_gets_a_message_before_the_work(corpus, monkeypatch):
    class Usage:
        free = 100

    monkeypatch.setattr(parts_module.shutil, "disk_usage", lambda path: Usage)
    teacher = Moments()
    with pytest.raises(RunError, match="are free: make room"):
        compute_targets(corpus, teacher)
    assert teacher.embedded == 0


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from helpers.corpora import Moments
from sondino.corpus import parts, targets
from sondino.corpus.table import open_corpus

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Teacher(Moments):
    batch_size = 2
    def embed(self, waveforms):
        if where == "in the teacher" and self.embedded >= 10:
            die()
        return super().embed(waveforms)

where = sys.argv[2]
write_rows, write_json, written = targets.write_rows, parts.write_json, []

def write(file, first, rows):
    if where == "in the data" and first == 6:
        write_rows(file, first, rows[:2] + 1)
        die()
    check = write_rows(file, first, rows)
    if where == "before the marker" and first == 6:
        die()
    return check

def mark(file, values):
    if where == "in the marker" and values.get("part") == 1:
        file.with_name("." + file.name + ".1.partial").write_text("{{")
        die()
    write_json(file, values)
    if where == "after the marker" and values.get("part") == 1:
        die()

targets.write_rows, parts.write_json = write, mark
targets.compute_targets(open_corpus(sys.argv[1]), Teacher(), part_rows=6)
"""


@needs_posix
@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("in the teacher", 14),
        ("in the data", 14),
        ("before the marker", 14),
        ("in the marker", 14),
        ("after the marker", 8),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(corpus, where, left):
    program = KILLED.format(tests=str(Path(__file__).parents[1]))
    ended = subprocess.run([sys.executable, "-c", program, str(corpus.folder), where], check=False)
    assert ended.returncode == -signal.SIGKILL
    teacher = Moments()
    targets = compute_targets(open_corpus(corpus.folder), teacher, part_rows=6)
    assert teacher.embedded == left  # rows of the parts that were not whole: at most one part is embedded again
    undisturbed = Moments()
    undisturbed.fingerprint = "undisturbed"
    other = compute_targets(corpus, undisturbed, part_rows=6)
    assert matrix_bytes(targets) == matrix_bytes(other)
    for one, two in zip(targets.parts.records(), other.parts.records(), strict=True):
        assert one == two
