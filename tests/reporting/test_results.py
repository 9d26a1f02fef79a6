"""The pages of evaluations, without a browser: every number against the files."""

import csv
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers import results_fixture
from helpers.pages import audio_of, decoded, likeness
from helpers.results_fixture import (
    LABELS,
    change,
    evaluation,
    page_of,
    results_json,
    support,
    task,
    write_predictions,
    write_results,
)
from sondino.audio.signal import resample
from sondino.cli.app import app
from sondino.errors import RunError
from sondino.reporting.excerpt import excerpt
from sondino.reporting.report import report, report_results
from sondino.sample_sounds import sample_folder

pytest.importorskip("sklearn")


def predictions(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "predictions" / name).open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return evaluation(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def page(folder):
    return page_of(folder)


# ---- an evaluation ----


def test_the_page_is_one_small_file(folder, page):
    assert (folder / "report.html").stat().st_size < 15e6
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    ids = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    named = {a[key] for _, a in page.tags for key in ("aria-labelledby", "aria-describedby") if key in a}
    assert named <= ids
    assert {"results", "agreement", "map", "labels", "matrix", "mistakes"} <= ids
    assert not list(folder.glob(".*.partial"))


def test_retention_and_costs_are_shown(folder, page):
    results = results_json(folder)
    student = next(row for row in results["retention"] if row["role"] == "student")
    for text in [f"{100 * student['kept']:.1f}\u00a0%", f"{100 * student['average']:.1f}\u00a0%", "25×", "2,381 times"]:
        assert text in page.text
    for score in results["scores"]:
        low, high = score["interval95"]
        assert f"{100 * score['value']:.1f}\u00a0%" in page.text and f"{100 * low:.1f}–{100 * high:.1f}" in page.text
    for text in ["t over 5 folds", "codecarbon", "15.0\u00a0%", "29.8\u00a0M", "121\u00a0MB", "1.9\u00a0G", "0.05"]:
        assert text in page.text
    for text in [
        "mean 0.300",
        "unbiased 0.650",
        "@10 75.0\u00a0%",
        "10-NN overlap",
        "randomly initialised",
        "Confusion matrix",
        "opened from",
    ]:
        assert text in page.text


def test_the_matrix_counts_as_the_file_does(folder, page):
    closer = page.data()["closer"]
    assert closer["models"] == ["small student", "big teacher", "untrained student"]  # the student's comes first
    for number, role in ((0, "student"), (1, "teacher")):
        rows = predictions(folder, f"{role}-sonic.csv")
        view = closer["views"][f"{number} 0"]
        counts = Counter((row["truth"], row["predicted"]) for row in rows)
        assert {(view["labels"][t], view["labels"][g]): n for t, g, n in view["cells"]} == counts
        assert (view["clips"], view["wrong"]) == (len(rows), sum(r["truth"] != r["predicted"] for r in rows))
        pairs = [(view["labels"][t], view["labels"][g], n) for t, g, n in view["pairs"]]
        wrong = {pair: n for pair, n in counts.items() if pair[0] != pair[1]}
        assert [n for *_, n in pairs] == sorted(wrong.values(), reverse=True)[: len(pairs)]
        assert all(wrong[t, g] == n for t, g, n in pairs)


def test_the_most_confident_errors_come_first_and_can_be_played(folder, page):
    data = page.data()
    closer, sounds = data["closer"], data["sounds"]
    view = closer["views"]["0 0"]
    wrong = [row for row in predictions(folder, "student-sonic.csv") if row["truth"] != row["predicted"]]
    most_confident = sorted((float(row["probability"]) for row in wrong), reverse=True)[:12]
    assert [view["mistakes"][i]["sure"] for i in view["listed"]] == most_confident
    first = view["mistakes"][view["listed"][0]]
    name = closer["clips"][first["clip"]]
    row = next(row for row in wrong if Path(row["path"]).name == Path(name).name)
    assert (view["labels"][first["truth"]], view["labels"][first["given"]]) == (row["truth"], row["predicted"])
    for i in view["listed"]:
        clip = view["mistakes"][i]["clip"]
        original, rate = soundfile.read(sample_folder() / "audio" / Path(closer["clips"][clip]).name, dtype="float32")
        shown, _ = excerpt(resample(original, rate, 24000), 24000)
        # Of a click MP3 keeps no more than this at 32 kbit/s.
        assert likeness(decoded(sounds["uri"][closer["sound"][clip]])[0], shown) > 0.8, closer["clips"][clip]


def test_every_kind_of_mistake_has_clips(page):
    view = page.data()["closer"]["views"]["2 1"]  # the randomly initialised one, which makes many
    kinds = Counter((m["truth"], m["given"]) for m in view["mistakes"])
    for truth, given, count in view["cells"]:
        if truth != given:
            assert min(3, count) <= kinds[truth, given]


def test_scores_of_labels_stand_beside_the_teachers(folder, page):
    view = page.data()["closer"]["views"]["0 0"]
    scores = {(s["model"], s["task"]): s["per_label"] for s in results_json(folder)["scores"]}
    for label, score, teacher in zip(view["labels"], view["scores"], view["teacher"], strict=True):
        assert score == scores["small student", "sonic"][label]
        assert teacher == scores["big teacher", "sonic"][label]
    assert page.data()["closer"]["views"]["1 0"]["teacher"] == [None] * len(LABELS)  # not beside itself


def test_maps_of_student_and_teacher_in_four_colourings(folder, page):
    maps = page.data()["maps"]
    assert [one["name"] for one in maps] == ["small student on Sonic Pi", "big teacher on Sonic Pi"]
    rows = predictions(folder, "student-sonic.csv")
    for one in maps:
        assert [mode["name"] for mode in one["modes"]] == ["label", "prediction", "right or wrong", "cluster"]
        assert len(one["id"]) == len(rows)
    sizes = {group["name"]: group["size"] for group in maps[0]["modes"][2]["groups"]}
    right = sum(row["truth"] == row["predicted"] for row in rows)
    assert sizes == {"right": right, "wrong": len(rows) - right}
    assert {g["name"]: g["colour"] for g in maps[0]["modes"][2]["groups"]} == {"right": 2, "wrong": 3}
    assert len(maps[0]["modes"][3]["groups"]) == len(LABELS)
    names = {Path(row["path"]).name: row for row in rows}
    for i, name in enumerate(maps[0]["id"]):
        reported_of = [mode["groups"][mode["of"][i]]["name"] for mode in maps[0]["modes"]]
        assert reported_of[:2] == [names[Path(name).name][key] for key in ("truth", "predicted")]
    # Embeddings lie about their label's centre, so the neighbours on the map have the same label.
    x, y, of = np.array(maps[1]["x"]), np.array(maps[1]["y"]), np.array(maps[1]["modes"][0]["of"])
    gaps = np.hypot(x[:, None] - x, y[:, None] - y) + 9 * np.eye(len(x))
    assert (of[gaps.argmin(1)] == of).mean() > 0.9


def test_a_sound_stands_in_the_page_once(page):
    data = page.data()
    used = [place for one in data["maps"] for place in one["sound"]] + data["closer"]["sound"]
    assert set(used) - {-1} == set(range(len(data["sounds"]["uri"])))
    assert len(set(data["sounds"]["uri"])) == len(data["sounds"]["uri"]) <= 130


def test_with_many_tasks_scores_and_costs_are_two_tables_and_agreement_is_a_mean(tmp_path):
    page = page_of(evaluation(tmp_path, tasks=5, vectors=False))
    labels = [a.get("aria-label") for _, a in page.tags if a.get("role") == "region"]
    assert labels.count("Table of results") == labels.count("Table of costs") == 1
    assert "5 tasks" in page.text and "Every task" in page.text


def test_several_labels_a_clip(tmp_path):
    names = sorted((sample_folder() / "audio").iterdir())[:12]
    rows = [
        {"path": str(path), "truth": "drum;loud" if i % 2 else "", "top": "drum;quiet" if i % 3 else "quiet;drum"}
        for i, path in enumerate(names)
    ]
    write_predictions(tmp_path / "predictions" / "p.csv", rows)
    results_fixture.write_embeddings(tmp_path / "v.npz", [r["path"] for r in rows], [LABELS[0]] * 12, 1.0, 0)
    score = {
        "model": "m", "task": "tags", "metric": "mAP", "value": 0.5, "interval95": [0.4, 0.6], "interval": "t",
        "per_label": {"drum": 0.9, "loud": 0.2, "quiet": None}, "predictions": "predictions/p.csv", "vectors": "v.npz",
    }  # fmt: skip
    own = task("tags", "Tags", multi_label=True, labels=["drum", "loud", "quiet"], classes=3, metric="mAP")
    models = [results_fixture.model("m", "student")]
    write_results(tmp_path, kind="evaluation", title="T", tasks=[own], models=models, scores=[score])
    data = page_of(tmp_path).data()
    view = data["closer"]["views"]["0 0"]
    right = sum(row["top"].split(";")[0] in row["truth"].split(";") for row in rows)
    assert (view["cells"], view["pairs"], view["wrong"]) == ([], [], 12 - right)
    assert {m["truths"] for m in view["mistakes"]} == {"drum, loud", ""}
    groups = {g["name"] for g in data["maps"][0]["modes"][0]["groups"]}
    assert groups == {"drum, loud", "no label"}


# ---- what may be missing, or strange ----


def test_names_are_data(tmp_path):
    shutil.copytree(sample_folder() / "audio", tmp_path / "clips")
    evil = "</script><script>alert(1)</script>"
    names = sorted((tmp_path / "clips").iterdir())[:20]
    odd = names[0].rename(names[0].with_name(b"caf\xe9 \"'<b>.ogg".decode(errors="surrogateescape")))
    paths = [str(odd), *map(str, names[1:])]
    rows = [
        {"path": path, "truth": evil, "predicted": '"&<i>' if i % 2 == 0 else evil, "probability": 0.5, "fold": 1}
        for i, path in enumerate(paths)
    ]
    write_predictions(tmp_path / "p.csv", rows)
    results_fixture.write_embeddings(tmp_path / "v.npz", paths, [LABELS[0]] * 20, 1.0, 0)
    score = {
        "model": evil,
        "task": evil,
        "value": 0.5,
        "predictions": "p.csv",
        "vectors": "v.npz",
        "per_label": {evil: 1},
    }
    models = [results_fixture.model(evil, "student")]
    own = task(evil, evil, labels=[evil, '"&<i>'], classes=2)
    write_results(
        tmp_path, kind="evaluation", title=evil, tasks=[own], models=models, scores=[score], notes=[evil, "\udce9"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every sound is found
        page = page_of(tmp_path)
    assert len(page.scripts) == 2 and evil in page.text and "\ufffd" in page.text
    data = page.data()
    assert data["closer"]["views"]["0 0"]["labels"] == [evil, '"&<i>']
    assert "caf\ufffd \"'<b>.ogg" in data["closer"]["clips"] and "caf\ufffd \"'<b>.ogg" in data["maps"][0]["id"]
    assert -1 not in data["closer"]["sound"]


def test_what_cannot_be_read_is_left_out_and_reported(tmp_path):
    evaluation(tmp_path, tasks=1)
    (tmp_path / "predictions" / "student-sonic.csv").unlink()
    (tmp_path / "predictions" / "untrained-sonic.csv").write_text("path,truth\na,b\n")
    (tmp_path / "vectors" / "teacher.npz").write_bytes(b"no zip")
    page = page_of(tmp_path)
    assert "student-sonic.csv cannot be used (No such file or directory)" in page.text
    assert "untrained-sonic.csv cannot be used (no column 'predicted')" in page.text
    assert "The map of big teacher is left out" in page.text
    closer = page.data()["closer"]
    views = {model: closer["views"][f"{i} 0"] for i, model in enumerate(closer["models"])}
    assert views["small student"]["cells"] == [] and views["small student"]["scores"][0] is not None
    assert views["big teacher"]["cells"]
    assert [m["name"] for m in page.data()["maps"][0]["modes"]] == ["cluster"]  # no predictions: nothing to colour by


def test_clips_that_are_gone_leave_a_page_without_audio_and_a_warning(tmp_path):
    evaluation(tmp_path, tasks=1)
    for file in (tmp_path / "predictions").iterdir():
        file.write_text(file.read_text().replace(str(sample_folder()), "/gone"))
    with pytest.warns(UserWarning, match=r"could not be read: \d+, such as .*gone"):
        page = page_of(tmp_path)
    assert "sounds" not in page.data() and "could not be read" in page.text
    # The embeddings were cached under the old names, and are found by the last part.
    assert [len(one["id"]) for one in page.data()["maps"]] == [130, 130]
    assert set(page.data()["maps"][0]["sound"]) == {-1}


def test_clips_are_found_from_the_results_folder_and_from_the_tasks(tmp_path):
    evaluation(tmp_path / "r", tasks=1, vectors=False)
    for file in (tmp_path / "r" / "predictions").iterdir():
        file.write_text(file.read_text().replace(f"{sample_folder()}/", ""))
    own = results_json(tmp_path / "r")["tasks"][0]
    change(tmp_path / "r", tasks=[own | {"root": str(sample_folder())}])
    assert -1 not in page_of(tmp_path / "r").data()["closer"]["sound"]
    change(tmp_path / "r", tasks=[own])
    shutil.copytree(sample_folder() / "audio", tmp_path / "r" / "audio")
    assert -1 not in page_of(tmp_path / "r").data()["closer"]["sound"]


def test_agreement_alone_makes_a_page(tmp_path):
    evaluation(tmp_path, tasks=1)
    page = page_of(change(tmp_path, scores=[], retention=[], tasks=[task(metric=None)]))
    assert "agreement with the teacher, without labels" in page.text and "Resource use" in page.text
    assert page.data() == {}


@pytest.mark.full
def test_a_huge_number_of_long_clips_stays_under_15_mb(tmp_path, monkeypatch):
    """The bytes are spent as if each sound were as large as they come; encoding thousands would only take longer."""
    from sondino.reporting import sounds as report_sounds

    rng = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips" / "long.wav", rng.uniform(-0.5, 0.5, 70 * 8000), 8000)
    paths = [str(tmp_path / "clips" / f"{i:04}-{'long name ' * 18}.wav") for i in range(700)]
    for path in paths:
        Path(path).hardlink_to(tmp_path / "clips" / "long.wav")
    labels = [f"label {i:02} of sixty" for i in range(60)]
    whole = report_sounds.mp3(*excerpt(rng.standard_normal(72000), 24000))
    monkeypatch.setattr(report_sounds, "mp3", lambda *_: whole)
    monkeypatch.setattr(report_sounds, "read", lambda *_: np.zeros(10, np.float32))
    scores = []
    for model in ("a", "b", "c"):
        for own in ("one", "two", "three"):
            rows = [
                {"path": path, "truth": labels[i % 60], "predicted": labels[int(rng.integers(60))], "probability": 0.9,
                 "fold": 1}
                for i, path in enumerate(paths)
            ]  # fmt: skip
            write_predictions(tmp_path / f"{model}-{own}.csv", rows)
            score = {"model": model, "task": own, "value": 0.1, "predictions": f"{model}-{own}.csv", "vectors": "v.npz"}
            scores.append(score | {"per_label": dict.fromkeys(labels, 0.5)})
    results_fixture.write_embeddings(tmp_path / "v.npz", paths, [LABELS[0]] * 700, 1.0, 0)
    tasks = [task(own, own, labels=labels, classes=60) for own in ("one", "two", "three")]
    models = [results_fixture.model(name, "student") for name in ("a", "b", "c")]
    write_results(tmp_path, kind="evaluation", title="Large", tasks=tasks, models=models, scores=scores)
    page = page_of(tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 15e6
    data = page.data()
    spent = sum(map(len, data["sounds"]["uri"]))
    assert 8e6 < spent <= report_sounds.SOUND_BYTES
    assert sum(place >= 0 for place in data["closer"]["sound"]) >= 200  # mistakes have their share
    assert sum(place >= 0 for place in data["maps"][0]["sound"]) >= 200  # and the map has its own


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": "other-2"}, "is not in the format sondino-results-1 .it says 'other-2'.: run the command"),
        ({"kind": "poem"}, "holds results of the kind 'poem', not evaluation, support, sweep"),
        ({"scores": [], "agreement": []}, "holds no scores and no agreement, so there is nothing to report on"),
        ({"scores": {"a": 1}}, "scores is {'a': 1}: give a list or nothing; run"),
        ({"scores": [{"model": "m"}]}, "it has no scores\\[0\\].task; run"),
        ({"models": [{"name": {}}]}, "models\\[0\\].name is {}: give a whole number or a number or text"),
        ({"kind": "support"}, "holds no rows"),
        ({"kind": "sweep", "runs": [{"settings": 3}]}, "runs\\[0\\].settings is 3: give named entries"),
    ],
)
def test_wrong_results_are_an_error(tmp_path, entries, message):
    write_results(tmp_path, kind="evaluation", scores=[{"model": "m", "task": "t"}])
    with pytest.raises(RunError, match=message):
        report_results(change(tmp_path, **entries))
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("content", ["", "[1]", "{", "\xff\xfe".encode("latin-1")])
def test_a_file_that_is_not_results_is_an_error(tmp_path, content):
    (tmp_path / "results.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=r"results\.json (cannot be read|is not in the format)"):
        report(tmp_path)


def test_where_there_is_nothing_to_report_on(tmp_path):
    with pytest.raises(RunError, match=r"holds neither results\.json nor a run, so there is nothing to report on"):
        report(tmp_path)
    with pytest.raises(RunError, match="gone does not exist: give the folder of a run"):
        report(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(RunError, match=r"notes.txt is a file: give the folder of a run"):
        report(tmp_path / "notes.txt")
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    (tmp_path / "run" / "summary.json").write_text("{}")
    with pytest.raises(RunError, match=r"the run it belongs to is .*run$"):
        report(tmp_path / "run" / "bundle")


def test_the_command_reports_where_the_page_is(tmp_path, capsys):
    support(tmp_path)
    app(["report", str(tmp_path / "results.json")], result_action="return_value")
    assert capsys.readouterr().out == f"report: {(tmp_path / 'report.html').resolve()}\n"
    assert (tmp_path / "report.html").exists()


def test_audio_is_of_the_first_map(page):
    assert all(uri.startswith("data:audio/mpeg;base64,") for uri in audio_of(page))
