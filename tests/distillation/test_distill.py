"""The whole line on a teacher whose embeddings can be computed: the energies of a few bands, mapped linearly."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import sondino
from helpers.bands import RATE, SMALL_RUN, Bands, write_band_sounds
from helpers.corpora import noise
from helpers.forked import ForkServer
from sondino.audio.signal import fixed_noise
from sondino.corpus.table import build_corpus
from sondino.corpus.waveforms import open_waveforms
from sondino.distillation.distill import distill, open_or_build
from sondino.distillation.recipe import resolve_recipe
from sondino.distillation.summary import RunData, count_norm_outliers, teacher_facts
from sondino.errors import EncoderError, OptionError, RunError, SondinoError
from sondino.model.model import Model
from sondino.training.accelerator import make_accelerator

pytestmark = pytest.mark.usefixtures("traced_once")


class OtherBands(Bands):
    name = "other"
    fingerprint = "bands-2"

    def embed(self, waveforms):
        return -super().embed(waveforms)[:, ::-1].copy()


class Broken(Bands):
    """Gives NaN from the third call on."""

    name = "broken"
    fingerprint = "broken-1"
    calls = 0

    def embed(self, waveforms):
        self.calls += 1
        vectors = super().embed(waveforms)
        return vectors if self.calls < 3 else np.full_like(vectors, np.nan)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distill")
    (folder / "sounds").mkdir()
    write_band_sounds(folder / "sounds")
    (folder / "sounds" / "broken.wav").write_text("no sound")
    distill(folder / "sounds", teacher=Bands(), out=folder / "run", epochs=10, views=2, lr=2e-3, **SMALL_RUN)
    return folder / "run"


def test_a_student_learns_a_linear_teacher(run: Path) -> None:
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [m["epoch"] for m in metrics] == list(range(1, 11))
    assert metrics[-1]["loss"] < 0.5 * metrics[0]["loss"]
    assert max(m["validation_cosine"] for m in metrics) > 0.4  # an untrained one gives about 0


def test_a_run_holds_what_it_should(run: Path) -> None:
    names = {p.name for p in run.iterdir()}
    assert {"recipe.yaml", "metrics.jsonl", "skipped.csv", "checkpoints", "report.html", "bundle", "logs"} <= names
    bundle = {"config.json", "model.safetensors", "model.onnx", "body.onnx", "card.md"}
    assert {p.name for p in (run / "bundle").iterdir()} == bundle
    skipped = (run / "skipped.csv").read_text().splitlines()
    assert skipped[0] == "path,reason" and len(skipped) == 2 and skipped[1].startswith("broken.wav,")
    card = (run / "bundle" / "card.md").read_text()
    assert "CC0" in card and "bands" in card
    assert any((run / "logs").iterdir())
    assert json.loads((run / "summary.json").read_text())["other_sound"]["clips"] == 64


def test_the_bundle_embeds(run: Path) -> None:
    model = sondino.load(run)
    vectors = model.embed([run.parent / "sounds" / "00.wav", (noise(0.5, 3, RATE), RATE)])
    assert vectors.shape == (2, model.dim) and np.isfinite(vectors).all()
    assert model.window == 0.5
    summary = json.loads((run / "summary.json").read_text())
    assert [row["role"] for row in summary["table"]] == ["teacher", "student", "untrained"]
    assert (summary["clips"], summary["held_out"]) == (60, 6)
    assert all(0 < row["neighbour_overlap"] <= 1 for row in summary["table"][1:])
    # Six held-out clips say little of neighbours; what was learnt shows in the cosine.
    learnt = [json.loads(line)["validation_cosine"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert summary["table"][1]["cosine"] == max(learnt) > 0.4  # an untrained one gives about 0


def test_a_teachers_parameters_are_those_that_its_vector_comes_from() -> None:
    class Linear(Bands):
        net = torch.nn.Linear(RATE * 10, 6)

        def embed(self, waveforms):
            return self.net(torch.from_numpy(waveforms)).detach().numpy()

    assert teacher_facts(Linear(), "object")["parameters"] == 6 * RATE * 10 + 6
    assert teacher_facts(Bands(), "object")["parameters"] is None


def test_a_finished_run_is_not_done_again(run: Path) -> None:
    before, embedded = (run / "bundle" / "model.onnx").stat().st_mtime_ns, Bands.embedded
    distill(run.parent / "sounds", teacher=Bands(), out=run, epochs=10, views=2, lr=2e-3, **SMALL_RUN)
    assert (run / "bundle" / "model.onnx").stat().st_mtime_ns == before and Bands.embedded == embedded


def test_another_recipe_is_refused_with_what_differs(run: Path) -> None:
    with pytest.raises(RunError, match="epochs was 10, now 13"):
        distill(run.parent / "sounds", teacher=Bands(), out=run, epochs=13, views=2, lr=2e-3, **SMALL_RUN)


def test_other_sound_under_a_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="audio was"):
        distill(
            write_band_sounds(tmp_path / "sounds", 3),
            teacher=Bands(),
            out=run,
            epochs=10,
            views=2,
            lr=2e-3,
            **SMALL_RUN,
        )


def test_an_object_that_is_no_encoder_gets_a_message_on_what_it_lacks(tmp_path: Path) -> None:
    class Nothing:
        name = "nothing"

    with pytest.raises(EncoderError, match="sample_rate"):
        distill(tmp_path, teacher=Nothing(), out=tmp_path / "run", **SMALL_RUN)


@pytest.mark.parametrize(
    ("teacher", "rate", "message"),
    [
        (256000, None, "16000 to 128000 Hz, 88 % of the teacher's band; {silence}: give --rate 256000"),
        (256000, 96000, "48000 to 128000 Hz, 62 % of the teacher's band; {silence}: give --rate 256000"),
        (44100, 32000, "16000 to 22050 Hz, 27 % of the teacher's band; {silence}: give --rate 48000"),
        (44100, 16000, "8000 to 22050 Hz, 64 % of the teacher's band; {silence}: give --rate 48000"),
        (384000, 256000, "128000 to 192000 Hz, 33 % of the teacher's band; {silence}"),  # no student goes higher
        (256000, 256000, None),
        (44100, 48000, None),
    ],
)
def test_a_teacher_of_a_higher_rate_gets_one_warning_with_the_band_that_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, teacher: int, rate: int | None, message: str | None
) -> None:
    class Bats(Bands):
        name, sample_rate = "bats", teacher

    (tmp_path / "empty").mkdir()
    with pytest.raises(SondinoError, match="no audio found"):  # after the teachers are opened
        distill(tmp_path / "empty", teacher=[Bats(), Bands()], out=tmp_path / "run", rate=rate, **SMALL_RUN)
    start = f"bats takes audio at {teacher} Hz and the student at {rate or 32000} Hz: the student cannot process "
    expected = message and start + message.format(silence="sounds that lie there alone are silence to it")
    assert [record.getMessage() for record in caplog.records if "bats" in record.getMessage()] == [
        *([expected] if expected else [])
    ]


def test_two_processes_on_one_run(run: Path) -> None:
    from sondino.training.run import open_run

    hold = "import sys, filelock; l = filelock.FileLock(sys.argv[1]); l.acquire(); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(run / ".run.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline().strip() == "held"
        with pytest.raises(RunError, match="another process is working on"), open_run(run):
            pass
        other.communicate("\n")
    with open_run(run):
        pass


@pytest.fixture
def ready_onnx(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for an export, which takes seconds: the ONNX files of a student of the same kind."""

    def copied(_: object, *files: Path) -> None:
        for file in files:
            shutil.copy(run / "bundle" / file.name, file)

    monkeypatch.setattr("sondino.model.onnx_file.export_onnx", copied)
    monkeypatch.setattr("sondino.model.onnx_file.verify_onnx", lambda *_: 0.0)


