"""Published checkpoints: what is found in each, and what is refused; without exporting anything."""

import argparse
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
import torch

from helpers.golden import DATA, error, keys, wave
from helpers.published import BACKBONE, by_rule, lightning, shapes, training_config, write_efficientat, write_ssondo
from helpers.stages import stages_in
from helpers.vit_weights import M2D_FOLDER, tiny_vit
from sondino import cli
from sondino.encoder.audioset import audioset_classes
from sondino.errors import EncoderError, OptionError
from sondino.frontend.logmel import EFFICIENTAT_LOGMEL, MATPAC_LOGMEL, STUDENT_LOGMEL
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.nets.registry import build_student
from sondino.pretrained.convert import convert, read_published
from sondino.teachers import load_teacher


@pytest.fixture
def written(monkeypatch):
    """What `write_bundle` would have been given, in place of an export that takes long."""
    calls = []

    def write(model, folder, clips=()):
        calls.append({**vars(model), "clips": clips, "head": model.as_head()})
        folder.mkdir(parents=True)
        config = {"format": "sondino-bundle-1", "onnx_difference": 1e-7, **model.facts}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    monkeypatch.setattr("sondino.pretrained.convert.write_bundle", write)
    return calls


def embeddings(student, waveform):
    with torch.inference_mode():
        return student(FFTLogMel(student.logmel)(torch.from_numpy(waveform)[None])).numpy()


def error_message(path: Path, **options) -> str:
    with pytest.raises(OptionError) as raised:
        read_published(path, **options)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 600
    return message


# S-SONDO


@pytest.mark.parametrize("name", ["mobilenetv3", "dymn", "eres2net"])
def test_a_published_student_gives_its_published_embedding(tmp_path, name):
    found = read_published(write_ssondo(tmp_path / f"matpac_{name}.ckpt", name))
    golden = np.load(DATA / "students.npz")
    assert error(embeddings(found.backbone, wave(10, 32000))[None], golden[f"{name}_emb_10s"]) < 1e-5
    assert (found.facts["source"]["kind"], found.backbone.name, found.backbone.width) == ("ssondo", name, 1.0)
    assert (found.window, found.facts.get("hop"), found.short, found.head) == (10.0, None, "native", None)
    assert found.backbone.logmel == STUDENT_LOGMEL
    assert found.backbone.build == ({"temperature": 30.0} if name == "dymn" else {})
    assert found.facts["source"]["dropped"] == ["the mapping head (4 tensors)"]
    assert [t["spec"] for t in found.facts["teachers"]] == ["matpac"] and "MIT" in found.facts["source"]["licence"]


@pytest.mark.parametrize(
    ("name", "width"), [("mobilenetv3", 0.4), ("dymn", 0.4), ("eres2net", 0.5), ("mobilenetv3", 2)]
)
def test_other_widths_are_those_of_the_training_config(tmp_path, name, width):
    found = read_published(write_ssondo(tmp_path / "mine.ckpt", name, width))
    assert found.backbone.width == width
    expected = build_student(name, width).eval()
    state = by_rule(shapes(name, width, BACKBONE))
    expected.load_state_dict({k.removeprefix(BACKBONE): v for k, v in state.items()})
    assert error(embeddings(found.backbone, wave(1, 32000)), embeddings(expected, wave(1, 32000))) < 1e-6


def test_the_teacher_is_known_by_the_files_or_the_models_name(tmp_path):
    known = {"matpac_dymn.ckpt": None, "m2d_mobilenetv3.ckpt": None, "blob": "ssondo/m2d-mobilenetv3", "own.ckpt": None}
    specs = []
    for file, name in known.items():
        (teacher,) = read_published(write_ssondo(tmp_path / file, "mobilenetv3", 0.1), name=name).facts["teachers"]
        specs.append(teacher["spec"])
    assert specs == ["matpac", "m2d", "m2d", "unknown"]


def changed(tmp_path: Path, student: str, entry: str, value: object, width: float = 0.1) -> Path:
    """A narrow student's checkpoint with one entry of its training_config changed, or left out (...)."""
    file = write_ssondo(tmp_path / "changed.ckpt", student, 0.5 if student == "eres2net" else width)
    content = torch.load(file, weights_only=True)  # a file of ours
    *path, last = entry.split(".")
    table = content["training_config"]
    for part in path:
        table = table[part]
    table[last] = value
    if value is ...:
        del table[last]
    torch.save(content, file)
    return file


MN, MEL = "student_model", "preprocess.logmelspec"


