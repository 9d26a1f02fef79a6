"""From a bundle to a smaller one: what is written, what is kept, how it recovers, and that it goes on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch_pruning", reason="the train extra is not installed")
import torch

from helpers.golden import wave
from helpers.loudness import write_loudness
from helpers.stages import stages_in
from sondino import cli, load
from sondino.distillation.distill import new_student
from sondino.distillation.mapping import Standardise
from sondino.distillation.recipe import resolve_recipe
from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike
from sondino.errors import AudioError, OptionError, RunError
from sondino.files import write_json
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.metrics.collapse import mean_pairwise_cosine
from sondino.model.head import write_head
from sondino.model.torch_model import TorchModel
from sondino.model.write import write_bundle
from sondino.nets.registry import build_student
from sondino.nets.saved import read_student, write_weights
from sondino.progress import show, stages
from sondino.pruning import prune as pruning
from sondino.pruning.filters import prune_student
from sondino.pruning.prune import Recovery, prune
from sondino.pruning.recalibration import recalibrate_batchnorm

CLIPS = Path(__file__).parents[1] / "data" / "clips"
TEACHER = {"spec": "birdnet", "name": "birdnet", "licence": "CC BY-NC-SA 4.0"}

pytestmark = pytest.mark.usefixtures("traced_once")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A narrow QCNN14 with a head, as a bundle."""
    torch.manual_seed(0)
    student = build_student("qcnn14", 0.125).eval()
    layer = np.random.default_rng(0).standard_normal((2, student.dim)).astype(np.float32), np.zeros(2, np.float32)
    facts = {"teachers": [TEACHER], "scores": {"validation_cosine": 0.9}}
    model = TorchModel(student, "whole", 1.0, "repeat", facts, Head("two", ("a", "b"), False, (layer,)))
    return write_bundle(model, tmp_path_factory.mktemp("whole") / "whole", [wave(1, 32000)])


@pytest.fixture(scope="module")
def whole_weights(tmp_path_factory) -> Path:
    """What is reported of a bundle, and its weights, without a graph: for what is refused before one is needed."""
    from helpers.bad_inputs import Place
    from helpers.bad_inputs_compress import whole

    torch.manual_seed(1)  # of some untrained nets the norms recalibrate to no avail
    return whole(Place(tmp_path_factory.mktemp("weights")))


