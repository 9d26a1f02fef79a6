import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

import sondino
from helpers.loudness import write_loudness
from sondino.audio.clips import real_clips
from sondino.embedding.inputs import sounds_of
from sondino.encoder.head import Head
from sondino.errors import AudioError, OptionError, RunError, SondinoError
from sondino.exporters import quantize as quantizing
from sondino.exporters.half_precision import halved, without_zero_points, without_zeros
from sondino.exporters.int8_layers import quantized
from sondino.exporters.quantize import quantize
from sondino.files import sha256
from sondino.model.torch_model import TorchModel
from sondino.model.write import write_bundle
from sondino.nets.registry import build_student
from sondino.sample_sounds import sample_folder

BANDS, WIDE = 16, 24

pytestmark = pytest.mark.usefixtures("traced_once")


def net(damage: float = 1.0) -> onnx.ModelProto:
    """Two convolutions of which the first loses most in int8: one of its channels is `damage` times the others."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((WIDE, BANDS, 1)), rng.standard_normal((WIDE, WIDE, 1))
    scale = np.ones(WIDE)
    scale[0] = damage
    first *= scale[:, None, None]
    second /= scale[None, :, None]
    weights = {"one.weight": first, "two.weight": second}
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    nodes = [
        helper.make_node("Conv", ["logmel", "one.weight"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "two.weight"], ["c"], "second"),
        helper.make_node("ReduceMean", ["c", "axis"], ["vector"], "mean", keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("logmel", onnx.TensorProto.FLOAT, ["batch", BANDS, "frames"])],
        [helper.make_tensor_value_info("vector", onnx.TensorProto.FLOAT, ["batch", WIDE])],
        [*tensors, numpy_helper.from_array(np.array([2]), "axis")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["vector"], {session.get_inputs()[0].name: x})[0]


def logmels(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).standard_normal((count, BANDS, 9)).astype(np.float32))


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_int8_weights_are_integers_and_vectors_stay_near() -> None:
    model, reported = net(), []
    found = quantized(model, logmels(12), logmels(8, 1), lambda done, total: reported.append((done, total)))
    assert (found.kept, found.layers, reported) == ((), 2, [(1, 2), (2, 2)])
    kinds = {tensor.name: tensor.data_type for tensor in found.model.graph.initializer}
    assert [kinds[name] for name in kinds if name.endswith("weight_quantized")] == [onnx.TensorProto.INT8] * 2
    x = np.stack(logmels(8, 2))
    assert cosine(run(found.model, x), run(model, x)).min() > 0.995


def test_the_layer_that_loses_most_stays_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    # The activation between the layers spans a factor of 40, so that 255 steps resolve little of most channels.
    monkeypatch.setattr("sondino.exporters.int8_layers.MOST_FLOAT", 0.7)
    model = net(damage=40.0)
    everything = run(model, np.stack(logmels(8, 1)))
    found = quantized(model, logmels(12), logmels(8, 1))
    assert len(found.kept) >= 1 and found.kept[0] in ("one", "two")
    assert found.cosine > cosine(run(_all_in_int8(model), np.stack(logmels(8, 1))), everything).mean()
    monkeypatch.setattr("sondino.exporters.int8_layers.MOST_FLOAT", 0.0)
    assert quantized(model, logmels(12), logmels(8, 1)).kept == ()


def mixing_net(rows: int = 4) -> onnx.ModelProto:
    """A net that mixes kernels for each clip, as DyMN does: by the clip's mean, a few rows of a constant into one."""
    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((rows, WIDE * BANDS)).astype(np.float32)
    pick = np.abs(rng.standard_normal((BANDS, rows))).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["logmel", "axis"], ["clip"], "clip", keepdims=0),
        helper.make_node("MatMul", ["clip", "pick.weight"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["mix"], "mix"),
        helper.make_node("MatMul", ["mix", "kernels"], ["flat"], "mixed"),
        helper.make_node("Reshape", ["flat", "shape"], ["kernel"], "shaped"),
        helper.make_node("MatMul", ["kernel", "logmel"], ["image"], "product"),
        helper.make_node("ReduceMean", ["image", "axis"], ["vector"], "mean", keepdims=0),
    ]
    constants = {"axis": np.array([2]), "pick.weight": pick, "kernels": kernels, "shape": np.array([-1, WIDE, BANDS])}
    graph = helper.make_graph(
        nodes,
        "mixing",
        [helper.make_tensor_value_info("logmel", onnx.TensorProto.FLOAT, ["batch", BANDS, "frames"])],
        [helper.make_tensor_value_info("vector", onnx.TensorProto.FLOAT, ["batch", WIDE])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_kernels_that_a_clip_mixes_are_stored_in_int8_and_computed_with_in_float(monkeypatch) -> None:
    monkeypatch.setattr("sondino.exporters.int8_layers.MOST_FLOAT", 0.0)
    model = mixing_net()
    found = quantized(model, logmels(12), logmels(8, 1))
    assert (found.layers, found.stored, found.norm_outliers) == (2, 1, 0)
    kinds = {tensor.name: tensor.data_type for tensor in found.model.graph.initializer}
    assert kinds["kernels/int8"] == onnx.TensorProto.INT8 and "kernels" not in kinds
    assert not any("kernels" in node.input[0] for node in found.model.graph.node if node.op_type == "QuantizeLinear")
    assert found.model.ByteSize() < 0.6 * model.ByteSize()
    x = np.stack(logmels(8, 2))
    assert 0.998 < cosine(run(found.model, x), run(model, x)).min() < 1 - 1e-7
    # A product of many rows is a layer like any other.
    assert quantized(mixing_net(rows=16), logmels(12), logmels(8, 1)).stored == 0


def test_ranges_hold_for_sound_that_comes_after_silence() -> None:
    quiet = [np.full((BANDS, 9), 1e-9, np.float32)] * 4
    found = quantized(net(), [*quiet, *logmels(12)], logmels(8, 1))
    x = np.stack(logmels(8, 2))
    assert cosine(run(found.model, x), run(net(), x)).min() > 0.995


def test_clips_that_the_net_has_no_hold_of_do_not_spoil_the_ranges() -> None:
    wild = [1e6 * logmel for logmel in logmels(3, 5)]
    found = quantized(net(), [*logmels(12), *wild], [*logmels(8, 1), wild[0]])
    assert found.norm_outliers == 4
    x = np.stack(logmels(8, 2))
    assert cosine(run(found.model, x), run(net(), x)).min() > 0.995


def _all_in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    import sondino.exporters.int8_layers as int8

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "MOST_FLOAT", 0.0)
        return quantized(model, logmels(12), logmels(8, 1)).model


def test_smaller_files_of_the_same_graph() -> None:
    model = net()
    x = np.stack(logmels(4))
    expected = run(model, x)
    half = halved(model)
    assert {t.data_type for t in half.graph.initializer} == {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
    assert 0 < np.abs(run(half, x) - expected).max() < 2e-3 * np.abs(expected).max()
    assert np.array_equal(run(model, x), expected)  # the one given is left as it was

    sparse = net()
    values = numpy_helper.to_array(sparse.graph.initializer[1]).copy()
    values[1:] = 0
    sparse.graph.initializer[1].CopyFrom(numpy_helper.from_array(values, "two.weight"))
    before, whole = run(sparse, x), sparse.ByteSize()
    without_zeros(sparse)
    assert np.array_equal(run(sparse, x), before) and sparse.ByteSize() < whole - 1000

    int8 = quantized(net(), logmels(12), logmels(8, 1)).model
    before, whole = run(int8, x), int8.ByteSize()
    without_zero_points(int8)
    assert np.array_equal(run(int8, x), before) and int8.ByteSize() < whole
    # Scales stand beside the integers as they were, or a runtime would not see a quantised layer.
    halves = {t.name for t in halved(int8).graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    assert not halves


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    student = build_student("mobilenetv3", 0.1).eval()
    rng = np.random.default_rng(0)
    head = Head("three", ("a", "b", "c"), False, ((rng.standard_normal((3, student.dim)), np.zeros(3)),))
    model = TorchModel(student, "small", 0.5, "repeat", head=head)
    return write_bundle(model, tmp_path_factory.mktemp("q") / "small")


@pytest.fixture(scope="module")
def small(bundle: Path) -> tuple[Path, dict]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizing, "CALIBRATION_CLIPS", 16)
        patch.setattr(quantizing, "SELECTION_CLIPS", 8)
        patch.setattr(quantizing, "CLIPS", 40)
        out = bundle.with_name("small8")
        return out, quantize(bundle, sample_folder(), out, labels=_families(bundle.parent), quiet=True)


def _families(folder: Path) -> Path:
    file = folder / "families.csv"
    clips = sorted((sample_folder() / "audio").glob("*.ogg"))
    chosen = [clip for clip in clips if clip.name.startswith(("bass", "drum"))][:24]
    file.write_text("path,label\n" + "".join(f"{clip},{clip.name[:4]}\n" for clip in chosen))
    return file


@pytest.mark.slow
def test_an_int8_bundle_is_a_bundle_like_any_other(bundle: Path, small: tuple[Path, dict]) -> None:
    out, config = small
    assert config == json.loads((out / "config.json").read_text())
    assert sorted(file.name for file in out.iterdir()) == [
        *("body.onnx", "card.md", "config.json", "head.safetensors", "model.onnx")
    ]
    assert config["hashes"]["model.onnx"] == sha256(out / "model.onnx")
    assert (out / "model.onnx").stat().st_size < 0.45 * (bundle / "model.onnx").stat().st_size
    assert (out / "body.onnx").stat().st_size < 200_000  # its weights lie in model.onnx
    ours, theirs = sondino.load(out), sondino.load(bundle)
    sounds = [str(file) for file in sorted((sample_folder() / "audio").glob("*.ogg"))[::13]]
    cosines = cosine(ours.embed(sounds), theirs.embed(sounds))
    assert 0.98 < cosines.mean() < 0.999999
    np.testing.assert_allclose(ours.classify(sounds).sum(1), 1, rtol=1e-5)
    assert ours.fingerprint != theirs.fingerprint
    whole = onnxruntime.InferenceSession(out / "model.onnx")
    x = 0.1 * np.random.default_rng(0).standard_normal((2, 16000)).astype(np.float32)
    # Two implementations of the log-mel differ in the seventh digit: some values are rounded to another step of int8.
    assert cosine(whole.run(None, {"waveform": x})[0], ours.embed(x)).min() > 0.95
    facts = config["quantized"]
    assert facts["layers"] == 59 and facts["verified"]["clips"] == 40
    assert facts["kept_promise"] == (facts["verified"]["cosine"] >= 0.99)
    probed = {"metric", "clips", "f32", "int8", "f32_interval95", "int8_interval95"}
    assert set(facts["probe"]) == probed and facts["probe"]["clips"] == 24
    card = (out / "card.md").read_text()
    assert f"{facts['verified']['cosine']:.6f} on average" in card and "linear probe" in card
    assert "24 clips are few" in card and config["name"] == out.name == ours.name != facts["from"]


@pytest.mark.slow
def test_what_needs_trained_weights_names_the_bundle_that_has_them(small: tuple[Path, dict], tmp_path: Path) -> None:
    out, _ = small
    with pytest.raises(
        OptionError, match=r"is quantised and holds no trained weights: take the bundle that was given to .* small"
    ):
        sondino.load(out).torch_model()
    with pytest.raises(OptionError, match="is quantised"):
        quantize(out, sample_folder(), tmp_path / "again")
    assert list(tmp_path.iterdir()) == []


def test_trained_weights_are_never_replaced_by_int8(bundle: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(bundle, tmp_path / "mine")
    with pytest.raises(OptionError, match="holds a bundle with its trained weights, which int8 has not"):
        quantize(copied, sample_folder(), copied)
    assert (copied / "model.safetensors").exists()


def test_damaged_weights_get_a_message(bundle: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(bundle, tmp_path / "mine")
    content = bytearray((copied / "model.safetensors").read_bytes())
    content[-1000] ^= 1
    (copied / "model.safetensors").write_bytes(content)
    with pytest.raises(SondinoError, match=r"model.safetensors is damaged, its hash is not the one in config.json"):
        quantize(copied, sample_folder(), tmp_path / "out")
    shutil.copy(bundle / "model.safetensors", copied)
    config = json.loads((copied / "config.json").read_text())
    del config["window"]
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(SondinoError, match=r"config.json: is damaged: it has no window"):
        quantize(copied, sample_folder(), tmp_path / "out")


def test_the_sounds_of_a_list_and_of_a_tar_file_are_those_of_their_folder(tmp_path: Path) -> None:
    sounds = write_loudness(tmp_path / "sounds", clips=3)
    files = sorted(sounds.rglob("*.wav"))
    with tarfile.open(tmp_path / "sounds.tar", "w") as packed:
        for file in files:
            packed.add(file, file.relative_to(tmp_path))
    (tmp_path / "l.csv").write_text("path\n" + "".join(f"{file}\n" for file in files))
    rate, samples = 16000, 8000
    expected = real_clips(rate, samples, "pad", sounds)
    for given in (tmp_path / "l.csv", tmp_path / "sounds.tar"):
        found = real_clips(rate, samples, "pad", sounds_of(given))
        assert len(found) == len(expected) and all(map(np.array_equal, found, expected)), given
    assert sounds_of(sounds) == sounds and sounds_of(None) is None
    with pytest.raises(OptionError, match="the list or tar file: 0 of its files can be decoded"):
        (tmp_path / "broken.wav").write_bytes(b"RIFF")
        real_clips(rate, samples, "pad", [str(tmp_path / "broken.wav")])


def test_no_audio_to_calibrate_on(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="empty"):
        quantize(bundle, tmp_path / "empty", tmp_path / "out")
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(3):
        (broken / f"{number}.wav").write_bytes(b"RIFF")
    with pytest.raises(OptionError, match="0 of its files can be decoded"):
        quantize(bundle, broken, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(OptionError, match="is no bundle"):
        quantize(bundle, sample_folder(), tmp_path / "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "broken", "mine"}


def test_past_the_bound_nothing_is_written(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sondino.exporters.int8_layers import Int8

    def wrong(net: onnx.ModelProto, *_: object) -> Int8:
        for tensor in net.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.ndim == 4:
                tensor.CopyFrom(numpy_helper.from_array(-values, tensor.name))
        return Int8(net, (), 1, 0, 0, 0.0)

    monkeypatch.setattr(quantizing, "quantized", wrong)
    for name, fewer in (("CALIBRATION_CLIPS", 4), ("SELECTION_CLIPS", 2), ("CLIPS", 12)):
        monkeypatch.setattr(quantizing, name, fewer)
    with pytest.raises(RunError, match="nothing was written"):
        quantize(bundle, sample_folder(), tmp_path / "out", quiet=True)
    assert list(tmp_path.iterdir()) == []
