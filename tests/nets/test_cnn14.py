"""CNN14 of PANNs from its published form: as a bundle, as a teacher, as the first weights of a student."""

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
import torch
from safetensors.torch import save_file

from helpers.golden import DATA, error, keys, wave
from helpers.published import write_panns
from sondino import cli
from sondino.encoder.audioset import audioset_classes
from sondino.encoder.check import check_encoder
from sondino.errors import OptionError
from sondino.frontend.logmel import PANNS_LOGMEL
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.nets.checkpoints import read_state
from sondino.nets.initial import load_initial
from sondino.nets.registry import build_student
from sondino.pretrained.convert import read_published
from sondino.pretrained.load import load
from sondino.teachers import load_teacher
from sondino.teachers.catalogue import RECORDS

WIDTH = 0.125
DIM = 256
NAME = "Cnn14_mAP=0.431.pth"
COUNTS = "num_batches_tracked"
STATISTICS = ("running_mean", "running_var", COUNTS)

pytestmark = pytest.mark.usefixtures("traced_once")


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write_panns(tmp_path_factory.mktemp("panns") / NAME, WIDTH)


def embed(student, waveform: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return student(FFTLogMel(student.logmel)(torch.from_numpy(waveform)[None])).numpy()


# The published net


def test_names_shapes_and_counts_are_the_published_ones():
    listed = keys("panns_cnn14")
    with torch.device("meta"):
        ours = [(name, tuple(tensor.shape)) for name, tensor in build_student("cnn14").state_dict().items()]
    assert sorted(ours) == sorted(entry for entry in listed if not entry[0].startswith("fc_audioset."))
    learnt = {name: math.prod(shape) for name, shape in listed if not name.endswith(STATISTICS)}
    assert sum(learnt.values()) == RECORDS["cnn14"].parameters == 80_753_615
    assert sum(count for name, count in learnt.items() if not name.startswith("fc_audioset.")) == 79_673_792


@pytest.mark.full
def test_the_full_width_net_gives_its_golden_embedding_and_probabilities(tmp_path):
    file, golden = write_panns(tmp_path / NAME), np.load(DATA / "students.npz")
    vectors = load_teacher(f"cnn14:{file}", device="cpu").embed(wave(10, 32000)[None])
    assert error(vectors[None], golden["cnn14_emb_10s"]) < 1e-5
    found = read_published(file)
    assert found.backbone.width == 1.0 and error(embed(found.backbone, wave(10, 32000)), vectors) < 1e-6
    assert error(found.as_head().probabilities(vectors), golden["cnn14_clipwise_10s"]) < 1e-5
    file.unlink()  # 327 MB


# As a bundle


def test_what_is_found_in_a_file(file):
    found = read_published(file)
    source, head = found.facts["source"], found.as_head()
    assert (found.backbone.name, found.backbone.width, found.backbone.dim) == ("cnn14", WIDTH, DIM)
    assert (found.window, found.short, found.backbone.logmel) == (10.0, "native", PANNS_LOGMEL)
    assert "hop" not in found.facts and source["kind"] == "panns"
    assert (head.name, head.multi_label, head.labels) == ("audioset", True, audioset_classes())
    assert source["dropped"] == ["the matrices of its log-mel (3 tensors)"]
    assert "CC BY 4.0" in source["licence"] and "CC BY 4.0" in head.note and "3987831" in source["url"]
    state = read_state(file)
    vectors = embed(found.backbone, wave(1, 32000))
    expected = 1 / (1 + np.exp(-(vectors @ state["fc_audioset.weight"].numpy().T + state["fc_audioset.bias"].numpy())))
    assert error(found.as_head().probabilities(vectors), expected) < 1e-5


def test_the_command_makes_a_bundle_that_gives_the_files_embeddings(file, tmp_path, capsys):
    assert call_cli("convert", file, "--out", tmp_path / "bundle", "--name", "tagger") == 0
    message = capsys.readouterr().out
    assert f"panns, cnn14 of width 0.125, 1.25 M parameters; {DIM} dimensions for each 10 s at 32000 Hz" in message
    assert "527 classes of audioset" in message and "left out: the matrices of its log-mel (3 tensors)" in message
    model, found = load(tmp_path / "bundle"), read_published(file)
    for seconds in (10, 3):
        got = model.embed([(wave(seconds, 32000), 32000)])
        assert error(got, embed(found.backbone, wave(seconds, 32000))) < 1e-4
    assert error(model.classify([(wave(3, 32000), 32000)]), found.as_head().probabilities(got)) < 1e-5
    least = found.backbone.minimum_samples
    padded = np.pad(wave(0.1, 32000), (0, least - 3200))
    assert error(model.embed([(wave(0.1, 32000), 32000)]), embed(found.backbone, padded)) < 1e-4
    assert "CC BY 4.0" in (tmp_path / "bundle" / "card.md").read_text()


def call_cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_without_matrices_and_classes_the_net_is_the_same(file, tmp_path):
    state = {name: tensor for name, tensor in read_state(file).items() if "extractor" not in name}
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("fc_") and COUNTS not in name}
    save_file(state, tmp_path / "plain.safetensors")
    save_file(bare, tmp_path / "bare.safetensors")
    plain, alone, whole = (
        read_published(f) for f in (tmp_path / "plain.safetensors", tmp_path / "bare.safetensors", file)
    )
    source = plain.facts["source"]
    assert (source["dropped"], source["url"], alone.head) == ([], "", None) and plain.head is not None
    vectors = [embed(each.backbone, wave(1, 32000)) for each in (plain, alone, whole)]
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(vectors[1], vectors[2])


# As a teacher


