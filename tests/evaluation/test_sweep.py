"""Sweeps: which runs, in which order, what is cached, and which input is an error."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.corpora import write_sounds
from helpers.forked import ForkServer
from sondino import cli
from sondino.distillation.distill import cluster
from sondino.distillation.recipe import as_dict, resolve_recipe
from sondino.errors import OptionError, RunError, SondinoError
from sondino.evaluation import sweep as module
from sondino.evaluation.grid import folder_name, plan_runs, read_vary
from sondino.evaluation.sweep import sweep
from sondino.training.run import check_same_config

BANDS = """
import numpy as np

class Bands:
    name, sample_rate, dim, window, fingerprint = "bands", 8000, 6, None, "bands-1"

    def embed(self, waveforms):
        power = np.abs(np.fft.rfft(waveforms, axis=1)) ** 2
        bands = np.stack([b.mean(1) for b in np.array_split(power, 6, axis=1)], axis=1)
        return np.log(bands + 1e-3).astype(np.float32)

class Other(Bands):
    name, fingerprint = "other", "other-1"

    def embed(self, waveforms):
        return -super().embed(waveforms)[:, ::-1].copy()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with sounds/ of half a second each, teachers and recipe.yaml."""
    write_sounds(tmp_path / "sounds", {f"{i:02}.wav": 0.5 for i in range(30)})
    (tmp_path / "bands.py").write_text(BANDS)
    lines = [f"teacher: module:{tmp_path / 'bands.py'}:Bands", "width: 0.1", "clip: 0.5", "batch_size: 8", "epochs: 1"]
    (tmp_path / "recipe.yaml").write_text("\n".join(lines) + "\n")
    return tmp_path


# ---- what is varied -----------------------------------------------------------------------------------------------


def test_values_are_read_as_a_recipe_file_has_them() -> None:
    read = read_vary(["loss=cosine,l1", "clusters=0,30", "lr=8e-4,0.001", "batch-size=8", "draws=null,10",
                      "spec_augment=true,false", "teacher=onnx:a.onnx?rate=16000&window=1"])  # fmt: skip
    assert list(read) == ["loss", "clusters", "lr", "batch_size", "draws", "spec_augment", "teacher"]
    assert read["loss"] == ["cosine", "l1"] and read["clusters"] == [0, 30] and read["draws"] == [None, 10]
    assert read["spec_augment"] == [True, False] and read["teacher"] == ["onnx:a.onnx?rate=16000&window=1"]
    planned = plan_runs({"teacher": "birdnet"}, {"lr": read["lr"]})
    assert [one.recipe.lr for one in planned] == [8e-4, 1e-3]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["loss"], "write ENTRY=VALUE"),
        (["los=cosine"], "did you mean loss"),
        (["loss="], "empty value"),
        (["loss=cosine,,kl"], "empty value"),
        (["loss=cosine", "loss=kl"], "loss is given twice"),
    ],
)
def test_a_vary_that_cannot_be_read_is_answered(entries: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_vary(entries)


def test_the_product_in_the_order_given_the_last_fastest() -> None:
    planned = plan_runs({"teacher": "birdnet", "epochs": 3}, {"loss": ["mse", "cosine"], "clusters": [0, 30]})
    assert [one.settings for one in planned] == [
        {"loss": "mse", "clusters": 0},
        {"loss": "mse", "clusters": 30},
        {"loss": "cosine", "clusters": 0},
        {"loss": "cosine", "clusters": 30},
    ]
    assert {one.recipe.epochs for one in planned} == {3}
    assert planned[2].recipe == resolve_recipe({"teacher": "birdnet", "epochs": 3, "loss": "cosine", "clusters": 0})


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        ({}, "nothing is varied"),
        ({"loss": ["cosine", "kll"]}, "did you mean kl"),
        ({"student": ["mobilenet"]}, "did you mean mobilenetv3"),
        ({"loss": ["cosine", "kl", "cosine"]}, r"same value twice \(loss=cosine\)"),
        ({"width": [1, 1.0]}, r"same value twice \(width=1\)"),
        ({"epochs": [1, 0]}, "epochs is 0"),
        ({"init": ["gone.pt"]}, "gone.pt"),
        ({"teacher": ["birdnet"], "loss": ["kl"]}, "give one of the two"),
    ],
)
def test_every_combination_is_checked_before_any_runs(varied: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(SondinoError, match=message):
        plan_runs({"teacher": "birdnet"}, varied, ["birdnet"] if "teacher" in varied else [])


def test_no_clusters_mean_that_every_clip_is_drawn_alike() -> None:
    recipe = resolve_recipe({"teacher": "birdnet", "clusters": 0})
    assert recipe.sampling == "balanced" and cluster(None, recipe, True) is None  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="clusters is -1"):
        resolve_recipe({"teacher": "birdnet", "clusters": -1})


def test_a_teacher_given_wins_over_the_recipe() -> None:
    (one,) = plan_runs({"teacher": "birdnet"}, {"loss": ["kl"]}, ["matpac", "m2d"])
    assert one.recipe.teacher == ("matpac", "m2d")


def test_names_of_folders_are_safe_and_differ_by_settings() -> None:
    assert folder_name({"loss": "cosine", "clusters": 50, "width": 0.25}) == "loss=cosine,clusters=50,width=0.25"
    odd = folder_name({"teacher": "onnx:/a/b.onnx?rate=16000"})
    assert odd == folder_name({"teacher": "onnx:/a/b.onnx?rate=16000"})
    assert odd != folder_name({"teacher": "onnx:/a/b.onnx&rate=16000"})
    assert not set(odd) & set('/\\:*?"<>|& ')
    assert len(folder_name({"init": "x" * 300})) <= 100


# ---- the runs, with distillation stood in for ----------------------------------------------------------------------


class Runs:
    """Stands in for `distill`: writes what a run leaves; cosine is the number of clusters / 100."""

    def __init__(self) -> None:
        self.calls: list[tuple[Path, dict[str, Any]]] = []
        self.fails: set[str] = set()

    def __call__(self, audio: Path, out: Path, recipe: dict[str, Any], **_: Any) -> None:
        self.calls.append((audio, recipe))
        out.mkdir(parents=True)
        check_same_config(out, {"audio": str(audio.resolve()), "recipe": recipe})
        if recipe["loss"] in self.fails:
            raise SondinoError("the loss became nan")
        row = {"role": "student", "cosine": recipe["clusters"] / 100, "neighbour_overlap": 0.5, "parameters": 7}
        (out / "summary.json").write_text(
            json.dumps({"table": [{"role": "teacher"}, row], "training_seconds": 2.0, "unreadable": 0})
        )


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(module, "distill", found)
    return found


def swept(place: Path, varied: dict[str, list[Any]], **options: Any) -> module.Swept:
    return sweep(place / "recipe.yaml", place / "sounds", varied, place / "out", **{"quiet": True, **options})


def test_runs_share_one_corpus_and_leave_results(place: Path, runs: Runs) -> None:
    done = swept(place, {"loss": ["cosine", "kl"], "clusters": [0, 5]}, command=["sondino", "sweep"])
    assert {audio for audio, _ in runs.calls} == {place / "out" / "corpus"}
    assert [(recipe["loss"], recipe["clusters"]) for _, recipe in runs.calls] == [
        ("cosine", 0), ("cosine", 5), ("kl", 0), ("kl", 5),
    ]  # fmt: skip
    results = json.loads((place / "out" / "results.json").read_text())
    assert results == done.results
    assert (results["format"], results["kind"], results["title"]) == ("sondino-results-1", "sweep", "loss × clusters")
    assert results["varied"] == {"loss": ["cosine", "kl"], "clusters": [0, 5]}
    assert results["command"] == ["sondino", "sweep"] and "loss" not in results["recipe"]
    assert results["runs"][0]["run"] == "runs/loss=cosine,clusters=0"
    assert [row["cosine"] for row in results["table"]] == [0.0, 0.05, 0.0, 0.05]
    assert (place / "out" / "table.md").exists() and not done.failed


def test_a_corpus_that_is_given_is_read_as_it_is(place: Path, runs: Runs) -> None:
    swept(place, {"loss": ["cosine"]})
    corpus = place / "out" / "corpus"
    sweep(place / "recipe.yaml", corpus, {"loss": ["cosine"]}, place / "second", quiet=True)
    assert runs.calls[1][0] == corpus and not (place / "second" / "corpus").exists()
    with pytest.raises(RunError, match=r"clips of 0\.5 s and a run asks for 1 s"):
        sweep(place / "recipe.yaml", corpus, {"clip": [0.5, 1.0]}, place / "third", quiet=True)
    assert not (place / "third").exists()


def test_each_length_of_clip_has_a_corpus(place: Path, runs: Runs) -> None:
    swept(place, {"clip": [0.5, 0.25]})
    assert [audio.name for audio, _ in runs.calls] == ["corpus", "corpus-0.25s"]


def test_finished_runs_are_kept_and_values_and_entries_add_to_them(place: Path, runs: Runs) -> None:
    swept(place, {"loss": ["cosine", "kl"]})
    swept(place, {"loss": ["cosine", "kl"]})
    assert len(runs.calls) == 2
    done = swept(place, {"loss": ["mse"]})
    assert len(runs.calls) == 3
    assert [row["settings"]["loss"] for row in done.results["table"]] == ["mse", "cosine", "kl"]
    assert done.results["varied"] == {"loss": ["mse", "cosine", "kl"]}
    done = swept(place, {"loss": ["cosine", "mse"], "seed": [0, 1]})
    assert [(r["loss"], r["seed"]) for _, r in runs.calls[3:]] == [("cosine", 1), ("mse", 1)]
    counted = {row["settings"]["loss"]: row["seeds"] for row in done.results["table"]}
    assert counted == {"cosine": 2, "mse": 2, "kl": 1}
    done = swept(place, {"seed": [0, 1]})  # of the recipe's own loss alone
    assert [(run["settings"], run["run"]) for run in done.results["runs"]] == [
        ({"seed": 0}, "runs/loss=cosine"), ({"seed": 1}, "runs/loss=cosine,seed=1"),
    ]  # fmt: skip


def test_another_recipe_or_sound_is_refused(place: Path, runs: Runs) -> None:
    swept(place, {"loss": ["cosine"]})
    (place / "recipe.yaml").write_text((place / "recipe.yaml").read_text().replace("epochs: 1", "epochs: 2"))
    with pytest.raises(RunError, match="epochs was 1, now 2"):
        swept(place, {"loss": ["cosine"]})
    swept(place, {"epochs": [1, 2]})  # an entry that is varied may have any value
    assert [recipe["epochs"] for _, recipe in runs.calls] == [1, 2]


def test_a_failed_run_is_listed_and_stops_no_other(place: Path, runs: Runs) -> None:
    runs.fails = {"kl"}
    done = swept(place, {"loss": ["kl", "cosine"]})
    assert done.failed == [("loss=kl", "the loss became nan")]
    assert [run["settings"]["loss"] for run in done.results["runs"]] == ["cosine"]
    assert done.results["notes"] == ["run loss=kl failed: the loss became nan"]


def test_clusters_that_the_corpus_is_too_small_for_are_noted(place: Path, runs: Runs) -> None:
    done = swept(place, {"clusters": [0, 5, 7, 50]})
    assert done.results["notes"] == ["the corpus has clips for 6 clusters at most: clusters=7,50 means 6"]


def test_students_are_probed_on_the_tasks(
    place: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for label in "xyz":
        for name in range(10):
            folder = write_sounds(place / "labelled" / label, {f"{name}.wav": 0.2 + rng.random() / 10})
    asked = []

    class Blind:
        """Zeros in runs of kl; else embeddings that encode the label."""

        sample_rate, dim, window = 8000, 3, None

        def __init__(self, run: str) -> None:
            self.name = self.fingerprint = run

    def embeddings(model: Blind, labelled: Any, store: Path, **_: Any) -> Any:
        asked.append(model.name)
        one_hot = labelled.targets().astype(np.float32)
        file = store / f"{model.name}.npz"
        return labelled, one_hot if "cosine" in model.name else np.zeros_like(one_hot), file

    monkeypatch.setattr(module, "load", lambda bundle: Blind(bundle.parent.name))
    monkeypatch.setattr("sondino.evaluation.scores.task_embeddings", embeddings)
    assert folder.is_dir()
    done = swept(place, {"loss": ["cosine", "kl"]}, tasks=[str(place / "labelled")], seeds=1, quiet=False)
    printed = capsys.readouterr().err.splitlines()
    assert "run 1 of 2, 2 of 2: labelled: probe of loss=cosine" in printed
    assert "run 2 of 2, 2 of 2: labelled: probe of loss=kl" in printed
    assert asked == ["loss=cosine", "loss=kl"]
    first, second = done.results["runs"]
    assert first["scores"]["labelled"]["value"] == 1.0 and first["average"] == 1.0
    assert second["scores"]["labelled"]["value"] == pytest.approx(1 / 3, abs=0.1)
    assert done.results["tasks"][0]["labels"] == ["x", "y", "z"]
    done = swept(place, {"loss": ["mse"]}, tasks=[str(place / "labelled")], seeds=1)
    assert all(row["average"] is not None for row in done.results["table"])  # earlier runs too


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds is 0"),
        ({"device": "cuda"}, "device cuda"),
        ({"tasks": ["esc5"]}, "did you mean esc50"),
        ({"teacher": ["birdnett"]}, "did you mean birdnet"),
    ],
)
def test_invalid_input_is_an_error_before_a_folder_is_begun(place: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        swept(place, {"loss": ["cosine"]}, **options)
    with pytest.raises(OptionError, match="does not exist"):
        sweep(place / "recipe.yaml", place / "gone", {"loss": ["cosine"]}, place / "out")
    assert not (place / "out").exists()


def test_the_command(place: Path, runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.fails = {"kl"}

    def call(*arguments: object) -> int:
        with pytest.raises(SystemExit) as left:
            cli.main(["sweep", *map(str, (place / "recipe.yaml", "--audio", place / "sounds", *arguments))])
        return int(left.value.code or 0)

    assert call("--vary", "clusters=0,5", "--vary", "seed=0,1", "--out", place / "out") == 0
    shown = capsys.readouterr()
    assert "0 (uniform)" in shown.out and "report.html" in shown.out and (place / "out" / "report.html").exists()
    assert "run 4 of 4 (clusters=5, seed=1) runs" in shown.err and "left" in shown.err
    assert call("--vary", "loss=cosine,kl", "--out", place / "second", "--quiet") == 1
    shown = capsys.readouterr()
    assert "failed: loss=kl: the loss became nan" in shown.err and "run 1" not in shown.err
    assert call("--vary", "los=kl", "--out", place / "third") == 2


# ---- the whole of it ----------------------------------------------------------------------------------------------


KILLED = """
import os, signal, sys
import sondino.distillation.train as train
whole, calls = train.save_checkpoint, [0]
def dies(*args, **options):
    calls[0] += 1
    if calls[0] > int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **options)