@pytest.mark.parametrize(
    ("student", "entry", "value"),
    [
        ("mobilenetv3", f"{MN}.model_name", "resnet50"),
        ("mobilenetv3", f"{MN}.strides", (2, 2, 2, 1)),
        ("mobilenetv3", f"{MN}.reduced_tail", True),
        ("mobilenetv3", f"{MN}.dilated", True),
        ("mobilenetv3", f"{MN}.relu_only", True),
        ("mobilenetv3", f"{MN}.se_dims", "f"),
        ("mobilenetv3", f"{MN}.se_r", 8),
        ("mobilenetv3", f"{MN}.width_mult", "wide"),
        ("mobilenetv3", f"{MN}.width_mult", float("nan")),
        ("mobilenetv3", f"{MN}.width_mult", 1e9),
        ("mobilenetv3", f"{MN}.sr", 32000.5),
        ("dymn", f"{MN}.strides", [1, 2, 2, 2]),
        ("dymn", f"{MN}.pretrain_final_temp", 0),
        ("eres2net", f"{MN}.num_blocks", [3, 4, 6, 3]),
        ("eres2net", f"{MN}.pooling_func", "TAP"),
        ("eres2net", f"{MN}.add_layer", False),
        ("eres2net", f"{MN}.feat_dim", 80),
        ("eres2net", f"{MN}.m_channels", 12),
        ("eres2net", f"{MEL}.n_mels", 64),
        ("mobilenetv3", f"{MEL}.n_mels", 10**9),
        ("mobilenetv3", f"{MEL}.win_len", 1e6),
        ("mobilenetv3", f"{MEL}.hop_len", 0),
        ("mobilenetv3", f"{MEL}.f_min", -1),
        ("mobilenetv3", f"{MEL}.f_max", 20000),
        ("mobilenetv3", "preprocess.slice_audio.win_len", True),
    ],
)
def test_a_config_that_our_nets_cannot_be_is_refused_by_entry_and_value(tmp_path, student, entry, value):
    message = error_message(changed(tmp_path, student, entry, value))
    shown = list(value) if isinstance(value, tuple) else value
    assert f"{entry} of its training_config is" in message
    assert repr(shown)[1:-1] in message or str(shown) in message


def test_a_hostile_value_is_shown_shortened(tmp_path):
    nested, options = [], argparse.Namespace()
    for _ in range(60):
        nested, options = (
            [nested, nested],
            argparse.Namespace(a=options, b=options),
        )  # 2^60 items, were they written out
    for value in (nested, options, [options] * 4, torch.ones(3, 3), torch.ones(0), [torch.ones(2)] * 4, "\n" * 99):
        assert f"{MN}.strides of its training_config is" in error_message(
            changed(tmp_path, "mobilenetv3", f"{MN}.strides", value)
        )


@pytest.mark.parametrize(
    "entry", [f"{MN}.width_mult", f"{MN}.se_dims", f"{MN}.model_name", f"{MEL}.f_max", "preprocess"]
)
def test_a_missing_entry_is_named(tmp_path, entry):
    assert f"its training_config has no {entry}" in error_message(changed(tmp_path, "mobilenetv3", entry, ...))


def test_other_front_ends_windows_and_temperatures_are_taken(tmp_path):
    file = changed(tmp_path, "mobilenetv3", "preprocess", {
        "logmelspec": {"win_len": 0.025, "hop_len": 0.01, "n_mels": 64, "f_min": 0, "f_max": None},
        "slice_audio": {"win_len": 5, "step_size": 2.5},
    })  # fmt: skip
    found = read_published(file)
    expected = replace(STUDENT_LOGMEL, n_fft=800, window_length=800, hop=320, n_mels=64, f_min=0.0, f_max=16000.0)
    assert found.backbone.logmel == expected
    assert (found.window, found.facts["hop"]) == (5.0, 2.5)
    assert np.isfinite(embeddings(found.backbone, wave(1, 32000))).all()
    for value, temperature in ((7.5, 7.5), (..., 1.0)):
        found = read_published(changed(tmp_path, "dymn", f"{MN}.pretrain_final_temp", value))
        assert found.backbone.build == {"temperature": temperature}


