"""The walks of docs/walks.md, run as they stand on the page, on sounds made here; each ends with what it promises."""

import ast
import csv
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sondino.sample_sounds import sample_folder
from test_docs import fenced

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "walks.md").read_text(encoding="utf-8")
RATE = 32000


def section(title: str) -> str:
    """The text of one walk."""
    start = PAGE.index(f"\n## {title}")
    end = PAGE.find("\n## ", start + 1)
    return PAGE[start : end if end > 0 else None]


def command(file: Path, *words: str | Path) -> None:
    """A program of that name that runs another one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
    file.chmod(0o755)


def walk(folder: Path, text: str) -> str:
    """Run the bash blocks of a walk in a folder, one shell for all; what they print."""
    command(folder / "bin" / "sondino", sys.executable, "-W", "ignore", "-m", "sondino")
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    lines = "set -euo pipefail\n" + "\n".join(fenced(text, "bash"))
    done = subprocess.run(
        ["bash", "-c", lines], cwd=folder, capture_output=True, text=True, env=os.environ | {"PATH": path}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def table(file: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter=delimiter))


# ---- an ecologist ---------------------------------------------------------------------------------------------

Event = tuple[str, float, float, str]
"""Recording, start, end, label."""


def call(kind: str, seconds: float, random: np.random.Generator) -> np.ndarray:
    """A call: frogs are pulses at 900 Hz, crickets a trill at 4.5 kHz; pitch and pace vary from call to call."""
    t = np.arange(int(seconds * RATE)) / RATE
    pitch, pace = (900, 4) if kind == "frog" else (4500, 25)
    gate = (np.sin(2 * np.pi * pace * random.uniform(0.8, 1.2) * t) > 0.3).astype(np.float64)
    return 0.3 * gate * np.sin(2 * np.pi * pitch * random.uniform(0.85, 1.15) * t)


def record(folder: Path) -> list[Event]:
    """Ten recordings of 30 s at dawn, in noise as of wind, and what calls in them when."""
    random = np.random.default_rng(0)
    folder.mkdir()
    events: list[Event] = []
    for day in range(1, 11):
        name = f"202405{day:02d}_053000.wav"
        wind = np.convolve(random.standard_normal(30 * RATE), np.ones(16) / 16, "same") * random.uniform(0.02, 0.06)
        for number, start in enumerate((2.0, 9.0, 16.0, 23.0)):
            kind = ("frog", "cricket")[(day + number) % 2]
            at, sound = int(start * RATE), call(kind, 3, random)
            wind[at : at + len(sound)] += sound
            events.append((name, start, start + 3, kind))
        soundfile.write(folder / name, wind, RATE)
    return events


def found(rows: Sequence[dict[str, str]], events: Sequence[Event], named: dict[str, str]) -> float:
    """The share of events that a row of the right label overlaps; `named` has the event's label of each row's label."""
    hits = [
        any(
            row["path"] == name and named.get(row["label"]) == kind and float(row["start"]) < end
            and float(row["end"]) > start for row in rows
        )
        for name, start, end, kind in events
    ]  # fmt: skip
    return sum(hits) / len(hits)


@pytest.fixture(scope="module")
def ecologist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Event], str]]:
    """The folder of the walk, the events of the recordings without labels, and what was printed."""
    folder = tmp_path_factory.mktemp("ecologist")
    events = record(folder / "recordings")
    labelled = [event for event in events if event[0] < "20240505"]
    background = [(name, end + 0.5, end + 2.5, "background") for name, _, end, _ in labelled[::4]]
    rows = [*labelled, *background]
    assert len(rows) == 20
    header, *_ = fenced(section("An ecologist"), "csv")[0].splitlines()
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    printed = walk(folder, section("An ecologist"))
    yield folder, [event for event in events if event not in labelled], printed


def test_an_ecologists_classifier_finds_more_than_the_model_in_the_package(ecologist) -> None:
    folder, unseen, printed = ecologist
    assert "20 clips, 2 labels: cricket 8, frog 8; 4 clips without a label" in printed
    before, after = table(folder / "before.csv"), table(folder / "after.csv")
    own = found(after, unseen, {"frog": "frog", "cricket": "cricket"})
    names = {row["label"] for row in before}
    kinds = {"Frog": "frog", "Croak": "frog", "Cricket": "cricket", "Insect": "cricket"}
    given = found(before, unseen, {name: kinds.get(name, "") for name in names})
    assert own >= 0.8 and own > given + 0.3
    assert {row["label"] for row in after} == {"frog", "cricket"}
    # Most rows are right: chance is what the calls cover, 12 of 30 s, and half of that for each label.
    right = [
        any(name == row["path"] and kind == row["label"] and float(row["start"]) < end and float(row["end"]) > start
            for name, start, end, kind in unseen)
        for row in after if row["path"] >= "20240505"
    ]  # fmt: skip
    assert sum(right) > 0.7 * len(right)


def test_an_ecologists_tables_open_elsewhere(ecologist) -> None:
    folder, _, _ = ecologist
    rows = [row for row in table(folder / "after.csv") if row["path"] == "20240505_053000.wav"]
    raven = table(folder / "raven" / "20240505_053000.wav.selections.txt", "\t")
    track = (folder / "audacity" / "20240505_053000.wav.labels.txt").read_text().splitlines()
    assert rows and len(rows) == len(raven) == len(track)
    for row, selection, line in zip(rows, raven, track, strict=True):
        assert row["time"] == f"2024-05-05T05:30:{float(row['start']):06.3f}"
        assert selection["Annotation"] == row["label"] == line.split("\t")[2]
        assert float(selection["Begin Time (s)"]) == float(line.split("\t")[0]) == float(row["start"])
        assert selection["Begin Path"] == str(folder / "recordings" / row["path"])


# ---- an engineer ----------------------------------------------------------------------------------------------


def test_an_engineers_file_gives_the_same_labels_without_sondino(tmp_path: Path) -> None:
    edge = Path(os.environ.get("SONDINO_EDGE", ROOT / ".edge")).absolute() / "litert" / "bin"
    if not edge.is_dir():
        pytest.skip(f"{edge} is not there: make edge")
    text = section("An engineer")
    (program,) = fenced(text, "python")
    tree = ast.walk(ast.parse(program))
    imported = {
        module.split(".")[0]
        for node in tree if isinstance(node, (ast.Import, ast.ImportFrom))
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names])
    }  # fmt: skip
    (installed,) = [line for line in "\n".join(fenced(text, "sh")).splitlines() if line.startswith("device/bin/pip")]
    given = {"numpy", *(name.replace("-", "_") for name in installed.split()[2:])}  # soundfile needs NumPy
    assert imported - set(sys.stdlib_module_names) <= given
    (tmp_path / "label.py").write_text(program)
    command(tmp_path / ".edge" / "litert" / "bin" / "sondino", edge / "python", "-W", "ignore", "-m", "sondino")
    command(tmp_path / "device" / "bin" / "python", edge / "python")
    clips = sorted((sample_folder() / "audio").glob("loop_*.ogg"))[:4]
    (tmp_path / "recordings").mkdir()
    for clip in clips:
        (tmp_path / "recordings" / clip.name).write_bytes(clip.read_bytes())
    sound, rate = soundfile.read(clips[0], dtype="float32", always_2d=True)
    soundfile.write(tmp_path / "clip.wav", np.tile(sound, (4, 1))[: 5 * rate], RATE)  # played at another speed
    walk(tmp_path, text)
    theirs = table(tmp_path / "labels.csv")
    ours = [line.split("\t") for line in (tmp_path / "device.txt").read_text().splitlines()]
    assert len(ours) == len(theirs) >= 3
    for row, (start, end, label, probability) in zip(theirs, ours, strict=True):
        assert (label, float(start)) == (row["label"], pytest.approx(float(row["start"]), abs=1e-3))
        assert float(end) == pytest.approx(float(row["end"]), abs=1e-3)
        assert float(probability) == pytest.approx(float(row["probability"]), abs=5e-3)


# ---- a student ------------------------------------------------------------------------------------------------


def test_a_student_has_a_row_for_each_loss(tmp_path: Path) -> None:
    chosen = {"tabla": 10, "bass_drum": 10, "ambience": 10}
    rows = table(sample_folder() / "samples.csv")
    for label, count in chosen.items():
        (tmp_path / "my_sounds" / label).mkdir(parents=True)
        for row in [row for row in rows if row["label"] == label][:count]:
            file = sample_folder() / row["path"]
            (tmp_path / "my_sounds" / label / file.name).write_bytes(file.read_bytes())
    walk(tmp_path, section("A student"))
    losses = table(tmp_path / "losses" / "runs.csv")
    assert [row["loss"] for row in losses] == ["cosine", "clap", "kl", "l1", "mse"]
    markdown = (tmp_path / "losses" / "table.md").read_text(encoding="utf-8")
    page = (tmp_path / "losses" / "report.html").read_text(encoding="utf-8")
    for row in losses:
        assert float(row["my_sounds"]) > 1 / len(chosen)
        assert f"| {row['loss']} |" in markdown and row["loss"] in page
