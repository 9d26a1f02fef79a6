"""Targets by many processes: shares of the parts, and Ray."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from helpers.corpora import RATE, Moments, open_targets, read_clips, write_sounds
from sondino.corpus.spread_targets import compute_part_range, spread_targets
from sondino.corpus.table import build_corpus, open_corpus
from sondino.corpus.targets import compute_targets, prepare_targets
from sondino.encoder.encoder import resolve
from sondino.errors import OptionError, RunError
from sondino.spread import Cluster, parse_part_range, parts_of_range

TESTS = Path(__file__).parents[1]
SOUNDS = {f"{i:02d}.wav": 0.2 + 0.1 * (i % 4) for i in range(60)}
"""With 7 rows a part: nine parts, the last of 4 rows."""


@pytest.fixture
def sounds(tmp_path):
    return write_sounds(tmp_path / "sounds", SOUNDS)


def make_corpus(sounds, folder, encoder=None, part_rows=7):
    """A corpus whose targets will be made in parts of a few rows."""
    corpus = build_corpus(sounds, folder, clip=1.0)
    prepare_targets(corpus, resolve(encoder or Moments()), "", part_rows=part_rows)
    return corpus


@pytest.mark.parametrize(("count", "shares"), [(9, 3), (10, 4), (2, 5), (0, 3), (7, 1)])
def test_each_part_is_in_exactly_one_share(count, shares):
    found = [part for share in range(1, shares + 1) for part in parts_of_range((share, shares), count)]
    assert found == list(range(count))


@pytest.mark.parametrize("given", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1.5/3"])
def test_a_share_that_is_none(given):
    with pytest.raises(OptionError, match="give I/N, such as 3/10"):
        parse_part_range(given)
    assert parse_part_range(" 3/10 ") == (3, 10)


@pytest.mark.parametrize(
    ("how", "message"),
    [({"workers": 0}, "workers is 0"), ({"cpus": 0}, "cpus per worker is 0"), ({"gpus": -1}, "gpus per worker is -1"),
     ({"address": "here"}, "'here': give auto, local or HOST:PORT")],
)  # fmt: skip
def test_options_of_a_cluster(how, message):
    with pytest.raises(OptionError, match=message):
        Cluster(**how)


def test_shares_in_any_order_are_the_plain_targets(sounds, tmp_path):
    (sounds / "05.wav").write_bytes(b"RIFF")
    plain = compute_targets(make_corpus(sounds, tmp_path / "plain"), Moments())
    corpus = make_corpus(sounds, tmp_path / "shared")
    seen = []
    for share in (3, 1, 4):
        found = compute_part_range(corpus, Moments(), "", (share, 4), progress=lambda *args: seen.append(args))
        assert found.parts[1] == 9 and seen[-1] == (found.rows, found.rows)
    targets = compute_targets(corpus, Moments())  # share 2 was never made: it is made here
    np.testing.assert_array_equal(targets.matrix, plain.matrix)
    assert targets.skipped == plain.skipped and not list((targets.folder / "made").glob("*"))


def test_a_share_resumes_and_a_damaged_part_is_made_again(sounds, tmp_path):
    plain = compute_targets(make_corpus(sounds, tmp_path / "plain"), Moments())
    corpus = make_corpus(sounds, tmp_path / "shared")
    counted = Moments()
    calls = []
    counted.embed = lambda waves, embed=counted.embed: calls.append(len(waves)) or embed(waves)
    compute_part_range(corpus, counted, "", (1, 1))
    made = sorted((plain.folder.parent.parent.parent / "shared").rglob("made/*.npy"))
    assert len(made) == 9
    made[2].write_bytes(made[2].read_bytes()[:-8])
    changed = np.load(made[4])
    changed[0] += 1
    np.save(made[4], changed)
    made[6].with_suffix(".json").unlink()
    first = sum(calls)
    compute_part_range(corpus, counted, "", (1, 1))
    assert sum(calls) - first == 7  # the part without its JSON was not finished
    targets = compute_targets(corpus, counted)
    assert sum(calls) - first == 7 + 14  # the two damaged ones
    np.testing.assert_array_equal(targets.matrix, plain.matrix)


def test_a_share_that_another_process_makes(sounds, tmp_path):
    from filelock import FileLock

    corpus = make_corpus(sounds, tmp_path / "shared")
    folder = next((corpus.folder / "targets").iterdir())
    with FileLock(folder / ".range-1-of-2.lock"), pytest.raises(RunError, match="another process is filling"):
        compute_part_range(corpus, Moments(), "", (1, 2))
    assert compute_part_range(corpus, Moments(), "", (2, 2)).parts == (5, 9)


# --- Ray ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray():
    """Ray on two processors, started once; the workers find the helpers of these tests."""
    ray = pytest.importorskip("ray", reason="the ray extra is not installed")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), *([before] if before else [])])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield ray
    ray.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def first_samples(corpus, rows):
    return np.array([wave[0] for wave in read_clips(corpus, rows, RATE)], np.float32)


@pytest.mark.full
class TestRay:
    def test_the_plain_targets_bit_for_bit(self, ray, sounds, tmp_path):
        from helpers.ray_teachers import opener

        (sounds / "05.wav").write_bytes(b"RIFF")
        plain = compute_targets(make_corpus(sounds, tmp_path / "plain"), Moments())
        corpus, seen = make_corpus(sounds, tmp_path / "ray"), []
        targets = spread_targets(corpus, opener(tmp_path / "none"), progress=lambda *args: seen.append(args))
        np.testing.assert_array_equal(targets.matrix, plain.matrix)
        assert targets.skipped == plain.skipped and targets.folder.name == plain.folder.name
        assert seen[0] == (0, 59) and seen[-1] == (59, 59)
        # What is whole is not made again: no cluster is asked.
        again = spread_targets(corpus, opener(tmp_path / "none"), cluster=Cluster("nowhere:1"))
        assert again.timing["rows"] == 0

    def test_a_worker_that_is_killed_once_costs_nothing(self, ray, sounds, tmp_path):
        from helpers.ray_teachers import opener

        corpus = make_corpus(sounds, tmp_path / "ray")
        np.save(tmp_path / "once.npy", first_samples(corpus, [11]))
        targets = spread_targets(corpus, opener(tmp_path / "once.npy", once=True))
        assert not (tmp_path / "once.npy").exists() and targets.valid.all()
        plain = compute_targets(make_corpus(sounds, tmp_path / "plain"), Moments())
        np.testing.assert_array_equal(targets.matrix, plain.matrix)

    def test_a_clip_that_kills_every_worker_is_left_out_by_name(self, ray, sounds, tmp_path):
        from helpers.ray_teachers import opener

        corpus = make_corpus(sounds, tmp_path / "ray")
        np.save(tmp_path / "deadly.npy", first_samples(corpus, [9]))
        targets = spread_targets(corpus, opener(tmp_path / "deadly.npy"))
        assert [name for name, _ in targets.skipped] == ["09.wav"]
        assert "ended the process" in targets.skipped[0][1]
        plain = np.array(compute_targets(make_corpus(sounds, tmp_path / "plain"), Moments()).matrix)
        plain[9] = 0
        np.testing.assert_array_equal(targets.matrix, plain)

    def test_a_machine_with_another_teacher_or_without_the_sound(self, ray, sounds, tmp_path):
        from helpers.ray_teachers import open_other, opener

        corpus = make_corpus(sounds, tmp_path / "ray")
        (tmp_path / "caller").write_text(str(os.getpid()))
        with pytest.raises(RunError, match="teacher other is another one here: give every machine the same"):
            spread_targets(corpus, partial(open_other, tmp_path))
        sounds.rename(tmp_path / "elsewhere")
        with pytest.raises(RunError, match=r"there is no folder .*sounds with the corpus's sound here: mount it"):
            spread_targets(corpus, opener(tmp_path / "none"))

    def test_a_teacher_that_raises_is_no_clip_that_ends_its_worker(self, ray, sounds, tmp_path):
        from helpers.ray_teachers import open_failing

        corpus = make_corpus(sounds, tmp_path / "ray")
        (tmp_path / "caller").write_text(str(os.getpid()))
        with pytest.raises(RunError, match="a fault of the teacher"):
            spread_targets(corpus, partial(open_failing, tmp_path))

    def test_no_room(self, ray, sounds, tmp_path):
        from helpers.ray_teachers import opener

        corpus = make_corpus(sounds, tmp_path / "ray")
        with pytest.raises(RunError, match=r"no machine of the Ray cluster has 64 processors .* the largest has 2"):
            spread_targets(corpus, opener(tmp_path / "none"), cluster=Cluster(cpus=64))


ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",  # three nodes start on a machine that other tests use
}

DRIVER = """
import os, signal, sys
from functools import partial
from pathlib import Path
from helpers.ray_teachers import open_deadly
from sondino.corpus.spread_targets import spread_targets
from sondino.corpus.table import open_corpus
from sondino.spread import Cluster
folder = Path(sys.argv[1])
def progress(done, total):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
spread_targets(open_corpus(folder), partial(open_deadly, folder / "none", False), cluster=Cluster("local", 1),
               progress=progress)