def test_tensors_that_do_not_fit_are_counted_and_the_first_is_named(tmp_path):
    file = tmp_path / "mine.ckpt"
    state = by_rule(shapes("mobilenetv3", 0.4, BACKBONE))
    config = training_config("mobilenetv3")
    config["student_model"]["width_mult"] = 0.4
    first, second, *_ = [name for name in state if name.endswith("weight")]

    def message(**changes) -> str:
        torch.save(lightning(config, state | changes), file)
        return error_message(file)

    lacking = {name: tensor for name, tensor in state.items() if name not in (first, second)}
    torch.save(lightning(config, lacking), file)
    assert f"lacks 2 tensors, first {first.removeprefix(BACKBONE)}" in error_message(file)
    assert "has beside them 1 tensor, first extra.weight" in message(**{f"{BACKBONE}extra.weight": torch.ones(1)})
    assert "is (3,) and not (8, 1, 3, 3)" in message(**{first: torch.ones(3)})
    assert "1 tensor with NaN or infinity, first features.0.1.weight" in message(
        **{second: torch.full_like(state[second], torch.nan)}
    )
    config["student_model"]["width_mult"] = 1.0
    assert "has in another shape" in message() and "width 1 " in message()
    config["student_model"]["width_mult"] = 0.4
    counts = [name for name in state if name.endswith("num_batches_tracked")]  # older torch kept none
    old = {name: tensor.half() for name, tensor in state.items() if name not in counts}
    torch.save(lightning(config, old), file)
    assert read_published(file).backbone.features[0][0].weight.dtype == torch.float32
    torch.save({"state_dict": state}, file)
    assert "has no training_config" in error_message(file)


# EfficientAT


@pytest.mark.parametrize("name", ["mobilenetv3", "dymn"])
def test_a_tagger_gives_its_published_embedding_and_logits(tmp_path, name):
    file = "mn10_as" if name == "mobilenetv3" else "dymn10_as"
    found = read_published(write_efficientat(tmp_path / f"{file}.pt", name))
    golden = np.load(DATA / "efficientat.npz")
    got = embeddings(found.backbone, wave(10, 32000))
    assert error(got, golden[f"{file}_emb"]) < 1e-5
    assert error(found.as_head().logits(got), golden[f"{file}_logits"]) < 1e-5
    assert (found.facts["source"]["kind"], found.backbone.name, found.backbone.width) == ("efficientat", name, 1.0)
    assert found.backbone.build == ({"temperature": 1.0} if name == "dymn" else {})
    assert (found.window, found.short, found.backbone.logmel) == (10.0, "native", EFFICIENTAT_LOGMEL)
    head = found.as_head()
    assert (head.name, head.multi_label, head.activation) == ("audioset", True, "hardswish")
    assert head.labels == audioset_classes()
    assert found.facts["source"]["url"].endswith(f"/v0.0.1/{file}.pt")


def test_the_classes_are_audiosets():
    classes = audioset_classes()
    assert len(classes) == len(set(classes)) == 527
    known = {
        0: "Speech",
        1: "Male speech, man speaking",
        72: "Animal",
        137: "Music",
        277: "Funny music",
        300: "Vehicle",
    }
    known |= {396: "Siren", 500: "Silence", 526: "Field recording"}
    assert {index: classes[index] for index in known} == known


@pytest.mark.parametrize(
    ("name", "width"),
    [("mobilenetv3", w) for w in (0.1, 0.2, 0.35, 0.4, 0.5, 1.5, 2)] + [("dymn", w) for w in (0.2, 0.4, 0.7)],
)
def test_the_width_is_seen_from_the_tensors(tmp_path, name, width):
    found = read_published(write_efficientat(tmp_path / "renamed.pt", name, width))
    assert found.backbone.width == pytest.approx(width, abs=0.011)  # layers are rounded to 8 channels
    assert found.backbone.dim == found.as_head().dim
    assert found.facts["source"]["url"] == ""


def test_releases_with_other_front_ends_are_recognised_by_their_names(tmp_path):
    expected = {
        "mn10_as_hop_15_mAP_463.pt": replace(EFFICIENTAT_LOGMEL, hop=480),
        "mn10_as_hop_5_mAP_475.pt": replace(EFFICIENTAT_LOGMEL, hop=160),
        "mn10_as_mels_64_mAP_461.pt": replace(EFFICIENTAT_LOGMEL, n_mels=64),
        "mn10_as_mAP_471.pt": EFFICIENTAT_LOGMEL,
    }
    for name, logmel in expected.items():
        found = read_published(write_efficientat(tmp_path / name, "mobilenetv3", 0.1))
        assert found.backbone.logmel == logmel
        assert np.isfinite(embeddings(found.backbone, wave(1, 32000))).all()
    assert "strides 2221" in error_message(
        write_efficientat(tmp_path / "mn10_as_fc_s2221_mAP_466.pt", "mobilenetv3", 0.1)
    )