train.save_checkpoint = dies
from helpers.traced_graphs import traced_once
from sondino.cli import main
with traced_once():
    main(sys.argv[2:])
"""


@pytest.mark.slow
def test_a_killed_sweep_resumes_and_decodes_nothing_twice(place: Path, forks: ForkServer) -> None:
    recipe = place / "recipe.yaml"
    other = f"[module:{place / 'bands.py'}:Bands, module:{place / 'bands.py'}:Other]"
    recipe.write_text(
        recipe.read_text().replace("epochs: 1", "epochs: 2").replace("teacher: ", "#") + f"teacher: {other}"
    )
    out = place / "out"

    def go(saves: int) -> int:
        asked = ["sweep", recipe, "--audio", place / "sounds", "--vary", "clusters=0,5", "--out", out, "--quiet"]
        return forks.run(KILLED, saves, *asked).returncode

    assert go(5) == -signal.SIGKILL  # in the second run's first epoch: each epoch saves twice at most
    assert (out / "runs" / "clusters=0" / "summary.json").exists()
    assert not (out / "runs" / "clusters=5" / "summary.json").exists()
    table = json.loads((out / "results.json").read_text())["table"]
    assert [row["settings"] for row in table] == [{"clusters": 0}]

    def made() -> dict[str, int]:
        kept = [*out.rglob("targets.npy"), *out.rglob("samples.npy"), out / "runs" / "clusters=0" / "summary.json"]
        return {str(file): file.stat().st_mtime_ns for file in kept}

    before = made()
    assert len(before) == 4  # two teachers, one rate, one run
    assert go(1000) == 0
    assert made() == before
    results = json.loads((out / "results.json").read_text())
    assert [run["settings"] for run in results["runs"]] == [{"clusters": 0}, {"clusters": 5}]
    assert all(-1 <= run["cosine"] <= 1 and run["parameters"] > 0 for run in results["runs"])
    summary = json.loads((out / "runs" / "clusters=0" / "summary.json").read_text())
    assert [row["role"] for row in summary["table"]] == ["teacher", "teacher", "student", "untrained"]
    assert not (out / "runs" / "clusters=0" / "report.html").exists()
    assert not list(out.rglob("clusters-k0*")) and len(list(out.rglob("clusters-k5-seed0"))) == 1
    recipes = [json.loads((out / run["run"] / "run.json").read_text())["recipe"] for run in results["runs"]]
    assert recipes[1] == as_dict(resolve_recipe(recipe, clusters=5))
