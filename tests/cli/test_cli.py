"""Command names and options are a contract: a renamed one must be a deliberate act."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.corpora import write_sounds
from sondino import cli

CONTRACT = {
    "quickstart": {"out", "minutes"},
    "distill": {
        *(
            "audio",
            "teacher",
            "teacher-weight",
            "cluster-on",
            "out",
            "student",
            "width",
            "loss",
            "sampling",
            "clusters",
            "epochs",
            "draws",
        ),
        *(
            "batch-size",
            "clip",
            "lr",
            "views",
            "init",
            "recipe",
            "seed",
            "device",
            "quaternion",
            "label-weight",
            "keep-labels",
            "label-names",
            "mixup",
            "rate",
            "hop",
            "standardise",
            "no-standardise",
            "scale",
        ),
        *("spec-augment", "no-spec-augment", "short", "precision", "validation", "quiet"),
    },
    "pretrain": {
        *("audio", "out", "method", "size", "updates", "batch-size", "accumulate", "lr", "crop", "mask-ratio"),
        *("class-weight", "normalize", "init", "precision", "seed", "recipe", "device", "quiet"),
    },
    "corpus": {"audio", "out"},
    "targets": {"corpus", "teacher"},
    "cluster": {"corpus", "teacher", "k"},
    "embed": {"inputs", "model", "output", "format", "append", "per-window", "threads"},
    "similar": {"query", "in", "k", "model", "output", "index", "exact"},
    "index": {"table", "out", "recall-queries"},
    "convert": {"file", "out", "kind"},
    "probe": {"audio", "model", "out", "labels"},
    "classify": {
        *("inputs", "model", "head", "output", "per-clip", "min-confidence", "merge", "format", "top", "append"),
    },
    "finetune": {"audio", "model", "out", "labels", "freeze", "unfreeze", "head", "hidden", "epochs"},
    "evaluate": {"models", "teacher", "supervised", "tasks", "sounds", "data", "seeds", "out", "untrained"},
    "support": {"models", "tasks", "data", "window-lengths", "seeds", "out", "threads"},
    "sweep": {"recipe", "audio", "vary", "out", "tasks", "data", "seeds", "teacher", "device"},
    "tasks": {"data", "fetch"},
    "audioset list": {"metadata", "labels", "ontology", "node", "json"},
    "audioset find": {"metadata", "audio", "out", "missing", "quiet"},
    "audioset subset": {"metadata", "out", "audio", "clips", "per-label", "node", "set", "seed", "quiet"},
    "audioset fetch": {"segments", "out", "i-have-the-rights", "rate", "pause", "most", "ask-again", "quiet"},
    "report": {"path"},
    "check": {"encoder"},
    "teachers": {"json"},
    "students": {"json"},
    "models": {"folder", "json"},
    "info": {"json"},
    "completion": {"shell"},
    "export": {"bundle", "to", "precision", "window", "dynamic", "body-only", "calibrate", "sounds", "gallery", "out"},
    "quantize": {"bundle", "calibrate", "out", "sounds", "labels"},
    "bench": {"models", "runtime", "threads", "against", "seconds", "rounds", "out", "quiet"},
    "demo": {"bundle", "port", "gallery", "open"},
}


def options_of(command: str) -> set[str]:
    app = cli.app
    for word in command.split():
        app = app[word]
    arguments = app.assemble_argument_collection()
    return {name.lstrip("-").lower() for argument in arguments for name in argument.names}


@pytest.mark.parametrize("command", CONTRACT)
def test_the_contract_of_commands_and_options(command: str) -> None:
    assert CONTRACT[command] <= options_of(command)


def test_distill_has_these_options_and_no_other() -> None:
    names = options_of("distill") - {"*", "no-quiet"}  # the group of recipe options; what the app's default leaves out
    assert names == CONTRACT["distill"]


def test_pretrain_has_these_options_and_no_other() -> None:
    assert options_of("pretrain") - {"*", "no-quiet"} == CONTRACT["pretrain"]


def test_the_mean_of_log_mels_may_be_negative(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("accelerate", reason="the train extra is not installed")
    given = ("pretrain", tmp_path, "--out", tmp_path / "run", "--crop", 0.2, "--mask-ratio", 0.999)
    assert call(*given, "--normalize", "-7.056,4.193") == 2
    assert "no visible patch" in capsys.readouterr().err  # what is checked after it
    assert call(*given, "--normalize", "-7.056") == 2
    assert "normalize is '-7.056': give `measured`" in capsys.readouterr().err


def test_an_option_wins_over_the_recipe_file_even_at_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("accelerate", reason="the train extra is not installed")
    from sondino.distillation import distill, summary
    from sondino.distillation.recipe import Recipe, resolve_recipe

    given = {}
    monkeypatch.setattr(distill, "distill", lambda audio, **options: given.update(options))
    monkeypatch.setattr(summary, "print_summary", lambda out: 0)
    (tmp_path / "r.yaml").write_text("teacher: m2d\nepochs: 7\nclip: 3\nspec_augment: true\nmapping: none\n")
    options = [
        "--recipe",
        tmp_path / "r.yaml",
        "--epochs",
        100,
        "--no-spec-augment",
        "--teacher",
        "birdnet",
        "--teacher",
        "cnn14",
    ]
    assert call("distill", tmp_path, "--out", tmp_path / "run", *options, "--quiet") == 0
    assert (given.pop("out"), given.pop("quiet"), given.pop("device")) == (tmp_path / "run", True, "auto")
    expected = Recipe(teacher=("birdnet", "cnn14"), epochs=100, clip=3.0, spec_augment=False, mapping="none")
    assert resolve_recipe(**given) == expected
    assert call("distill", tmp_path, "--out", tmp_path / "run", "--lr", 0.1, "--teacher", "birdnet") == 0
    assert given["recipe"] is None and {name for name, value in given.items() if value is not None} >= {"lr"}
    assert resolve_recipe(given["recipe"], teacher="c", lr=given["lr"]) == Recipe(teacher=("c",), lr=0.1)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_corpus_targets_and_clusters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sounds = write_sounds(tmp_path / "sounds", {f"{i}.wav": 0.5 for i in range(12)} | {"long.wav": 2.5})
    (sounds / "broken.wav").write_text("no")
    assert call("corpus", sounds, "--out", tmp_path / "corpus", "--clip", 1) == 1
    shown = capsys.readouterr()
    assert "15 clips" in shown.out and "broken.wav" in shown.err
    vectors = np.random.default_rng(0).standard_normal((15, 4)).astype(np.float32)
    from sondino.corpus.table import open_corpus

    np.savez(tmp_path / "known.npz", ids=np.array(open_corpus(tmp_path / "corpus").ids()), vectors=vectors)
    teacher = f"precomputed:{tmp_path / 'known.npz'}"
    assert call("targets", tmp_path / "corpus", "--teacher", teacher) == 0
    assert "15 of 15 clips, 4 dimensions" in capsys.readouterr().out
    assert call("cluster", tmp_path / "corpus", "--teacher", teacher, "-k", 3) == 0
    assert "3 clusters of" in capsys.readouterr().out
    np.savez(tmp_path / "more.npz", ids=np.array(open_corpus(tmp_path / "corpus").ids()), vectors=vectors[:, :2] * 9)
    more = f"precomputed:{tmp_path / 'more.npz'}"
    assert call("cluster", tmp_path / "corpus", "--teacher", teacher, "--teacher", more, "-k", 3) == 0
    shown = capsys.readouterr().out
    assert "3 clusters of" in shown and "joined-" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distill", "SOUNDS", "--teacher", "birdnett", "--out", "RUN"], "did you mean birdnet"),
        (["distill", "SOUNDS", "--teacher", "birdnet", "--out", "RUN", "--student", "dimn"], "did you mean dymn"),
        (["distill", "SOUNDS", "--out", "RUN"], "no teacher named"),
        (["distill", "nowhere", "--teacher", "precomputed:VECTORS", "--out", "RUN"], "nowhere does not exist"),
        (["distill", "SOUNDS", "--teacher", "onnx:gone.onnx", "--out", "RUN"], "gone.onnx"),
        (
            ["distill", "SOUNDS", "--teacher", "precomputed:VECTORS", "--out", "RUN", "--recipe", "gone.yaml"],
            "gone.yaml",
        ),
        (["pretrain", "nowhere", "--out", "RUN"], "nowhere does not exist"),
        (["pretrain", "SOUNDS", "--out", "RUN", "--recipe", "gone.yaml"], "gone.yaml"),
        (["pretrain", "SOUNDS", "--out", "RUN", "--init", "gone.pt"], "gone.pt"),
        (["targets", "nowhere", "--teacher", "birdnet"], "nowhere"),
        (["corpus", "EMPTY", "--out", "RUN"], "EMPTY"),
        (["check", "module:gone:make"], "gone"),
    ],
)
def test_a_mistake_gets_one_message_and_leaves_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"SOUNDS": tmp_path / "sounds", "RUN": tmp_path / "run", "EMPTY": tmp_path / "EMPTY"}
    write_sounds(places["SOUNDS"], {"a.wav": 0.2})
    places["EMPTY"].mkdir()
    np.savez(tmp_path / "known.npz", ids=np.array(["a"]), vectors=np.ones((1, 3), np.float32))
    given = [str(places.get(a, a)).replace("VECTORS", str(tmp_path / "known.npz")) for a in arguments]
    assert call(*given) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and error.startswith("sondino: ")
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_bundle: Path) -> None:
    assert call("students") == 0 and call("teachers") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("mobilenetv3", "dymn", "eres2net", "birdnet", "matpac", "m2d", "litert"))
    assert call("models", tiny_bundle.parent) == 0
    assert "tiny" in capsys.readouterr().out
    assert call("models", tmp_path / "nothing") == 0
    assert "no bundles" in capsys.readouterr().out
    assert call("check", tiny_bundle) in (0, 1)
    assert "tiny: 3 dimensions" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    clips = str(Path(__file__).parents[1] / "data" / "clips")
    command = [sys.executable, "-m", "sondino", "corpus", clips, "--out", str(tmp_path / "corpus")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        shown = running.stderr.read().decode()
    assert running.returncode == 141 and "Traceback" not in shown, shown