def test_a_fully_convolutional_classifier_is_one_linear_layer(tmp_path):
    torch.manual_seed(0)
    state = by_rule(shapes("mobilenetv3", 0.1))
    head = torch.nn.Sequential(torch.nn.Conv2d(96, 527, 1, bias=False), torch.nn.BatchNorm2d(527)).eval()
    head.load_state_dict(by_rule({name: tensor.shape for name, tensor in head.state_dict().items()}))
    state |= {f"classifier.{name}": tensor for name, tensor in head.state_dict().items()}
    torch.save(state, tmp_path / "mn01_as_fc.pt")
    found = read_published(tmp_path / "mn01_as_fc.pt")
    images = torch.randn(2, 96, 4, 5)
    with torch.inference_mode():
        expected = head(images).mean((2, 3))
    assert error(found.as_head().logits(images.mean((2, 3)).numpy()), expected) < 1e-5


def test_weights_trained_on_images_or_on_other_classes_are_refused(tmp_path):
    images = "on ImageNet's images and not on audio: give it to `sondino distill --init`"
    assert images in error_message(write_efficientat(tmp_path / "any.pt", "mobilenetv3", 0.1, classes=1000))
    assert images in error_message(write_efficientat(tmp_path / "mn10_im.pt", "mobilenetv3", 0.1))
    assert images in error_message(write_efficientat(tmp_path / "mn10_im_pytorch.pt", "mobilenetv3", 0.1))
    assert "has 50 classes where AudioSet" in error_message(
        write_efficientat(tmp_path / "esc.pt", "mobilenetv3", 0.1, classes=50)
    )
    torch.save(by_rule(shapes("mobilenetv3", 0.1)), tmp_path / "bare.pt")
    assert "has 0 classes where AudioSet" in error_message(tmp_path / "bare.pt")
    state = torch.load(write_efficientat(tmp_path / "a.pt", "mobilenetv3", 0.1), weights_only=True)
    odd = {name: tensor for name, tensor in state.items() if "classifier.2" not in name}
    torch.save(odd, tmp_path / "odd.pt")
    assert "classifier of another kind" in error_message(tmp_path / "odd.pt")
    state["features.16.0.weight"] = torch.ones(13, 2, 1, 1)
    torch.save(state, tmp_path / "odd.pt")
    assert "has 13 embedding dimensions" in error_message(tmp_path / "odd.pt")


# MATPAC and M2D


def test_a_converted_teacher_gives_its_own_embeddings(tmp_path):
    # One block of width 64 and inputs of 4 columns: a second of sound is cut into two inputs, the last one shorter.
    torch.save(tiny_vit("student_encoder."), tmp_path / "matpac.pt")
    folder = tmp_path / "m2d_vit_base-80x64p16x16-221006"
    folder.mkdir()
    torch.save({"model": tiny_vit()}, folder / "checkpoint.pth")
    for kind, file in (("matpac", tmp_path / "matpac.pt"), ("m2d", folder / "checkpoint.pth")):
        found = read_published(file, window=1.0)
        assert (found.facts["source"]["kind"], found.backbone.name) == (kind, kind)
        assert (found.backbone.dim, found.window) == (320, 1.0)
        assert (found.short, found.backbone.fixed_samples, found.backbone.minimum_samples) == ("repeat", 16000, 16000)
        expected = load_teacher(f"{kind}:{file}", device="cpu").embed(wave(1, 16000)[None])
        assert error(embeddings(found.backbone, wave(1, 16000)), expected) < 1e-6
    assert read_published(tmp_path / "matpac.pt").backbone.logmel == MATPAC_LOGMEL
    assert read_published(tmp_path / "matpac.pt").backbone.fixed_samples == 160000


def test_the_kind_of_a_vit_can_be_given(tmp_path):
    flat = tmp_path / "vit.pt"
    torch.save(tiny_vit(), flat)
    assert "could be MATPAC's or M2D's" in error_message(flat)
    assert read_published(flat, kind="m2d").backbone.logmel.center
    assert not read_published(flat, kind="matpac").backbone.logmel.center
    torch.save(tiny_vit() | {"norm_stats": torch.tensor([-7.1, 4.2]), "decoder.weight": torch.ones(2)}, flat)
    found = read_published(flat)
    source = found.facts["source"]
    assert (source["kind"], source["dropped"]) == ("m2d", ["1 tensor not used for embeddings"])
    torch.save(tiny_vit() | {"norm_stats": torch.tensor([-7.1, 4.2]), "norm.bias": torch.full((64,), torch.nan)}, flat)
    assert "1 tensor with NaN or infinity" in error_message(flat)
    (tmp_path / M2D_FOLDER).mkdir()
    torch.save(tiny_vit(), tmp_path / M2D_FOLDER / "w.pth")  # of other sizes than its folder reports
    with pytest.raises(EncoderError, match="named for 80x608"):
        read_published(tmp_path / M2D_FOLDER / "w.pth")


