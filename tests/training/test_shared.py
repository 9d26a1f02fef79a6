"""Two machines, as two network namespaces with host names of their own: one run, or a message on both."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="the train extra is not installed")

from helpers.corpora import write_sounds
from helpers.skips import NO_NAMESPACES
from sondino.corpus.table import build_corpus
from sondino.errors import OptionError, RunError, SondinoError
from sondino.training import shared

ALONE = SimpleNamespace(num_processes=1, is_main_process=True)
NODES = r"""
set -e
mount -t tmpfs none /run
mount --bind "$FOLDER/hosts" /etc/hosts
ip link set lo up
ip netns add other
ip link add one type veth peer name two netns other
ip addr add 10.77.0.1/24 dev one
ip link set one up
ip -n other addr add 10.77.0.2/24 dev two
ip -n other link set two up
ip -n other link set lo up
hostname node1
[ "$1" = true ] && exit 0
set +e
ip netns exec other unshare --uts --mount sh -c '
    hostname node2
    if [ -n "$HIDDEN" ]; then mount --bind "$FOLDER/empty" "$HIDDEN"; fi
    exec "$@" --node-rank 1 $REST' node2 "$@" >"$FOLDER/node2.txt" 2>&1 &
"$@" --node-rank 0 $REST >"$FOLDER/node1.txt" 2>&1
echo $? >"$FOLDER/node1.code"
wait $!
echo $? >"$FOLDER/node2.code"
"""
"""Two network namespaces, joined by a cable, and a command in each; all ends with the outer process."""


def in_namespaces(folder: Path, *command: str, hidden: str = "", rest: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "hosts").write_text("127.0.0.1 localhost\n10.77.0.1 node1\n10.77.0.2 node2\n")
    (folder / "empty").mkdir(exist_ok=True)
    given = {"FOLDER": str(folder), "HIDDEN": hidden, "REST": rest, "OMP_NUM_THREADS": "1"}
    # A process in a namespace of its own for processes: what is left of it ends with it.
    outer = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
    return subprocess.run(
        [*outer, "sh", "-c", NODES, "nodes", *command],
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def distil(folder: Path, **how: Any) -> dict[str, tuple[int, str]]:
    """Exit code and output of `sondino distill` on each of two nodes."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip(f"{NO_NAMESPACES}: no unshare or ip")
    if (tried := in_namespaces(folder, "true")).returncode:
        pytest.skip(f"{NO_NAMESPACES}: {tried.stderr.strip()[:100]}")
    common = folder / "common"
    common.mkdir()
    sounds = write_sounds(folder / "sounds", {f"{i}.wav": 0.5 for i in range(12)})
    corpus = build_corpus(sounds, folder / "corpus", 0.5)
    vectors = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
    np.savez(folder / "known.npz", ids=np.array(corpus.ids()), vectors=vectors)
    # In a network of its own no other process has this port.
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    command += ["--master-addr", "node1", "--master-port", "29501"]
    options = f"--teacher precomputed:{folder / 'known.npz'} --width 0.1 --clip 0.5 --epochs 1 --draws 8 --batch-size 4"
    rest = f"-m sondino distill {folder / 'corpus'} --out {common / 'run'} --device cpu --quiet {options}"
    in_namespaces(folder, *command, rest=rest, **how)
    return {
        node: (int((folder / f"{node}.code").read_text()), (folder / f"{node}.txt").read_text())
        for node in ("node1", "node2")
    }


@pytest.mark.full
@pytest.mark.timeout(600)
def test_two_machines_with_one_folder_end_in_a_bundle(tmp_path: Path) -> None:
    ended = distil(tmp_path)
    assert [code for code, _ in ended.values()] == [0, 0], ended
    run = tmp_path / "common" / "run"
    assert (run / "bundle" / "model.onnx").is_file() and not list(run.glob(".shared-*"))
    assert json.loads((run / "metrics.jsonl").read_text())["epoch"] == 1


@pytest.mark.full
@pytest.mark.timeout(600)
def test_two_machines_whose_folders_differ_end_with_a_message_on_both(tmp_path: Path) -> None:
    ended = distil(tmp_path, hidden=str(tmp_path / "common"))
    run = tmp_path / "common" / "run"
    message = f"{run} is not one folder for all processes: node2 does not find what node1 wrote there"
    for code, output in ended.values():
        # The traceback there is that of torchrun.
        assert code != 0 and f"sondino: {message}" in output and "/sondino/" not in output.replace(message, ""), output
    assert list(run.iterdir()) == [] and list((tmp_path / "empty").iterdir()) == []


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the other process is: its token's folder, and what it sees."""
    other: dict[str, Any] = {"sees": ("node2", True, True)}
    monkeypatch.setattr(shared, "broadcast_from_main", lambda value: other.get("told", value))
    monkeypatch.setattr(shared, "gather_object", lambda own: [*own, other["sees"]])
    monkeypatch.setattr(shared, "PATIENCE", 0.0)
    monkeypatch.setattr(shared.socket, "gethostname", lambda: "node1")
    return other


def check(run: Path, audio: Path, main: bool = True) -> None:
    shared.check_shared(run, audio, SimpleNamespace(num_processes=2, is_main_process=main))  # type: ignore[arg-type]


def test_a_shared_folder_is_left_as_it_was(tmp_path: Path, two: dict[str, Any]) -> None:
    check(tmp_path / "run", tmp_path)
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("sees", "kind", "message"),
    [
        (("node2", False, True), RunError, "node2 does not find what node1 wrote there"),
        (("node2", False, False), RunError, "node2 does not find what node1 wrote there"),
        (("node2", True, False), OptionError, "does not exist: .*; on node2 it is missing"),
    ],
)
def test_what_one_lacks_is_an_error_of_all(
    sees: tuple[str, bool, bool], kind: type[SondinoError], message: str, tmp_path: Path, two: dict[str, Any]
) -> None:
    two["sees"] = sees
    with pytest.raises(kind, match=message):
        check(tmp_path / "run", tmp_path)


def test_another_process_looks_for_the_same_content(tmp_path: Path, two: dict[str, Any]) -> None:
    two["told"] = (".shared-1", "node9", None)
    (tmp_path / ".shared-1").write_text(".shared-2")
    with pytest.raises(RunError, match="node1 does not find what node9 wrote there"):
        check(tmp_path, tmp_path, main=False)
    (tmp_path / ".shared-1").write_text(".shared-1")
    check(tmp_path, tmp_path, main=False)
    assert (tmp_path / ".shared-1").exists()  # the main process removes it


def test_a_folder_that_cannot_be_written_is_an_error_of_all(tmp_path: Path, two: dict[str, Any]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        check(tmp_path / "file" / "run", tmp_path)
    two["told"] = ("", "node9", "RUN could not be written (full)")
    with pytest.raises(RunError, match=r"RUN could not be written \(full\)"):
        check(tmp_path / "run", tmp_path, main=False)


def test_one_process_makes_no_folder(tmp_path: Path) -> None:
    shared.check_shared(tmp_path / "run", tmp_path, ALONE)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
    with pytest.raises(OptionError, match="nowhere does not exist: give a folder of audio"):
        shared.check_shared(tmp_path / "run", tmp_path / "nowhere", ALONE)  # type: ignore[arg-type]
