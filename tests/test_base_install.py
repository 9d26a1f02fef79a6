"""What the base install must do; CI runs this file again in an environment without torch.

There SONDINO_BUNDLE names FOLDER/bundle, where FOLDER was filled by helpers/make_student.py in another environment.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sondino
import sondino.audio

DATA = Path(__file__).parent / "data"
CLIPS = sorted((DATA / "clips").glob("*.ogg"))
EMBED = """
import sys
import numpy as np
import sondino
np.save(sys.argv[2], sondino.load(sys.argv[1]).embed(sys.argv[3:]))
assert "torch" not in sys.modules
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sondino", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_line_embeds_a_folder(tmp_path: Path) -> None:
    done = run("embed", DATA / "clips", "--model", DATA / "tiny_bundle", "--output", tmp_path / "v.npz", "--quiet")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "v.npz") as table:
        assert table["ids"].tolist() == [clip.name for clip in CLIPS]
        for vector, clip in zip(table["vectors"], CLIPS, strict=True):
            sound = sondino.audio.read(clip, 16000)
            seconds = np.split(np.pad(sound, (0, -len(sound) % 16000)), -(-len(sound) // 16000))
            real = [min(16000, len(sound) - 16000 * i) for i in range(len(seconds))]  # zeros of the tail do not weigh
            expected = np.average([(second**2).mean() for second in seconds], weights=real)
            assert vector[1] == pytest.approx(expected, rel=1e-4)


def test_the_model_in_the_package_embeds_and_labels(tmp_path: Path) -> None:
    done = run("embed", DATA / "clips", "--output", tmp_path / "v.npy", "--quiet")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "v.npy").shape == (len(CLIPS), 480)
    command = ["classify", DATA / "clips", "--output", tmp_path / "labels.csv", "--quiet"]
    done = run(*command, "--per-clip")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "labels.csv").open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 3 * len(CLIPS)
    done = run(*command, "--min-confidence", 0, "--top", 1)  # a detection in each window
    assert done.returncode == 0, done.stderr
    with (tmp_path / "labels.csv").open(newline="") as lines:
        found = list(csv.DictReader(lines))
    assert {row["path"] for row in found} == {clip.name for clip in CLIPS} and len(found) >= len(CLIPS)


def test_a_broken_file_is_named_and_the_others_are_embedded(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ogg").write_bytes(CLIPS[0].read_bytes())
    (tmp_path / "in" / "b.wav").write_text("not sound")
    done = run("embed", tmp_path / "in", "--model", DATA / "tiny_bundle", "--output", tmp_path / "v.csv", "--quiet")
    assert done.returncode == 1
    assert "b.wav" in done.stderr and "Traceback" not in done.stderr
    with (tmp_path / "v.csv").open(newline="") as lines:
        assert [row[0] for row in csv.reader(lines)] == ["id", "a.ogg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "nowhere", "--model", DATA / "tiny_bundle", "--output", "v.npz"], "nowhere"),
        (["embed", DATA / "clips", "--model", DATA, "--output", "v.npz"], "no bundle"),
        (["embed", DATA / "clips", "--model", DATA / "tiny_bundle", "--output", "v.docx"], "v.docx"),
    ],
)
def test_mistakes_get_a_message(arguments: list[object], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.full
def test_help_and_version() -> None:
    assert run("--version").stdout.strip() == sondino.__version__
    for command in ("quickstart", "distill", "corpus", "targets", "cluster", "embed", "check"):
        shown = run(command, "--help").stdout
        assert f"Example: sondino {command}" in " ".join(shown.split()), command


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `bundle`, a student, and `embeddings.npy`, its embeddings of tests/data/clips by torch."""
    given = os.environ.get("SONDINO_BUNDLE")
    if given:
        return Path(given).parent
    pytest.importorskip("torch", reason="the train extra is not installed, and SONDINO_BUNDLE names no student")
    folder = tmp_path_factory.mktemp("student")
    subprocess.run(
        [sys.executable, "-W", "ignore", Path(__file__).parent / "helpers" / "make_student.py", folder], check=True
    )
    return folder


@pytest.mark.full
def test_a_real_student_gives_torchs_vectors_without_torch(student: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.npy"
    command = [sys.executable, "-c", EMBED, str(student / "bundle"), str(found), *map(str, CLIPS)]
    subprocess.run(command, check=True)
    expected = np.load(student / "vectors.npy")
    assert np.abs(np.load(found) - expected).max() < 1e-4 * np.abs(expected).max()
    assert json.loads((student / "bundle" / "config.json").read_text())["student"] == "mobilenetv3"


@pytest.mark.full
def test_the_page_of_a_student_is_put_together(student: Path, tmp_path: Path) -> None:
    from sondino.exporters.web import export_web
    from sondino.loopback import PAGE

    if not (PAGE / "index.html").is_file():
        pytest.skip("the page is not built: make web")
    export_web(student / "bundle", tmp_path / "page")
    about = json.loads((tmp_path / "page" / "model" / "model.json").read_text())
    assert len(about["gallery"]) == 130 and (tmp_path / "page" / "model" / "body.onnx").stat().st_size > 100_000