# All of them


def test_other_files_get_their_own_messages(tmp_path):
    torch.save(
        {"probe.linear_probe.weight": torch.ones(2, 3), "probe.linear_probe.bias": torch.ones(2)}, tmp_path / "h.pth"
    )
    assert "is a head and no model" in error_message(tmp_path / "h.pth")
    torch.save({"conv1.weight": torch.ones(2, 3)}, tmp_path / "other.pt")
    assert "first 'conv1.weight', of no model that can be converted" in error_message(tmp_path / "other.pt")
    (tmp_path / "config.json").write_text("{}")
    assert "is a bundle already" in error_message(tmp_path)
    file = write_ssondo(tmp_path / "a.ckpt", "mobilenetv3", 0.1)
    assert "valid names are efficientat, m2d, matpac, panns, ssondo" in error_message(file, kind="sondo")
    assert "did you mean pad" in error_message(file, short="padd")
    for window in (0, -1, float("nan"), 1e9):
        assert "is out of range" in error_message(file, window=window)
    for kind in ("efficientat", "panns", "matpac", "m2d"):  # of another kind
        with pytest.raises((OptionError, EncoderError), match=r"a\.ckpt"):
            read_published(file, kind=kind)


def test_a_bundle_is_written_with_what_was_found(tmp_path, written):
    file = write_ssondo(tmp_path / "m2d_mobilenetv3.ckpt", "mobilenetv3", 0.1)
    assert convert(file, tmp_path / "deep" / "out") == tmp_path / "deep" / "out"
    call = written[-1]
    assert (call["name"], call["window"], call["short"], call["head"]) == ("m2d_mobilenetv3", 10.0, "native", None)
    source = call["facts"]["source"]
    assert (source["kind"], source["file"]) == ("ssondo", "m2d_mobilenetv3.ckpt")
    assert source["sha256"] == sha256(file.read_bytes()).hexdigest()
    assert "hop" not in call["facts"]
    assert all(clip.any() and len(clip) <= 320000 for clip in call["clips"]) and len(call["clips"]) == 4
    convert(file, tmp_path / "b", name="mine", window=2.0, short="repeat")
    assert (written[-1]["name"], written[-1]["window"], written[-1]["short"]) == ("mine", 2.0, "repeat")
    assert json.dumps(call["facts"])


def test_another_folder_is_not_overwritten(tmp_path, written):
    file = write_ssondo(tmp_path / "a.ckpt", "mobilenetv3", 0.1)
    other = write_ssondo(tmp_path / "b.ckpt", "mobilenetv3", 0.2)
    out = convert(file, tmp_path / "out")
    with pytest.raises(OptionError, match="was not made of"):
        convert(other, out)
    with pytest.raises(OptionError, match="there is no file"):
        convert(tmp_path / "absent.ckpt", tmp_path / "new")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    (tmp_path / "a_file").write_text("x")
    for taken in (precious, tmp_path / "a_file"):
        with pytest.raises(OptionError, match="is there and is no bundle"):
            convert(file, taken)
    (out / "config.json").write_text("damaged")
    with pytest.raises(OptionError, match="was not made of"):
        convert(file, out)
    assert len(written) == 1 and (precious / "thesis.txt").read_text() == "years"


def call_cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_the_command_prints_what_it_found(tmp_path, written, capsys):
    file = write_efficientat(tmp_path / "mn04_as_mAP_432.pt", "mobilenetv3", 0.4)
    assert call_cli("convert", file, "--out", tmp_path / "out", "--name", "tagger") == 0
    message, progress = capsys.readouterr()
    assert stages_in(progress) == ["reading the checkpoint", "making and checking its ONNX graph"]
    assert (
        "efficientat, mobilenetv3 of width 0.4, 0.52 M parameters; 384 dimensions for each 10 s at 32000 Hz" in message
    )
    assert "527 classes of audioset" in message and "to 1.0e-07 of the largest value" in message
    assert f"sondino embed recordings/ --model {tmp_path / 'out'}" in message
    assert written[-1]["name"] == "tagger"
    assert call_cli("convert", tmp_path / "absent.pt", "--out", tmp_path / "new") == 2
    assert "there is no file" in capsys.readouterr().err


def test_the_files_of_these_tests_carry_the_published_names_in_their_order():
    listed = [name for name, _ in keys("student_mobilenetv3") if name.startswith(BACKBONE)]
    assert listed == list(shapes("mobilenetv3", 1.0, BACKBONE))