@pytest.mark.usefixtures("ready_onnx")
def test_several_teachers_have_a_head_each(tmp_path: Path) -> None:
    folder = write_band_sounds(tmp_path / "sounds", 12)
    distill(folder, teacher=[Bands(), OtherBands()], out=tmp_path / "run", epochs=1, **SMALL_RUN)
    best = load_file(tmp_path / "run" / "checkpoints" / "best.safetensors")
    heads = {name.split(".")[2] for name in best if name.startswith("model.heads.")}
    assert heads == {"0", "1"}


@pytest.mark.usefixtures("ready_onnx")
def test_labels_alone_give_the_supervised_baseline(tmp_path: Path) -> None:
    folder = write_band_sounds(tmp_path / "sounds", 12)
    lines = [f"sounds/{f.name},{'ab'[i % 2]}" for i, f in enumerate(sorted(folder.iterdir()))]
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    distill(tmp_path / "list.csv", out=tmp_path / "run", label_weight=1.0, epochs=2, mixup=0.3, **SMALL_RUN)
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= metrics[-1]["validation_accuracy"] <= 1
    assert sondino.load(tmp_path / "run").embed(folder / "00.wav").shape[0] == 1


def test_embeddings_far_longer_than_the_runs_own_are_counted() -> None:
    student = np.ones((50, 4), np.float32) * np.linspace(1, 2, 50, dtype=np.float32)[:, None]
    other = np.full((8, 4), 40, np.float32)  # all of the same length, and far above 1.5, the run's own
    other[0] = 1
    nothing = {"norm_outliers": 0, "other_sound": {"clips": 50, "norm_outliers": 0}}
    assert count_norm_outliers(student, student) == nothing
    assert count_norm_outliers(student, 2 * other)["other_sound"] == {"clips": 8, "norm_outliers": 7}
    student[[7, 30]] *= 1000
    assert count_norm_outliers(student, other)["norm_outliers"] == 2


