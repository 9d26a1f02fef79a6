"""A bundle as a plain torch module that people train with their own loop."""

import copy
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn

import sondino
from helpers.tiny_student import RATE, write_paper_bundle
from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike
from sondino.errors import (
    OptionError,
    SondinoError,
)
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.model.head import write_head
from sondino.model.torch_model import TorchModel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_paper_bundle(tmp_path / "paper")


@pytest.fixture
def network(folder: Path) -> TorchModel:
    return TorchModel.open(folder)


def noise(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy((0.1 * rng.standard_normal((batch, samples))).astype(np.float32))


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_without_a_head_it_gives_the_students_embeddings(network: TorchModel) -> None:
    x = noise(2, RATE)
    assert network.head is None and not network.training and network.sample_rate == RATE and network.dim == 96
    with torch.inference_mode():
        expected = network.backbone(FFTLogMel(network.backbone.logmel)(x))
        assert torch.equal(network(x), expected) and torch.equal(network.embed(x), expected)
        assert network(noise(2, 5)).shape == (2, 96)  # shorter than one frame: padded, as the ONNX form is


def test_with_head_copies_the_network(network: TorchModel) -> None:
    before = weights(network)
    linear = network.with_head(["a", "b", "c"])
    assert (
        isinstance(linear.head, nn.Linear) and linear.head.weight.shape == (3, 96) and linear.labels == ("a", "b", "c")
    )
    deep = network.with_head(4, kind="mlp", hidden=(32, 16), multi_label=True)
    assert [type(layer).__name__ for layer in deep.head] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert [layer.weight.shape for layer in deep.head[::2]] == [(32, 96), (16, 32), (4, 16)]
    assert deep.labels == ("class 0", "class 1", "class 2", "class 3") and deep.multi_label
    assert network.head is None and same(weights(network), before)
    assert linear.backbone is not network.backbone
    x = noise(2, RATE // 4)
    with torch.inference_mode():
        assert torch.equal(linear(x), linear.head(network.embed(x))) and deep(x).shape == (2, 4)


def test_a_head_is_the_same_in_torch_and_numpy(network: TorchModel) -> None:
    rng = np.random.default_rng(0)
    for sizes, activation in (((96, 3), "relu"), ((96, 8, 3), "relu"), ((96, 8, 5, 3), "hardswish")):
        layers = tuple((rng.standard_normal((o, i)), rng.standard_normal(o)) for i, o in pairwise(sizes))
        head = Head("h", ("a", "b", "c"), False, layers, activation, "a note", "repeat")  # type: ignore[arg-type]
        network.set_head(head)
        vectors = rng.standard_normal((4, 96)).astype(np.float32)
        with torch.inference_mode():
            assert np.allclose(network.head(torch.from_numpy(vectors)).numpy(), head.logits(vectors), atol=1e-3)
        back = network.as_head()
        assert (back.name, back.activation, back.note, back.short) == ("h", activation, "a note", "repeat")
        assert np.array_equal(back.logits(vectors), head.logits(vectors))


def test_a_head_keeps_its_background_and_its_score_and_another_net_has_no_score(network: TorchModel) -> None:
    parts = np.zeros((1, network.dim)), np.eye(network.dim)[:1], np.ones(2), np.arange(3.0)
    layers = ((np.ones((2, network.dim)), np.zeros(2)),)
    network.set_head(Head("h", ("a", "none"), False, layers, background="none", unlike=Unlike(*parts)))
    head, other = network.as_head(), network.with_backbone(network.backbone).as_head()
    assert head is not None and head.unlike is not None and head.background == "none"
    assert other is not None and other.unlike is None and other.background == "none"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"labels": ["a", "a"]}, "not unique"),
        ({"labels": 0}, "0 labels"),
        ({"labels": 1}, "needs 2 or more"),
        ({"labels": 3, "kind": "tree"}, "give one of linear, mlp"),
        ({"labels": 3, "kind": "mlp", "hidden": ()}, "hidden is empty"),
        ({"labels": 3, "kind": "mlp", "hidden": (8, 0)}, "hidden is 8,0"),
    ],
)
def test_a_head_that_cannot_be_is_refused(network: TorchModel, asked: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        network.with_head(**asked)


def test_what_cannot_be_saved_as_a_head_gets_a_message(network: TorchModel) -> None:
    assert network.as_head() is None
    other, mixed = [nn.Linear(96, 4), nn.Tanh(), nn.Linear(4, 2)], [nn.Linear(96, 4), nn.ReLU(), nn.Linear(4, 4)]
    mixed += [nn.Hardswish(), nn.Linear(4, 2)]
    for strange in (nn.Sequential(*other), nn.Sequential(*mixed), nn.Conv1d(96, 2, 1)):
        network.head, network.labels = strange, ("a", "b")
        with pytest.raises(OptionError, match="only a head of Linear layers"):
            network.as_head()
    with pytest.raises(OptionError, match="takes embeddings of 5 dimensions, and those of paper have 96"):
        network.set_head(Head("h", ("a", "b"), False, ((np.zeros((2, 5)), np.zeros(2)),)))


def test_it_trains_in_any_loop(network: TorchModel) -> None:
    # Two classes of tones, by pitch; BatchNorms take part, as in any module in training.
    at = np.arange(RATE // 4) / RATE
    sounds = [np.sin(2 * np.pi * (300 if i % 2 else 3000) * at + i) for i in range(12)]
    x, wanted = torch.from_numpy(0.3 * np.stack(sounds).astype(np.float32)), torch.arange(12) % 2
    model = network.with_head(["high", "low"])
    before = weights(model)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model.train()(x), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 < losses[0]
    after = weights(model)
    changed = {name.partition(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"backbone", "head"}
    assert any("running_mean" in name and not torch.equal(before[name], after[name]) for name in after)


def test_a_frozen_backbone_keeps_its_weights_and_its_averages(network: TorchModel) -> None:
    model = network.with_head(3).freeze()
    assert model.train() is model and model.training and model.head.training
    assert not any(module.training for module in model.backbone.modules())
    before = weights(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    nn.functional.cross_entropy(model(noise(4, RATE // 4)), torch.arange(4) % 3).backward()
    optimizer.step()
    after = weights(model)
    changed = {name.partition(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"head"}
    assert model.unfreeze() is model and all(p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.backbone.modules())
    assert not any(module.training for module in model.freeze().eval().modules())
    assert not any(module.training for module in model.unfreeze().modules())


def test_it_is_a_module_like_any_other(network: TorchModel, folder: Path) -> None:
    model = network.with_head(3)
    assert {name.partition(".")[0] for name in model.state_dict()} == {"backbone", "head"}
    other = TorchModel.open(folder).with_head(3)
    assert not same(weights(model), weights(other))
    other.load_state_dict(model.state_dict())
    x = noise(2, RATE // 4)
    with torch.inference_mode():
        assert torch.equal(model(x), other(x)) and torch.equal(copy.deepcopy(model)(x), model(x))
    devices = {tensor.device.type for tensor in (*model.to("meta").state_dict().values(), *model.frontend.buffers())}
    assert devices == {"meta"}  # what moves there moves to any device
    assert {p.device.type for p in model.with_head(5).parameters()} == {"meta"}


def test_it_opens_with_the_bundles_head(folder: Path, network: TorchModel) -> None:
    head = network.with_head(["a", "b"], multi_label=True).as_head()
    write_paper_bundle(folder, head=write_head(folder, head))
    opened = TorchModel.open(folder)
    assert opened.labels == ("a", "b") and opened.multi_label
    assert np.array_equal(opened.as_head().layers[0][0], head.layers[0][0])


def test_a_bundle_that_cannot_be_opened_gets_a_message(tmp_path: Path) -> None:
    with pytest.raises(SondinoError, match=r"config\.json"):
        TorchModel.open(tmp_path)
    with pytest.raises(OptionError, match="can be embedded with, but neither trained"):
        TorchModel.open(write_paper_bundle(tmp_path / "teacher", student="matpac"))


def test_a_saved_bundle_keeps_its_facts_and_the_network_is_unchanged(
    network: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {}

    def keep(model, folder, clips=()):
        written.update({**vars(model), "head": model.as_head()})
        return folder

    monkeypatch.setattr("sondino.model.write.write_bundle", keep)
    model = network.with_head(["a", "b"]).train()
    before = weights(model)
    assert model.save(tmp_path / "out", facts={"data": {"clips": 5}}, head_note="by hand") == tmp_path / "out"
    assert written["name"] == "paper" and (written["window"], written["short"]) == (0.25, "repeat")
    assert written["facts"]["teachers"][0]["licence"] == "CC BY-NC-SA 4.0" and written["facts"]["data"] == {"clips": 5}
    assert "scores" not in written["facts"]  # were of the net before it was trained
    assert written["head"].labels == ("a", "b") and written["head"].note == "by hand"
    assert same(weights(model), before) and model.training


@pytest.mark.slow
@pytest.mark.usefixtures("traced_once")
def test_saved_and_opened_again_it_is_the_same_in_torch_and_without(network: TorchModel, tmp_path: Path) -> None:
    model = network.with_head(["a", "b", "c"], kind="mlp", hidden=(16,))
    model.save(tmp_path / "out", name="mine", clips=[noise(1, RATE)[0].numpy()])
    opened, fast = TorchModel.open(tmp_path / "out"), sondino.load(tmp_path / "out")
    assert same(weights(opened), weights(model)) and opened.labels == fast.head.labels == ("a", "b", "c")
    x = noise(3, RATE // 4)
    with torch.inference_mode():
        assert np.abs(fast.embed(x.numpy()) - opened.embed(x).numpy()).max() < 1e-4
        assert np.allclose(fast.classify(x.numpy()), opened(x).softmax(1).numpy(), atol=1e-4)
    assert (
        isinstance(fast.torch_model(), TorchModel)
        and json.loads((tmp_path / "out" / "config.json").read_text())["name"] == "mine"
    )
