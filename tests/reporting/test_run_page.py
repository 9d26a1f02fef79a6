"""The page of a run, made again from what lies in its folder."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")
yaml = pytest.importorskip("yaml")

from helpers.pages import Page, audio_of, decoded, likeness
from sondino.corpus.table import build_corpus
from sondino.corpus.waveforms import decode
from sondino.errors import RunError
from sondino.reporting.excerpt import excerpt
from sondino.reporting.report import report
from sondino.reporting.run_page import (
    KEPT,
    keep_layout,
    read_layout,
    report_run,
)
from sondino.sample_sounds import (
    sample_folder,
    sample_list,
)

SUMMARY = {
    "table": [{"model": "teacher", "role": "teacher"}, {"model": "small", "role": "student", "cosine": 0.8123}],
    "clips": 1130, "hours": 0.1, "held_out": 13, "training_seconds": 150.0, "versions": {"torch": "2.13"},
    "clusters": {
        "quality": {"silhouette": 0.123, "calinski_harabasz": 45.67, "davies_bouldin": 2.5}, "nmi": 0.456, "ari": 0.321,
        "purity": 0.654, "groups": [
            {"cluster": 0, "clips": 30, "labelled": 30, "mostly": "tabla", "share": 0.9},
            {"cluster": 1, "clips": 100, "labelled": 0, "mostly": None, "share": None},
        ],
    },
}  # fmt: skip
METRICS = [{"epoch": 1, "loss": 0.9, "validation_cosine": 0.3}, {"epoch": 2, "loss": 0.5, "validation_cosine": 0.6}]


def write_run(folder, layout=True, **summary):
    """A run that has finished, with its corpus inside it."""
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(SUMMARY | summary))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in METRICS))
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"student": "dymn", "width": 0.4, "epochs": 2}))
    if layout:
        corpus = build_corpus(sample_list(), folder / "corpus", 2.0)
        rows = np.arange(0, len(corpus), 3)
        coordinates = np.random.default_rng(0).standard_normal((len(rows), 2))
        keep_layout(folder, coordinates, np.arange(len(rows)) % 2, corpus, rows)
        return corpus, rows
    return None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report_run") / "mine"
    corpus, rows = write_run(folder)
    return folder, corpus, rows


def page_of(run):
    return Page(report_run(run).read_text(encoding="utf-8"))


def test_the_page_is_made_from_disk(run):
    folder, corpus, rows = run
    page = page_of(folder)
    for text in ["mine: dymn 0.4", "0.812", "1,130 clips", "13 of them held out", "2 epochs in 2 minutes", "2.13"]:
        assert text in page.text
    data = page.data()
    assert data["curves"]["charts"][0]["series"][0]["values"] == [0.9, 0.5]
    points = data["maps"][0]
    assert points["id"] == corpus.ids(rows)
    assert [mode["name"] for mode in points["modes"]] == ["cluster", "label"]
    labels = [points["modes"][1]["groups"][g]["name"] for g in points["modes"][1]["of"]]
    assert labels == corpus.column("label")[rows].tolist()
    assert -1 not in points["sound"]
    place = int(np.argmax(corpus.column("duration")[rows]))
    shown, _ = excerpt(decode(corpus, int(rows[place]), 24000), 24000)
    assert likeness(decoded(audio_of(page)[place])[0], shown) > 0.9


def test_clusters_are_reported(run):
    page = page_of(run[0])
    for text in ["0.123", "45.670", "2.500", "0.456", "0.321", "0.654", "NMI", "purity", "100 down to 30"]:
        assert text in page.text
    names = [text for text in ("cluster 1: 100", "cluster 0, tabla (90 %): 30") if text in page.text]
    assert len(names) == 2  # what each bar reports
    assert page.text.index("cluster 1: 100") < page.text.index("cluster 0, tabla")  # the largest first


def test_a_run_that_was_moved_keeps_its_sounds(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "elsewhere")
    layout = read_layout(tmp_path / "elsewhere")
    assert layout.corpus == tmp_path / "elsewhere" / "corpus"
    assert -1 not in page_of(tmp_path / "elsewhere").data()["maps"][0]["sound"]


def test_a_corpus_outside_the_run_is_found_again(tmp_path):
    (tmp_path / "run").mkdir()
    corpus = build_corpus(sample_list(), tmp_path / "shared", 2.0)
    keep_layout(tmp_path / "run", np.zeros((2, 2)), np.zeros(2, int), corpus, np.arange(2))
    assert read_layout(tmp_path / "run").corpus == (tmp_path / "shared").resolve()


def test_without_its_corpus_the_map_has_no_audio_and_a_note(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "run" / "corpus" / "corpus.parquet").unlink()
    page = page_of(tmp_path / "run")
    assert "The map has no audio: " in page.text and "damaged corpus" in page.text
    assert set(page.data()["maps"][0]["sound"]) == {-1}
    shutil.rmtree(tmp_path / "run" / "corpus")
    build_corpus(sample_folder() / "audio" / "bd_808.ogg", tmp_path / "run" / "corpus", 1.0)
    assert "holds another corpus than this run was trained on" in page_of(tmp_path / "run").text


def test_files_that_are_gone_are_reported(tmp_path):
    shutil.copytree(sample_folder(), tmp_path / "sounds")
    (tmp_path / "run").mkdir()
    corpus = build_corpus(tmp_path / "sounds" / "samples.csv", tmp_path / "corpus", 60.0)
    keep_layout(tmp_path / "run", np.eye(3, 2), np.zeros(3, int), corpus, np.arange(3))
    (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps(METRICS[0]) + "\n")
    gone = corpus.ids([1])[0]
    (tmp_path / "sounds" / gone).unlink()
    with pytest.warns(UserWarning, match=f"could not be read: 1, such as {gone} is no longer in .*: put it back"):
        page = page_of(tmp_path / "run")
    assert [place >= 0 for place in page.data()["maps"][0]["sound"]] == [True, False, True]
    assert gone in page.text


def test_an_earlier_run_has_a_page_without_a_map(tmp_path):
    write_run(tmp_path / "run", layout=False, clusters=None)
    kept = tmp_path / "run" / "corpus" / "targets" / "clusters-k2-seed0"
    kept.mkdir(parents=True)
    (kept / "clusters.json").write_text(json.dumps({"sizes": [7, 11], "quality": {"silhouette": 0.777}}))
    page = page_of(tmp_path / "run")
    assert "this run saved no layout of its clips" in page.text
    assert "maps" not in page.data() and "0.812" in page.text
    assert "0.777" in page.text and "11 down to 7" in page.text
    (kept.parent / "clusters-k3-seed0").mkdir()
    (kept.parent / "clusters-k3-seed0" / "clusters.json").write_text(json.dumps({"sizes": [1]}))
    assert "0.777" not in page_of(tmp_path / "run").text  # whose clusters trained it is not known


def test_a_run_at_work_has_a_page(tmp_path):
    write_run(tmp_path / "run", layout=False)
    (tmp_path / "run" / "summary.json").unlink()
    with (tmp_path / "run" / "metrics.jsonl").open("a") as lines:
        lines.write('{"epoch": 3, "lo')  # it is being written
    page = Page(report(tmp_path / "run").read_text())
    assert "Not finished: 2 of 2 epochs" in page.text
    assert page.data()["curves"]["places"] == [1, 2]


def test_what_is_damaged_is_an_error(tmp_path):
    write_run(tmp_path / "run", layout=False)
    (tmp_path / "run" / KEPT).parent.mkdir()
    (tmp_path / "run" / KEPT).write_bytes(b"no zip")
    with pytest.raises(RunError, match=r"points\.npz is damaged .*remove it, and the page is made without its map"):
        report(tmp_path / "run")
    np.savez(tmp_path / "run" / KEPT, coordinates=np.zeros((2, 2)))
    with pytest.raises(RunError, match=r"points\.npz is damaged"):
        report(tmp_path / "run")
    (tmp_path / "run" / KEPT).unlink()
    (tmp_path / "run" / "recipe.yaml").write_text("a: [")
    with pytest.raises(RunError, match=r"recipe\.yaml is not valid YAML"):
        report(tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").unlink()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"epoch": 1}\nnonsense\n{"epoch": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2: not metrics"):
        report(tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(RunError, match="holds no run that has finished an epoch"):
        report(tmp_path / "run")


def test_the_layout_is_never_unpickled(tmp_path):
    class Runs:
        def __reduce__(self):
            return print, ("ran",)

    (tmp_path / KEPT).parent.mkdir()
    np.savez(tmp_path / KEPT, corpus=np.array([Runs(), "x"], dtype=object))
    with pytest.raises(RunError, match="damaged"):
        read_layout(tmp_path)
