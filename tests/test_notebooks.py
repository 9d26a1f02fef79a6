"""The notebooks run from top to bottom on the shipped clips, as plain scripts and as marimo has them."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.forked import ForkServer

pytest.importorskip("marimo", reason="the notebooks extra is not installed")
pytest.importorskip("altair", reason="the notebooks extra is not installed")

FOLDER = Path(__file__).parent.parent / "notebooks"
CLUSTERS, PROBE = FOLDER / "clusters_of_a_corpus.py", FOLDER / "probe_and_finetune.py"
PRETRAINING = FOLDER / "pretraining.py"


def home(where: Path) -> dict[str, str]:
    """Where marimo keeps its settings and what it remembers of itself."""
    return dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"), str(where))


def run(where: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """A Python command in a folder; its output where it fails."""
    command = [sys.executable, *(str(word) for word in words)]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, env=os.environ | home(where))
    assert done.returncode == 0, done.stdout + done.stderr
    return done


SCRIPT = """
import runpy, sys
from helpers.traced_graphs import traced_once
del sys.argv[0]
with traced_once():
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_script(forks: ForkServer, where: Path, *words: object) -> None:
    """A notebook as a script, in a process that has torch from the start."""
    done = forks.run(SCRIPT, *words, cwd=where, env=home(where))
    assert done.returncode == 0, done.stdout + done.stderr


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_there_are_no_others():
    assert sorted(FOLDER.glob("*.py")) == [CLUSTERS, PRETRAINING, PROBE]


@pytest.mark.full
@pytest.mark.parametrize("notebook", [CLUSTERS, PRETRAINING, PROBE], ids=lambda file: file.stem)
def test_marimo_finds_no_fault(tmp_path, notebook):
    run(tmp_path, "-m", "marimo", "check", "--strict", notebook)


@pytest.mark.full
def test_clusters_as_a_script(tmp_path, forks):
    run_script(forks, tmp_path, CLUSTERS, "--out", "kept", "--k", 6)
    [table] = tmp_path.glob("kept/*/clusters.csv")
    clips = rows(table)
    assert len(clips) >= 130 and len({clip["path"] for clip in clips}) == len(clips)
    assert len({clip["cluster"] for clip in clips}) == 6
    assert all(abs(float(clip["x"])) < 1e4 for clip in clips)
    [groups] = tmp_path.glob("kept/*/targets/*/clusters-k6-seed0/groups.json")
    found = json.loads(groups.read_text())
    assert found["clips"] == len(clips) and found["nmi"] > 0.1
    assert {clip["cluster"] for clip in clips} == {f"{g['cluster']} {g['mostly']}" for g in found["groups"]}


@pytest.mark.full
def test_clusters_as_a_page_with_the_teacher_that_needs_nothing(tmp_path):
    page = tmp_path / "page.html"
    notebook = Path(shutil.copy(CLUSTERS, tmp_path))  # marimo leaves a folder beside it
    words = ("--out", "kept", "--teacher", "bands")
    run(tmp_path, "-m", "marimo", "export", "html", notebook, "-o", page, "--", *words)
    shown = page.read_text(encoding="utf-8")
    assert "of dimension 160" in shown and "clusters.csv" in shown
    assert "Traceback" not in shown and "marimo-error" not in shown
    assert shown.count("data:audio/x-wav") == 4  # of the first cluster


@pytest.mark.full
def test_probe_and_finetune_as_a_script(tmp_path, forks):
    run_script(forks, tmp_path, PROBE, "--out", "kept", "--epochs", 1)
    reported = rows(tmp_path / "kept" / "predictions.csv")
    assert len(reported) == 130
    right = sum(clip["truth"] == clip["predicted"] for clip in reported) / len(reported)
    assert 0.2 < right < 0.9  # more than chance
    assert all(0 < float(clip["probability"]) <= 1 for clip in reported)
    config = json.loads((tmp_path / "kept" / "finetuned-untrained-1" / "config.json").read_text())
    assert config["head_score"]["metric"] == "accuracy"
    from sondino import load
    from sondino.sample_sounds import sample_folder

    model = load(tmp_path / "kept" / "finetuned-untrained-1")
    sure = model.classify([next((sample_folder() / "audio").glob("tabla*.ogg"))])
    assert sure.shape == (1, 12) and sure.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.full
def test_pretraining_as_a_script(tmp_path, forks):
    run_script(forks, tmp_path, PRETRAINING, "--out", "kept", "--updates", 10)
    place = tmp_path / "kept" / "10-updates-of-1-s"
    summary = json.loads((place / "encoder" / "summary.json").read_text())
    assert (summary["kind"], summary["updates"], summary["recordings"]) == ("pretraining", 10, 130)
    assert summary["last"]["prediction_loss"] < 1.9  # 2: unrelated
    taught = json.loads((place / "student" / "bundle" / "config.json").read_text())
    assert len(taught["teachers"]) == 1
    scores = {
        score["model"]: score["value"]
        for score in json.loads((place / "evaluation" / "results.json").read_text())["scores"]
    }
    assert len(scores) == 3 and all(value > 0.15 for value in scores.values())  # of 12 labels
    exported = json.loads((place / "exported" / "export.json").read_text())
    assert exported["verified"]["cosine"] > 0.999 and (place / "exported" / exported["file"]).is_file()
