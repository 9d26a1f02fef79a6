"""Clusters beside labels, on assignments whose figures can be worked out."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sondino.cli import main
from sondino.corpus.cluster_labels import Group, compare_groups
from sondino.errors import OptionError

pytest.importorskip("sklearn")


def test_a_worked_example():
    # cluster 0: dog dog cat, cluster 1: empty, cluster 2: bird, cluster 3: two without a label, and one clip lost
    assignment = np.array([0, 0, 0, 2, 3, 3, -1])
    labels = ["dog", "cat", "dog", "bird", None, None, "dog"]
    found = compare_groups(assignment, labels, clusters=4)
    assert found.groups == (
        Group(0, 3, 3, "dog", pytest.approx(2 / 3)),
        Group(3, 2, 0, None, None),
        Group(2, 1, 1, "bird", 1.0),
        Group(1, 0, 0, None, None),
    )
    assert (found.clips, found.labelled, found.labels) == (6, 4, 3)
    assert found.purity == 3 / 4

    def entropy(*counts):
        return -sum(c / 4 * math.log(c / 4) for c in counts)

    labels_bits, clusters_bits = entropy(2, 1, 1), entropy(3, 1)
    mutual = labels_bits + clusters_bits - entropy(2, 1, 1)  # of pairs: (0, dog) twice, (0, cat), (2, bird)
    assert found.nmi == pytest.approx(mutual / ((labels_bits + clusters_bits) / 2), abs=1e-6)
    # pairs together in both: 1 (the dogs); in labels: 1; in clusters: 3; of 6
    assert found.ari == pytest.approx((1 - 1 * 3 / 6) / ((1 + 3) / 2 - 1 * 3 / 6), abs=1e-6)


def test_the_ends_of_the_scales():
    labels = ["a"] * 500 + ["b"] * 300 + ["c"] * 200
    truth = np.repeat([2, 0, 1], [500, 300, 200])
    same = compare_groups(truth, labels)
    assert (same.nmi, same.ari, same.purity) == (pytest.approx(1), pytest.approx(1), 1)
    chance = compare_groups(np.random.default_rng(0).permutation(truth), labels)
    assert chance.nmi == pytest.approx(0, abs=0.01)
    assert chance.ari == pytest.approx(0, abs=0.01)
    assert chance.purity == pytest.approx(0.5, abs=0.01)  # that of the commonest label
    one = compare_groups(truth, ["a"] * 1000)
    assert (one.nmi, one.ari, one.purity, one.labels) == (None, None, None, 1)
    tie = compare_groups(np.zeros(2, int), ["b", "a"])
    assert tie.groups[0].mostly == "a"
    nothing = compare_groups(np.array([-1, -1]), ["a", "b"])
    assert (nothing.clips, nothing.groups, nothing.nmi) == (0, (), None)


def test_clips_with_several_labels_count_for_each():
    found = compare_groups(np.array([0, 0, 0, 1]), ["dog;cat", "dog", "bird;dog", "cat;bird"])
    assert found.groups == (Group(0, 3, 3, "dog", 1.0), Group(1, 1, 1, "bird", 1.0))
    assert (found.labelled, found.labels, found.purity, found.nmi, found.ari) == (4, 3, 1.0, None, None)


def test_unlike_lengths_get_a_message():
    with pytest.raises(OptionError, match="not 1 and 2"):
        compare_groups(np.array([0, 1]), ["a"])


def tones(folder: Path) -> list[tuple[str, str]]:
    """Twelve sounds of two kinds, hum and hiss."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        noise = 0.1 * rng.standard_normal(16000)
        kind = "hiss" if number % 3 == 0 else "hum"
        sound = noise if kind == "hiss" else 0.3 * np.sin(np.arange(16000) * 0.03) + 0.01 * noise
        soundfile.write(folder / f"{number}.wav", sound, 16000)
        rows.append((f"{number}.wav", kind))
    return rows


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A teacher that embeds how loud and how rough a sound is."""
    (tmp_path / "ear.py").write_text(
        "import numpy as np\n"
        "def ear():\n"
        "    return lambda x: np.stack([x.std(1), np.abs(np.diff(x)).mean(1), x.mean(1)], 1).astype(np.float32)\n"
    )
    monkeypatch.chdir(tmp_path)
    return "module:ear.py:ear?rate=16000"


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def write_list(file: Path, rows: list[tuple[str, str]], *names: str) -> None:
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([names, *(row[: len(names)] for row in rows)])


def test_the_command_reports_what_clusters_hold(tmp_path, listening, capsys):
    rows = tones(tmp_path)
    write_list(tmp_path / "list.csv", rows, "path", "label")
    assert run("corpus", tmp_path / "list.csv", "--out", tmp_path / "corpus") == 0
    capsys.readouterr()
    assert run("cluster", tmp_path / "corpus", "--teacher", listening, "-k", 2) == 0
    reported = capsys.readouterr().out
    assert "2 clusters of 4 to 8 clips" in reported and "2 labels of 12 clips" in reported
    assert (
        "NMI: 1\n" in reported and "ARI: 1\n" in reported and "purity: 1\n" in reported and "silhouette: " in reported
    )
    table = [line.split() for line in reported.splitlines()[-3:]]
    assert table[0] == ["cluster", "clips", "mostly", "share"]
    assert [line[1:] for line in table[1:]] == [["8", "hum", "100", "%"], ["4", "hiss", "100", "%"]]
    [kept] = tmp_path.glob("corpus/targets/*/clusters-k2-seed0/groups.json")
    first = json.loads(kept.read_text())
    assert (first["nmi"], first["labelled"], first["quality"]["silhouette"] > 0.5) == (pytest.approx(1), 12, True)

    # Other labels for the same sound: the clusters stay, the figures follow.
    swapped = [(path, "hum" if place < 6 else "hiss") for place, (path, _) in enumerate(rows)]
    write_list(tmp_path / "list.csv", swapped, "path", "label")
    assert run("corpus", tmp_path / "list.csv", "--out", tmp_path / "corpus") == 0
    assert run("cluster", tmp_path / "corpus", "--teacher", listening, "-k", 2) == 0
    assert "NMI: 0\n" in capsys.readouterr().out
    assert json.loads(kept.read_text())["label_hash"] != first["label_hash"]

    # What is kept is not worked out again.
    kept.write_text(kept.read_text().replace('"purity": ', '"purity": 0.123, "was": '))
    assert run("cluster", tmp_path / "corpus", "--teacher", listening, "-k", 2) == 0
    assert "purity: 0.123\n" in capsys.readouterr().out


def test_the_command_without_labels_gives_sizes(tmp_path, listening, capsys):
    write_list(tmp_path / "list.csv", tones(tmp_path), "path")
    assert run("corpus", tmp_path / "list.csv", "--out", tmp_path / "corpus") == 0
    assert run("cluster", tmp_path / "corpus", "--teacher", listening, "-k", 2) == 0
    reported = capsys.readouterr().out
    assert reported.endswith("sizes: 8, 4\n")
    assert "NMI" not in reported and "purity" not in reported