@pytest.mark.usefixtures("ready_onnx")
def test_a_student_with_outlier_norms_on_other_sound_gets_a_warning_and_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def far(run: RunData, model: Model) -> np.ndarray:
        usual = model.embed(fixed_noise(1, round(run.recipe.clip * model.sample_rate)))
        return 1e6 * np.repeat(usual, 5, axis=0)

    monkeypatch.setattr("sondino.distillation.summary.embed_other_sound", far)
    folder = write_band_sounds(tmp_path / "sounds", 12)
    distill(folder, teacher=Bands(), out=tmp_path / "run", epochs=1, **SMALL_RUN)
    message = "5 of 5 other clips, samples that come with sondino, have embeddings with over 30 times the usual norm"
    assert message in caplog.text
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["other_sound"]["norm_outliers"] == 5
    assert message in (tmp_path / "run" / "report.html").read_text()


def test_a_teacher_that_gives_nan_stops_with_a_message_and_keeps_what_is_done(tmp_path: Path) -> None:
    folder = write_band_sounds(tmp_path / "sounds", 60)
    with pytest.raises(EncoderError, match=r"broken.*NaN"):
        distill(folder, teacher=Broken(), out=tmp_path / "run", epochs=1, **SMALL_RUN)
    assert (tmp_path / "run" / "corpus" / "corpus.parquet").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": "birdnett"}, "did you mean birdnet"),
        ({"teacher": Bands(), "student": "dynm"}, "did you mean dymn"),
        ({"teacher": Bands(), "los": "cosine"}, "did you mean loss"),
        ({"teacher": Bands(), "device": "cuda"}, "device cuda"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path, options: dict, message: str) -> None:
    folder = write_band_sounds(tmp_path / "sounds", 2)
    with pytest.raises(OptionError, match=message):
        distill(folder, out=tmp_path / "run", **(SMALL_RUN | {"epochs": 1} | options))


STAGES = (
    ("nowhere", 0),
    ("teacher", 2),
    ("epoch", 2),
    ("checkpoint", 1),
    ("checkpoint", 1),
    ("epoch", 5),
    ("bundle", 0),
    ("nowhere", 0),
)
"""What a run is killed in, and after how many of them: the first is whole, the others go on one after another."""

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import sondino.distillation.summary, sondino.distillation.train
from helpers.traced_graphs import traced_once
from sondino.audio.signal import fixed_noise
from sondino.corpus.table import build_corpus
from sondino.corpus.waveforms import open_waveforms
from sondino.distillation.distill import distill, open_or_build
from sondino.distillation.recipe import resolve_recipe
from helpers.bands import SMALL_RUN, Bands

def dies(module, name, after):
    whole, calls = getattr(module, name), [0]
    def call(*args, **options):
        calls[0] += 1
        if calls[0] > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*args, **options)
    setattr(module, name, call)

folder, out, where, after = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
if where == "teacher":
    dies(Bands, "embed", after)
elif where == "checkpoint":
    dies(sondino.distillation.train, "save_checkpoint", after)
elif where == "epoch":
    dies(sondino.distillation.train, "mixup", after)
elif where == "bundle":
    dies(sondino.distillation.summary, "keep_layout", after)
with traced_once():
    distill(folder / "sounds", teacher=Bands(), out=folder / out, epochs=3, views=1, mixup=0.3, **SMALL_RUN)
"""


@pytest.mark.full  # shorter: test_a_killed_sweep_resumes_and_decodes_nothing_twice
def test_kill_9_at_any_stage_ends_in_the_same_bits(tmp_path: Path, forks: ForkServer) -> None:
    write_band_sounds(tmp_path / "sounds", 30)
    for number, (where, after) in enumerate(STAGES):
        done = forks.run(KILLED, tmp_path, "killed" if number else "whole", where, after)
        assert done.returncode == (0 if where == "nowhere" else -signal.SIGKILL), (where, done.stderr)
    for file in ("checkpoints/last.safetensors", "checkpoints/best.safetensors", "bundle/model.safetensors"):
        whole, killed = load_file(tmp_path / "whole" / file), load_file(tmp_path / "killed" / file)
        assert whole.keys() == killed.keys()
        assert all(np.array_equal(whole[name], killed[name]) for name in whole), file
    targets = [next((tmp_path / name).rglob("targets.npy")).read_bytes() for name in ("whole", "killed")]
    assert targets[0] == targets[1]


def test_samples_that_were_not_scaled_are_divided_by_their_full_scale(tmp_path: Path) -> None:
    import soundfile

    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "a.wav", 20_000 * noise(0.5, 0, RATE), RATE, subtype="FLOAT")
    accelerator = make_accelerator("cpu", "float32", tmp_path)
    recipe = resolve_recipe(teacher="birdnet", clip=0.5, scale="auto")
    corpus = open_or_build(tmp_path / "sounds", tmp_path / "run", recipe, accelerator, quiet=True)
    assert corpus.scale == "auto"
    assert np.abs(open_waveforms(corpus, RATE).read(0)).max() < 1
    plain = build_corpus(tmp_path / "sounds", tmp_path / "plain", 0.5)
    with pytest.raises(RunError, match="was built without --scale auto"):
        open_or_build(plain.folder, tmp_path / "run", recipe, accelerator, quiet=True)
