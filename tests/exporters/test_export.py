import copy
import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from helpers.stages import stages_in
from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike, distances
from sondino.errors import MissingExtra, OptionError, RunError, SondinoError
from sondino.exporters import export as exporting
from sondino.exporters.asked import Precision
from sondino.exporters.edge import Converted
from sondino.exporters.export import export
from sondino.files import sha256
from sondino.frontend.logmel_numpy import log_mel
from sondino.model.onnx_graph import front_end_graph, net_graph, with_unlike
from sondino.model.torch_model import TorchModel
from sondino.nets.student import Student
from sondino.progress import Report
from sondino.sample_sounds import sample_folder

RATE, DIM = 32000, 24
HEAD = Head("three", ("a", "b", "c"), False, ((np.random.default_rng(0).standard_normal((3, DIM)), np.zeros(3)),))


class Small(Student):
    """A student that traces in a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.width, self.dim = "small", 1.0, DIM
        torch.manual_seed(0)
        self.one, self.two = nn.Conv2d(1, 16, (128, 3), padding=(0, 1)), nn.Conv2d(16, DIM, (1, 1))

    def forward(self, logmel: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(self.as_image(logmel)))).mean((2, 3))


@cache
def traced_front_end(samples: int | None) -> onnx.ModelProto:
    return front_end_graph(Small(), samples)


@cache
def traced_net(samples: int | None) -> onnx.ModelProto:
    return net_graph(Small().eval(), samples, HEAD)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TorchModel:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    facts = {"teachers": [{"spec": "birdnet", "licence": "CC BY-NC-SA 4.0"}]}
    made = TorchModel(Small(), "mine", 1.0, "repeat", facts, HEAD).eval()
    monkeypatch.setattr(TorchModel, "open", lambda folder: made)
    monkeypatch.setattr("sondino.pretrained.locate.locate", lambda name: folder)
    # Tracing takes seconds, and it is the same each time.
    for module in ("sondino.exporters.export", "sondino.exporters.quantize"):
        monkeypatch.setattr(
            f"{module}.front_end_graph", lambda _, samples=None: copy.deepcopy(traced_front_end(samples))
        )
    monkeypatch.setattr(exporting, "net_graph", lambda _, samples=None, head=None: copy.deepcopy(traced_net(samples)))
    return made


def noise(batch: int, samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(samples).standard_normal((batch, samples))).astype(np.float32)


def close(ours: np.ndarray, theirs: np.ndarray, bound: float = 1e-4) -> None:
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < bound * np.abs(theirs).max()


def test_onnx_takes_any_batch_and_length_and_gives_probabilities(source: TorchModel, tmp_path: Path) -> None:
    facts = export("mine", "onnx", tmp_path / "out", quiet=True)
    file = tmp_path / "out" / "model.onnx"
    session = onnxruntime.InferenceSession(file)
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("waveform", ["batch", "samples"])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [
        ("vector", ["batch", DIM]),
        ("probabilities", ["batch", 3]),
    ]
    for batch, samples in ((1, 1024), (3, RATE), (2, 77777)):
        x = noise(batch, samples)
        vectors, probabilities = session.run(None, {"waveform": x})
        close(vectors, source.embed_array(x))
        head = source.as_head()
        assert head is not None
        np.testing.assert_allclose(probabilities, head.probabilities(source.embed_array(x)), atol=1e-5)
    assert facts == json.loads((tmp_path / "out" / "export.json").read_text())
    assert (facts["samples"], facts["batch"], facts["labels"]) == (None, None, ["a", "b", "c"])
    assert facts["hashes"]["model.onnx"] == sha256(file) and facts["verified"]["clips"] == 200
    assert facts["verified"]["difference"] < 1e-4 and facts["verified"]["neighbours"] > 0.99
    assert set(facts["verified"]["signals"]) == {
        *("silence", "noise", "sweep", "noise of 1024 samples", "noise of 42667 samples")
    }
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert (metadata["sample_rate"], metadata["dim"], metadata["window"]) == ("32000", str(DIM), "1")
    assert json.loads(metadata["labels"]) == ["a", "b", "c"] and "CC BY-NC-SA 4.0" in metadata["licence"]
    assert metadata["source_sha256"] == facts["source_hash"] == hashlib.sha256(b"weights").hexdigest()
    card = (tmp_path / "out" / "card.md").read_text()
    assert "any length from 1024 samples on" in card and "CC BY-NC-SA 4.0" in card and "200 real clips" in card


def scored(source: TorchModel) -> Unlike:
    """Give the model's head a score of what is unlike its clips, whose quantiles lie about the model's embeddings."""
    rng = np.random.default_rng(1)
    found = source.embed_array(noise(20, RATE))
    around = found.mean(0) + np.array([[0.0], [1.0]]) * found.std()
    directions = np.linalg.qr(rng.standard_normal((DIM, 3)))[0].T
    score = Unlike(around, directions, np.array([4.0, 2, 1, 0.5]) * found.var(), np.zeros(2))  # type: ignore[arg-type]
    ours = distances(found, score.means, score.directions, score.variances)
    # Two quantiles in one place: a part of the held-out windows may be at the same distance.
    score = replace(score, quantiles=np.sort(np.append(np.quantile(ours, np.linspace(0, 1, 9)), np.median(ours))))
    source.set_head(replace(HEAD, unlike=score))
    return score


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_onnx_gives_how_unlike_a_clip_is(source: TorchModel, tmp_path: Path, precision: Precision) -> None:
    score = scored(source)
    facts = export("mine", "onnx", tmp_path / "out", precision=precision, quiet=True)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert [(o.name, o.shape) for o in session.get_outputs()] == [
        ("vector", ["batch", DIM]),
        ("probabilities", ["batch", 3]),
        ("unlike", ["batch"]),
    ]
    given = np.concatenate([noise(20, RATE), 3 * noise(2, RATE)])
    vectors, unlike = session.run(["vector", "unlike"], {"waveform": given})
    np.testing.assert_allclose(unlike, score.scores(vectors), atol=1e-5)
    assert 0 < np.sort(unlike[:20])[5] < 1 and unlike[:20].std() > 0.1 and (unlike[20:] == 1).all()
    assert facts["unlike"] == {"classes": 2, "rank": 3, "quantiles": 10}
    assert not (tmp_path / "out" / "unlike.bin").exists()
    card = (tmp_path / "out" / "card.md").read_text()
    assert "and `unlike`" in card and "## Unknown sound" in card and "unlike.bin" not in card


def test_wrong_scores_of_what_is_unlike_are_refused(
    source: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(source)
    monkeypatch.setattr(
        exporting, "with_unlike", lambda net, unlike: with_unlike(net, replace(unlike, variances=2 * unlike.variances))
    )
    with pytest.raises(RunError, match="the exported head three gives unlike that differ"):
        export("mine", "onnx", tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_beside_a_phones_file_stands_what_the_score_is_computed_from(
    source: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = scored(source)
    done = Converted(1, RATE)
    monkeypatch.setattr("sondino.exporters.litert.write_litert", lambda source, file, *_: file.write_bytes(b"") or done)
    monkeypatch.setattr("sondino.exporters.litert.open_litert", lambda file: source.embed_array)
    facts = export("mine", "litert", tmp_path / "out", quiet=True)
    assert facts["hashes"]["unlike.bin"] == sha256(tmp_path / "out" / "unlike.bin")
    card = (tmp_path / "out" / "card.md").read_text()
    code = card.split("## Unknown sound")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path / "out")
    found = []
    for embedding in source.embed_array(noise(20, RATE)):
        names = {"np": np, "embedding": embedding}
        exec(code, names)
        found.append(names["unlike"])
    np.testing.assert_allclose(found, score.scores(source.embed_array(noise(20, RATE))), atol=1e-5)
    monkeypatch.chdir(tmp_path)
    source.set_head(HEAD)
    facts = export("mine", "litert", tmp_path / "out", quiet=True)
    assert facts["unlike"] is None and "Unknown sound" not in (tmp_path / "out" / "card.md").read_text()
    assert not (tmp_path / "out" / "unlike.bin").exists()


def test_a_fixed_window_and_the_net_without_its_front_end(source: TorchModel, tmp_path: Path) -> None:
    export("mine", "onnx", tmp_path / "fixed", window=0.5, quiet=True)
    session = onnxruntime.InferenceSession(tmp_path / "fixed" / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 16000]
    close(session.run(["vector"], {"waveform": noise(2, 16000)})[0], source.embed_array(noise(2, 16000)))

    facts = export("mine", "onnx", tmp_path / "body", body_only=True, window=0.5, quiet=True)
    session = onnxruntime.InferenceSession(tmp_path / "body" / "model.onnx")
    assert (session.get_inputs()[0].name, session.get_inputs()[0].shape) == ("logmel", ["batch", 128, 30])
    assert (facts["input"], facts["frames"]) == ("logmel", 30)
    x = noise(1, 16000)
    logmel = log_mel(source.backbone.logmel, x[0])[None]
    close(session.run(["vector"], {"logmel": logmel})[0], source.embed_array(x))
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "body" / "model.onnx").metadata_props}
    assert json.loads(metadata["front_end"])["hop"] == 512 and metadata["window"] == "0.5"


def test_a_page_is_made_and_checked_in_numbered_stages(
    source: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def page(bundle: Path, out: Path, precision: str, gallery: Path | None, progress: Report) -> None:
        (out / "model").mkdir()
        (out / "model" / "body.onnx").write_bytes(traced_net(None).SerializeToString())
        progress(3, 3)

    monkeypatch.setattr(exporting, "export_web", page)
    monkeypatch.setattr(exporting, "read_config", lambda file: {})
    exporting.export("mine", "web", tmp_path / "page")
    printed = capsys.readouterr().err
    assert stages_in(printed) == ["making the page", "checking on real clips"]
    assert "1 of 2: making the page: 3 of 3 sounds" in printed


def test_f16_halves_the_net_and_leaves_the_front_end(source: TorchModel, tmp_path: Path) -> None:
    stored = {}
    for precision in ("f32", "f16"):
        facts = export("mine", "onnx", tmp_path / precision, precision=precision, quiet=True)
        stored[precision] = {t.name: t for t in onnx.load(tmp_path / precision / "model.onnx").graph.initializer}
    assert facts["precision"] == "f16" and facts["verified"]["difference"] > 1e-6
    front_end = [name for name in stored["f32"] if name.startswith("frontend/")]
    assert {"frontend/real", "frontend/imaginary", "frontend/inner", "frontend/window"} < set(front_end)
    assert all(stored["f16"][name] == stored["f32"][name] for name in front_end)
    halves = [name for name, tensor in stored["f16"].items() if tensor.data_type == onnx.TensorProto.FLOAT16]
    assert halves == ["student.one.weight/half", "student.two.weight/half"]


def test_int8_is_calibrated_on_real_sound(source: TorchModel, tmp_path: Path) -> None:
    sounds = sample_folder() / "audio"
    facts = export("mine", "onnx", tmp_path / "out", precision="int8", calibrate=sounds, quiet=True)
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    assert facts["verified"]["cosine"] > 0.99 and facts["kept_promise"]
    x = noise(2, RATE)
    close(onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx").run(["vector"], {"waveform": x})[0],
          source.embed_array(x), 0.1)  # fmt: skip


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_openvino_runs_its_own_files(source: TorchModel, tmp_path: Path, precision: str) -> None:
    pytest.importorskip("openvino")
    from sondino.exporters.openvino import open_openvino

    facts = export("mine", "openvino", tmp_path / "out", precision=precision, quiet=True)
    assert sorted(facts["hashes"]) == ["model.bin", "model.xml"]
    run = open_openvino(tmp_path / "out" / "model.xml", threads=1)
    for samples in (RATE, 50001):
        x = noise(2, samples)
        close(run(x), source.embed_array(x), 1e-4 if precision == "f32" else 1e-2)
    assert "bfloat16" in (tmp_path / "out" / "card.md").read_text()


def test_openvino_in_f16_stores_the_values_that_onnx_stores(source: TorchModel, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from sondino.exporters.openvino import open_openvino

    for to in ("onnx", "openvino"):
        export("mine", to, tmp_path / to, precision="f16", quiet=True)
    # Two tones in silence: where the smallest constants were rounded as well, empty bands would show it.
    time = np.arange(2 * RATE) / RATE
    x = np.stack([np.sin(2 * np.pi * hertz * time) for hertz in (440, 5000)]).astype(np.float32)
    theirs = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx").run(["vector"], {"waveform": x})[0]
    close(open_openvino(tmp_path / "openvino" / "model.xml")(x), theirs, 1e-4)
    export("mine", "openvino", tmp_path / "f32", quiet=True)
    sizes = [(tmp_path / folder / "model.bin").stat().st_size for folder in ("openvino", "f32")]
    weights = 4 * (16 * 128 * 3 + 16 * 24)
    assert sizes[1] - sizes[0] == pytest.approx(weights / 2, abs=64)  # of the net alone


def test_a_wrong_graph_is_refused_and_leaves_nothing(
    source: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*given: object) -> onnx.ModelProto:
        student = Small().eval()
        student.two.weight.data *= 1.02
        return net_graph(student, *given[1:])

    monkeypatch.setattr(exporting, "net_graph", other)
    with pytest.raises(RunError, match=r"mine for onnx in f32 differs .* nothing was written"):
        export("mine", "onnx", tmp_path / "out", quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == {"bundle"}


def test_wrong_probabilities_are_refused(source: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(student: Student, samples: int | None = None, head: Head | None = None) -> onnx.ModelProto:
        assert head is not None
        turned = Head("turned", head.labels, False, ((head.layers[0][0][::-1], head.layers[0][1]),))
        return net_graph(student, samples, turned)

    monkeypatch.setattr(exporting, "net_graph", other)
    with pytest.raises(RunError, match="the exported head three gives probabilities that differ"):
        export("mine", "onnx", tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_the_folder_that_one_is_in_is_not_replaced(
    source: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OptionError, match="is the folder that you are in: name a new one"):
        export("mine", "onnx", Path(), quiet=True)


def test_an_older_export_is_replaced_and_nothing_else(source: TorchModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export("mine", "onnx", out, window=0.5, quiet=True)
    (out / "left.over").write_text("")
    export("mine", "onnx", out, quiet=True)
    assert sorted(file.name for file in out.iterdir()) == ["card.md", "export.json", "model.onnx"]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(OptionError, match="is no export of ours"):
        export("mine", "onnx", tmp_path / "letters", quiet=True)
    with pytest.raises(OptionError, match="is a file"):
        export("mine", "onnx", tmp_path / "letters" / "a.txt", quiet=True)
    assert (tmp_path / "letters" / "a.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "tensorrt"}, "to is 'tensorrt': give one of onnx, openvino"),
        ({"precision": "int4"}, "precision is 'int4': give one of f32, f16, int8"),
        ({"precision": "int8"}, "precision int8 needs calibrate: name a folder of real audio"),
        ({"calibrate": Path()}, "calibrate is for precision int8"),
        ({"window": 1.0, "dynamic": True}, "give one of them"),
        ({"window": 0.01}, r"window is 0.01 s, and mine needs 0.032 s"),
        ({"window": float("nan")}, r"window is nan s: give seconds above 0, 60 at most"),
        ({"window": float("inf")}, r"window is inf s: give seconds above 0, 60 at most"),
        ({"window": -1.0}, r"window is -1 s: give seconds above 0, 60 at most"),
        ({"to": "web", "body_only": True}, "to web takes no window"),
        ({"gallery": Path()}, "gallery is for web"),
    ],
)
def test_options_that_do_not_go_together(source: TorchModel, tmp_path: Path, options: dict, message: str) -> None:
    to = options.pop("to", "onnx")
    with pytest.raises(OptionError, match=message):
        export("mine", to, tmp_path / "out", quiet=True, **options)
    assert not (tmp_path / "out").exists()


def test_a_net_of_one_length_refuses_others(
    source: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.backbone.fixed_samples = RATE
    with pytest.raises(OptionError, match="mine takes clips of 1 s only"):
        export("mine", "onnx", tmp_path / "out", dynamic=True, quiet=True)
    with pytest.raises(OptionError, match="window is 2 s, and mine takes 1 s only"):
        export("mine", "onnx", tmp_path / "out", window=2.0, quiet=True)


def test_a_runtime_that_is_not_there_gets_a_message(
    source: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"openvino is not installed: pip install 'sondino\[openvino\]'"):
        export("mine", "openvino", tmp_path / "out", quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == {"bundle"}


def test_what_is_no_bundle_gets_a_message(tmp_path: Path, tiny_bundle: Path) -> None:
    with pytest.raises(SondinoError, match="nowhere"):
        export(str(tmp_path / "nowhere"), "onnx", tmp_path / "out")
    with pytest.raises(SondinoError, match="holds 'tiny', which can be embedded with, but neither"):
        export(str(tiny_bundle), "onnx", tmp_path / "out")
    config = json.loads((tiny_bundle / "config.json").read_text())
    (tiny_bundle / "config.json").write_text(json.dumps({**config, "format": "other"}))
    with pytest.raises(SondinoError, match="other"):
        export(str(tiny_bundle), "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