"""


@pytest.mark.full
def test_a_driver_that_is_killed_is_resumed_by_the_plain_command(sounds, tmp_path):
    pytest.importorskip("ray", reason="the ray extra is not installed")
    corpus = make_corpus(sounds, tmp_path / "ray", part_rows=1)
    environment = os.environ | ENVIRONMENT
    # By itself: whoever kills it after a message may come only when all is made.
    killed = subprocess.run([sys.executable, "-c", DRIVER, str(corpus.folder)], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert open_targets(next((corpus.folder / "targets").iterdir())).parts.rows_done() == 5
    seen = []
    found = compute_targets(open_corpus(corpus.folder), Moments(), progress=lambda *args: seen.append(args))
    assert seen[0] == (5, 60) and found.valid.all()
    plain = compute_targets(make_corpus(sounds, tmp_path / "plain", part_rows=1), Moments())
    np.testing.assert_array_equal(found.matrix, plain.matrix)


MACHINES = """
import sys
from functools import partial
from pathlib import Path
from ray.cluster_utils import Cluster as Machines
from helpers.ray_teachers import open_deadly
from sondino.corpus.spread_targets import spread_targets
from sondino.corpus.table import open_corpus
from sondino.spread import Cluster
machines = Machines(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [machines.add_node(num_cpus=1) for _ in range(2)]
machines.wait_for_nodes()
folder = Path(sys.argv[1])
def progress(done, total):
    if done >= 10 and len(nodes) == 2:
        machines.remove_node(nodes.pop(), allow_graceful=False)
targets = spread_targets(open_corpus(folder), partial(open_deadly, folder / "none", False), progress=progress,
                         cluster=Cluster(machines.address))
(folder / "answer").write_text(f"{len(nodes)} {int(targets.valid.sum())}")
"""


@pytest.mark.full
def test_a_machine_that_leaves_the_cluster_costs_no_clip(sounds, tmp_path):
    pytest.importorskip("ray", reason="the ray extra is not installed")
    corpus = make_corpus(sounds, tmp_path / "ray", part_rows=1)
    environment = os.environ | ENVIRONMENT
    done = subprocess.run([sys.executable, "-c", MACHINES, str(corpus.folder)], capture_output=True, text=True,
                          env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (corpus.folder / "answer").read_text() == "1 60"
    found = open_targets(next((corpus.folder / "targets").iterdir()))
    plain = compute_targets(make_corpus(sounds, tmp_path / "plain", part_rows=1), Moments())
    np.testing.assert_array_equal(found.matrix, plain.matrix)