def test_a_teacher_keeps_the_contract_and_takes_any_length(file):
    teacher = load_teacher(f"cnn14:{file}", device="cpu")
    assert (teacher.sample_rate, teacher.dim, teacher.window) == (32000, DIM, None)
    assert check_encoder(teacher) == []
    student = read_published(file).backbone
    for seconds in (1, 12.3):
        assert error(teacher.embed(wave(seconds, 32000)[None]), embed(student, wave(seconds, 32000))) < 1e-6
    assert teacher.embed(np.zeros((2, teacher.minimum), np.float32)).shape == (2, DIM)
    assert "licence CC BY 4.0" in teacher.notice


def test_options_of_a_teacher(file):
    plain = load_teacher(f"cnn14:{file}", device="cpu")
    cut = load_teacher(f"cnn14:{file}?window=2&hop=1&batch=3", device="cpu")
    half = load_teacher(f"cnn14:{file}?precision=bfloat16", device="cpu")
    assert (cut.window, cut.hop, cut.batch_size) == (2.0, 1.0, 3)
    assert len({plain.fingerprint, cut.fingerprint, half.fingerprint}) == 3
    exact, rounded = plain.embed(wave(1, 32000)[None]), half.embed(wave(1, 32000)[None])
    assert rounded.dtype == np.float32 and 1e-5 < error(rounded, exact) < 0.05


# As first weights


def test_first_weights_of_a_student_and_what_is_left_of_the_file(file):
    student = build_student("cnn14", WIDTH).eval()
    notes = load_initial(student, file)
    assert notes == [
        "dropped fc_audioset (2 tensors)",
        "dropped logmel_extractor (1 tensor)",
        "dropped spectrogram_extractor.stft (2 tensors)",
    ]
    np.testing.assert_array_equal(embed(student, wave(1, 32000)), embed(read_published(file).backbone, wave(1, 32000)))
    with pytest.raises(OptionError, match=r"does not fit cnn14 at width 0.25: .* choose the checkpoint's own --width"):
        load_initial(build_student("cnn14", 0.25), file)


# What is refused


def error_message(path: Path) -> str:
    """What conversion and teacher say of a file: the same."""
    message = []
    for ask in (read_published, lambda p: load_teacher(f"cnn14:{p}", device="cpu")):
        with pytest.raises(OptionError) as raised:
            ask(path)
        message.append(str(raised.value))
    assert message[0] == message[1] and "\n" not in message[0] and len(message[0]) < 400
    return message[0]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            NAME,
            {"conv_block3.conv1.weight": torch.ones(3)},
            "in another shape 1 tensor, first conv_block3.conv1.weight",
        ),
        (NAME, {"conv_block3.conv1.weight": None}, "lacks 1 tensor, first conv_block3.conv1.weight"),
        (NAME, {"pre_conv0.weight": torch.ones(3)}, "has beside them 1 tensor, first pre_conv0.weight"),
        (NAME, {"bn0.bias": torch.full((64,), torch.nan)}, "holds 1 tensor with NaN or infinity, first bn0.bias"),
        (NAME, {"fc1.weight": torch.ones(64, DIM)}, "fc1.weight is (64, 256) and not (256, 256)"),
        (NAME, {"conv_block6.conv2.weight": None}, "is no CNN14, which has twelve convolutions"),
        (NAME, {"conv_block6.conv2.weight": torch.ones(16, 16, 3, 3)}, "has 16 embedding dimensions"),
        (
            NAME,
            {"logmel_extractor.melW": torch.ones(257, 64)},
            "has another mel filterbank than 64 bands from 50 to 14000 Hz",
        ),
        (
            NAME,
            {"logmel_extractor.melW": torch.zeros(513, 64)},
            "has another mel filterbank than 64 bands from 50 to 14000 Hz",
        ),
        ("Cnn14_16k_mAP=0.438.pth", {"logmel_extractor.melW": None}, "another form of CNN14 (16k)"),
        ("Cnn14_DecisionLevelMax_mAP=0.385.pth", {}, "another form of CNN14 (DecisionLevel)"),
    ],
)
def test_a_file_that_is_no_such_net_gets_a_message(tmp_path, name, change, message):
    assert message in error_message(write_panns(tmp_path / name, WIDTH, change=change))


def test_other_nets_of_panns_get_their_own_messages(tmp_path):
    classes = {"fc_audioset.weight": torch.ones(527, 8), "fc_audioset.bias": torch.ones(527)}
    others = {
        "Cnn10": {"bn0.weight": torch.ones(64), "conv_block4.conv2.weight": torch.ones(8, 8, 3, 3)},
        "ResNet38": {"bn0.weight": torch.ones(64), "resnet.layer1.0.conv1.weight": torch.ones(8, 8, 3, 3)},
        "MobileNetV1": {"features.0.0.weight": torch.ones(8, 1, 3, 3)},  # as EfficientAT calls one
    }
    for name, tensors in others.items():
        torch.save({"model": tensors | classes}, tmp_path / f"{name}.pth")
        assert "is no CNN14, which has twelve convolutions" in error_message(tmp_path / f"{name}.pth")


def test_classes_that_are_not_audiosets_or_are_damaged(tmp_path):
    fifty = write_panns(tmp_path / "esc.pth", WIDTH, classes=50)
    with pytest.raises(OptionError, match=r"fc_audioset.weight \(50, 256\).* where AudioSet has 527 classes.*--init"):
        read_published(fifty)
    assert load_teacher(f"cnn14:{fifty}", device="cpu").dim == DIM  # which leaves them out
    broken = write_panns(tmp_path / NAME, WIDTH, change={"fc_audioset.bias": torch.full((527,), torch.inf)})
    with pytest.raises(OptionError, match=r"1 tensor with NaN or infinity, first fc_audioset.bias"):
        read_published(broken)