def classifier(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle with a head that has a score of what is unlike its clips."""
    shutil.copytree(bundle, folder)
    config = json.loads((folder / "config.json").read_text())
    dim = config["dim"]
    score = Unlike(np.zeros((1, dim)), np.eye(1, dim), np.ones(2), np.arange(2))
    head = Head("two", ("a", "b"), False, ((np.ones((2, dim)), np.zeros(2)),), unlike=score)
    (folder / "config.json").write_text(json.dumps(config | {"head": write_head(folder, head)}))
    return folder


@pytest.mark.full
def test_a_pruned_bundle_is_a_bundle_like_any_other(whole, tmp_path, capsys):
    before = {file.name: file.read_bytes() for file in whole.iterdir()}
    options = ["--score", "operator-norm", "--ratio", "0.25,0.5", "--layers", "conv_block[456].*"]
    cli.app(
        ["prune", str(whole), *options, "--out", str(tmp_path / "out")],
        exit_on_error=False,
        result_action="return_value",
    )
    assert {file.name: file.read_bytes() for file in whole.iterdir()} == before
    message = capsys.readouterr().out
    assert f"sondino compare {whole} {tmp_path / 'out' / '0.25'} {tmp_path / 'out' / '0.5'}" in message
    folder = tmp_path / "out" / "0.5"
    student = read_student(folder)
    weights = prune_student(read_student(whole), "operator-norm", 0.5, layers="conv_block[456].*").student.state_dict()
    norms = ("running_mean", "running_var", "num_batches_tracked")
    assert all(torch.equal(v, weights[k]) for k, v in student.state_dict().items() if not k.endswith(norms))
    config, model = json.loads((folder / "config.json").read_text()), load(folder)
    sound = wave(1, 32000)
    with torch.inference_mode():
        expected = student(FFTLogMel(student.logmel)(torch.from_numpy(sound)[None])).numpy()
    assert np.allclose(model.embed(sound[None]), expected, atol=1e-4 * np.abs(expected).max())
    assert config["parameters"] < 0.5 * config["pruned"]["parameters_before"]
    assert config["build"]["channels"]["conv_block6.conv2"] == [128, 128]
    assert config["teachers"] == [TEACHER] and "scores" not in config
    assert config["pruned"]["recovery"] is None and config["pruned"]["left_whole"] == []
    assert model.head is not None and model.head.labels == ("a", "b")
    card = (folder / "card.md").read_text()
    assert "50% of the filters, of each layer, by operator-norm, in layers conv_block[456].*" in card.replace(
        "\\", ""
    )  # Markdown's escapes
    assert "recalibrated on the sounds that sondino ships" in card
    assert not (tmp_path / "out" / "0.5.training").exists()


def test_another_bundle_is_not_replaced_and_what_was_pruned_before_is_reported(whole_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(pruning, "sample_folder", lambda: CLIPS)
    asked = {"score": "l1", "ratio": 0.5, "layers": "conv_block[56].*", "quiet": True}
    once = prune(whole_weights, tmp_path / "once", **asked)
    there = {file: file.read_bytes() for file in (tmp_path / "once").iterdir()}
    with pytest.raises(OptionError, match="once holds a bundle that was made otherwise: name another folder"):
        prune(whole_weights, tmp_path / "once", **{**asked, "ratio": 0.6})
    assert prune(whole_weights, tmp_path / "once", **asked) == once
    assert {file: file.read_bytes() for file in (tmp_path / "once").iterdir()} == there
    twice = prune(tmp_path / "once", tmp_path / "twice", **{**asked, "ratio": 0.25})
    assert twice["pruned"]["from"] == "once" and twice["pruned"]["before"] == once["pruned"]
    card = (tmp_path / "twice" / "card.md").read_text()
    assert card.index("25% of the filters") < card.index("## Before, pruned") < card.index("50% of the filters")
    assert 0 < once["pruned"]["alike"] < 1


def test_recalibrated_norms_keep_embeddings_of_different_sounds_apart(whole_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pruning, "sample_folder", lambda: CLIPS)
    command = ["prune", str(whole_weights), "--score", "l1", "--ratio", "0.75,0.75", "--out", str(tmp_path / "a b")]
    cli.app(command, exit_on_error=False, result_action="return_value")
    message, printed = capsys.readouterr()
    assert stages_in(printed) == [
        "headers",
        "log-mels to recalibrate on",
        "removing filters",
        "making and checking its ONNX graph",
    ]
    assert f"sondino compare {whole_weights} '{tmp_path / 'a b' / '0.75'}'" in message
    recalibrated, raw = (
        read_student(tmp_path / "a b" / "0.75"),
        prune_student(read_student(whole_weights), "l1", 0.75).student,
    )
    logmels = FFTLogMel(recalibrated.logmel)(torch.from_numpy(np.stack([wave(1, 32000, seed) for seed in range(4)])))
    with torch.inference_mode():
        assert mean_pairwise_cosine(recalibrated(logmels).numpy()) < mean_pairwise_cosine(raw.eval()(logmels).numpy())
    monkeypatch.setattr(pruning, "mean_pairwise_cosine", lambda embeddings: 0.995)
    command[1], command[-1] = str(classifier(whole_weights, tmp_path / "classifier")), str(tmp_path / "c")
    cli.app(command, exit_on_error=False, result_action="return_value")
    message = capsys.readouterr().out
    assert "their mean pairwise cosine is 0.9950" in message
    assert "left out: the score of what is unlike the training clips" in message
    head = load(tmp_path / "c" / "0.75").head
    assert head is not None and head.labels == ("a", "b") and head.unlike is None


def test_recovery_is_a_stage_with_stages_of_its_own(whole_weights, tmp_path, monkeypatch, capsys):
    def recover(*_: object) -> Path:
        with stages(2):
            for what in ("targets", "training"):
                with show(what):
                    pass
        return whole_weights

    monkeypatch.setattr(pruning, "_recover", recover)
    monkeypatch.setattr(pruning, "_write", lambda folder, *_: write_json(folder / "config.json", {}))
    (tmp_path / "out").mkdir()
    prune(whole_weights, tmp_path / "out", score="l1", ratio=0.5, steps=2, corpus=CLIPS, epochs=1)
    printed = capsys.readouterr().err
    assert stages_in(printed, "4 of 7: recovery, step 1 of 2, ") == ["targets", "training"]
    assert stages_in(printed, "6 of 7: recovery, step 2 of 2, ") == ["targets", "training"]
    assert "5 of 7: removing filters, step 2 of 2\n" in printed and "7 of 7: making and checking" in printed


@pytest.mark.full
def test_recovery_from_itself_keeps_its_vectors_and_goes_on_where_it_was(whole, tmp_path, monkeypatch):
    sounds = tmp_path / "sounds"
    shutil.copytree(CLIPS, sounds)
    asked = {
        "score": "l1",
        "ratio": 0.75,
        "steps": 2,
        "layers": "conv_block[3456].*",
        "corpus": sounds,
        "epochs": 2,
        "device": "cpu",
        "quiet": True,
    }
    copy = pruning.copy_with_head
    monkeypatch.setattr(pruning, "copy_with_head", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prune(whole, tmp_path / "out", **asked)
    work = tmp_path / "out.training"
    trained = {place: place.stat().st_mtime_ns for place in work.glob("step-*/recovered/bundle/model.safetensors")}
    assert len(trained) == 2 and not (tmp_path / "out").exists()
    with pytest.raises(RunError, match=r"score was l1, now taylor"):
        prune(whole, tmp_path / "out", **{**asked, "score": "taylor"})
    monkeypatch.setattr(pruning, "copy_with_head", copy)
    monkeypatch.setattr(shutil, "rmtree", lambda place, **_: place)  # so that what was there can be looked at
    config = prune(whole, tmp_path / "out", **asked)
    assert {place: place.stat().st_mtime_ns for place in trained} == trained, "nothing was trained again"
    assert config["build"]["channels"]["conv_block6.conv2"] == [64, 64], "a half, twice"
    assert config["pruned"]["recovery"] == {"epochs": 2, "by": "the unpruned net"}
    assert config["name"] == "out" and config["teachers"] == [TEACHER]
    assert config["scores"] != {"validation_cosine": 0.9}
    recipe = json.loads((work / "step-2" / "recovered" / "run.json").read_text())["recipe"]
    assert recipe["mapping"] == "none" and recipe["teacher"] == ["whole"]
    assert load(tmp_path / "out").head is not None, "embeddings of the same kind go into the same head"


@pytest.mark.full
def test_recovery_on_labels_gives_a_head_of_theirs(whole, tmp_path):
    rng = np.random.default_rng(0)
    import soundfile

    for label in ("high", "low"):
        (tmp_path / "labelled" / label).mkdir(parents=True)
        for i in range(6):
            hertz = rng.uniform(200, 400) * (10 if label == "high" else 1)
            sound = np.sin(2 * np.pi * hertz * np.arange(16000) / 16000) + 0.1 * rng.standard_normal(16000)
            soundfile.write(tmp_path / "labelled" / label / f"{i}.wav", 0.3 * sound, 16000)
    asked = {"score": "l1", "ratio": 0.5, "labels": tmp_path / "labelled", "epochs": 2, "device": "cpu", "quiet": True}
    config = prune(whole, tmp_path / "out", **asked)
    assert config["pruned"]["recovery"] == {"epochs": 2, "by": "labels"}
    model = load(tmp_path / "out")
    assert model.head is not None and model.head.labels == ("high", "low")
    assert config["parameters"] < 0.5 * config["pruned"]["parameters_before"]


def test_a_new_heads_score_is_judged(whole_weights, tmp_path, monkeypatch, capsys):
    sounds = write_loudness(tmp_path / "sounds", clips=4)
    score = {"metric": "accuracy", "value": 0.5, "interval95": [0.2, 0.8], "chance": 0.5, "clips": 9, "on": "9 clips"}
    pruned = {"parameters_before": 2, "macs_per_10s_before": 2, "left_whole": [], "alike": 0.1}
    facts = {"parameters": 1, "macs_per_10s": 1, "pruned": pruned, "head_score": score, "scores": {"head": "accuracy"}}
    monkeypatch.setattr(pruning, "prune", lambda *args, **options: facts)
    given = ["prune", str(whole_weights), "--score", "l1", "--ratio", "0.5", "--out", str(tmp_path / "out")]
    options = {"exit_on_error": False, "result_action": "return_value"}
    cli.app([*given, "--labels", str(sounds), "--epochs", "1"], **options)
    shown = capsys.readouterr().out
    assert "12 clips, 3 labels: loud 4, middle 4, quiet 4" in shown and "its new head: accuracy" in shown
    assert "9 scored clips are few" in shown and "cannot be distinguished from chance" in shown
    cli.app(given, **options)
    assert "its new head" not in capsys.readouterr().out, "without --labels the head is the old one"


def test_a_folder_of_the_users_is_never_taken_for_training(whole_weights, tmp_path):
    (tmp_path / "out.training").mkdir()
    (tmp_path / "out.training" / "letter.txt").write_text("dear")
    with pytest.raises(OptionError, match="is where the training would be kept, and holds something else"):
        prune(whole_weights, tmp_path / "out", score="l1", ratio=0.5)
    assert (tmp_path / "out.training" / "letter.txt").read_text() == "dear"


def test_after_a_mistake_the_right_options_are_taken(whole_weights, tmp_path):
    mistakes = (
        {"ratio": 0.99},
        {"layers": "none.*"},
        {"corpus": tmp_path},
        {"corpus": CLIPS, "epochs": 1, "teacher": "birdnett"},
    )
    for wrong in mistakes:
        with pytest.raises((OptionError, AudioError)):
            prune(whole_weights, tmp_path / "out", **{"score": "l1", "ratio": 0.5, "quiet": True, **wrong})
        assert list(tmp_path.iterdir()) == [], wrong


def test_clips_of_another_length_cannot_teach_the_same_vectors(whole_weights, tmp_path):
    write_json(tmp_path / "corpus.json", {"clip": 4.0})
    with pytest.raises(OptionError, match=r"was cut into clips of 4 s, and whole takes 1 s"):
        prune(whole_weights, tmp_path / "out", score="l1", ratio=0.5, corpus=tmp_path, epochs=1)


def test_norms_are_recalibrated_on_the_given_audio():
    torch.manual_seed(0)
    student = build_student("cnn14", 0.125)
    embedded = [torch.randn(2, 64, 40), 3 + torch.randn(2, 64, 40)]
    recalibrate_batchnorm(student, embedded)
    together = torch.stack(
        [batch.transpose(1, 2).transpose(0, 1) for batch in embedded]
    )  # (batch, frames, clips, mels)
    assert torch.allclose(student.bn0.running_mean, together.mean((0, 1, 2)), atol=1e-5)
    assert student.bn0.momentum == 0.1 and not student.training
    block = student.get_submodule("conv_block6.bn2")
    assert block.running_var.min() > 0 and not torch.allclose(block.running_var, torch.ones(()))


# The form of a bundle's net goes on into a new run


def test_a_run_begins_as_the_bundle_it_is_given(tmp_path):
    torch.manual_seed(0)
    small = prune_student(build_student("mobilenetv3", 0.2, quaternion="learned"), "l1", 0.5).student
    write_weights(tmp_path / "small", small)
    asked = {"teacher": "birdnet", "student": "mobilenetv3", "width": 0.2, "init": str(tmp_path / "small")}
    student = new_student(resolve_recipe(asked))
    assert student.build == small.build and student.quaternion == "learned"
    assert all(torch.equal(value, small.state_dict()[name]) for name, value in student.state_dict().items())
    with pytest.raises(OptionError, match=r"holds mobilenetv3 of width 0.2 with quaternion learned: give --student"):
        new_student(resolve_recipe(asked, width=0.3))
    with pytest.raises(OptionError, match="quaternion learned"):
        new_student(resolve_recipe(asked, quaternion="derivatives"))
    fresh = new_student(resolve_recipe(asked | {"init": None}, quaternion="derivatives"))
    assert fresh.build == {"quaternion": "derivatives"}


def test_vectors_as_they_are_need_a_teacher_of_the_same_dimension(tmp_path):
    from sondino.distillation.train import Distiller

    student = build_student("mobilenetv3", 0.1)
    x = torch.randn(2, 128, 20)
    vectors, (projected,), _ = Distiller(student, [Standardise(student.dim, None)], mapped=False).eval()(x)
    assert torch.equal(vectors, projected)
    with pytest.raises(OptionError, match="mapping"):
        resolve_recipe({"teacher": "birdnet", "mapping": "linear"})
    with pytest.raises(OptionError, match="quaternion"):
        resolve_recipe({"teacher": "birdnet", "quaternion": "yes"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": -1}, "epochs is -1: give 0 or more"),
        ({"epochs": 1}, "epochs are of a recovery"),
        ({"audio": CLIPS, "teacher": "birdnet"}, "a teacher is for a recovery on --corpus with --epochs"),
        ({"epochs": 1, "audio": CLIPS / "lost"}, "lost does not exist"),
        ({"epochs": 1, "audio": CLIPS, "lr": -1.0}, "lr is -1: give a learning rate above 0"),
    ],
)
def test_what_does_not_go_together(given, message):
    with pytest.raises(OptionError, match=message):
        Recovery(**given)
