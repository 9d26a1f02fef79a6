import json
from pathlib import Path

import numpy as np
import pytest

from sondino.encoder.head import Head, sigmoid, softmax
from sondino.errors import OptionError, SondinoError
from sondino.model.head import read_head, write_head

WEIGHT = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], np.float32)
BIAS = np.array([0.0, 0.5, 0.0], np.float32)
LABELS = ("low", "middle", "high")


def linear(**changes: object) -> Head:
    return Head(**{"name": "h", "labels": LABELS, "multi_label": False, "layers": ((WEIGHT, BIAS),), **changes})


def test_a_linear_head_is_a_product_and_a_softmax_or_a_sigmoid() -> None:
    x = np.array([[2.0, 1.0], [0.0, 0.0]], np.float32)
    logits = np.array([[2.0, 1.5, -3.0], [0.0, 0.5, 0.0]])
    assert np.allclose(linear().logits(x), logits)
    powers = np.exp(logits)
    shared = linear().probabilities(x)
    assert np.allclose(shared, powers / powers.sum(1, keepdims=True)) and shared.dtype == np.float32
    own = linear(multi_label=True).probabilities(x)
    assert np.allclose(own, 1 / (1 + np.exp(-logits))) and own.dtype == np.float32


def test_layers_follow_each_other_with_the_activation_between() -> None:
    first = (np.array([[1.0], [-1.0]]), np.array([0.0, 0.0]))
    second = (np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 0.0]))
    x = np.array([[2.0], [-4.0]])
    deep = linear(labels=("a", "b"), layers=(first, second))
    assert deep.logits(x).tolist() == [[2.0, 0.0], [0.0, 4.0]]  # relu of (x, -x)
    deep = linear(labels=("a", "b"), layers=(first, second), activation="hardswish")
    # hardswish(v) = v * clip(v + 3, 0, 6) / 6: 2 -> 10/6, -2 -> -2/6, 4 -> 4, -4 -> 0
    assert np.allclose(deep.logits(x), [[10 / 6, -2 / 6], [0.0, 4.0]])


def test_no_logit_is_too_large() -> None:
    huge = np.array([[1000.0, -1000.0, 0.0]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        assert softmax(huge).tolist() == [[1.0, 0.0, 0.0]]
        assert sigmoid(huge).tolist() == [[1.0, 0.0, 0.5]]


def test_top_gives_the_likeliest_first() -> None:
    assert linear().top(np.array([0.2, 0.7, 0.1], np.float32), 2) == [
        ("middle", pytest.approx(0.7)),
        ("low", pytest.approx(0.2)),
    ]
    assert len(linear().top(np.array([0.2, 0.7, 0.1], np.float32), 99)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a", "a", "b")}, "not unique"),
        ({"labels": ("a", " ", "b")}, "a label is empty"),
        ({"labels": ()}, "0 labels"),
        ({"labels": ("a",), "layers": ((WEIGHT[:1], BIAS[:1]),)}, "needs 2 or more"),
        ({"labels": ("a", "b")}, "3 outputs for 2 labels"),
        ({"layers": ()}, "no layer"),
        ({"layers": ((WEIGHT, BIAS[:2]),)}, r"biases \(2,\)"),
        ({"layers": ((WEIGHT, BIAS), (WEIGHT, BIAS))}, "layer 2 has 2 inputs where the one before has 3 outputs"),
        ({"layers": ((WEIGHT * np.nan, BIAS),)}, "NaN"),
        ({"activation": "gelu"}, "activation is 'gelu'"),
    ],
)
def test_a_head_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        linear(**changes)


def test_vectors_of_another_length_are_refused() -> None:
    for wrong in (np.zeros((1, 3)), np.zeros(2)):
        with pytest.raises(OptionError, match=r"shape \(n, 2\)"):
            linear().logits(wrong)


def test_one_label_can_be_there_or_not() -> None:
    head = linear(labels=("bird",), layers=((WEIGHT[:1], BIAS[:1]),), multi_label=True)
    assert head.probabilities([[0.0, 0.0]]).tolist() == [[0.5]]


def test_it_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    first = (np.arange(8, dtype=np.float32).reshape(4, 2), np.ones(4, np.float32))
    second = (np.arange(12, dtype=np.float32).reshape(3, 4), BIAS)
    head = linear(layers=(first, second), activation="hardswish", note="made by hand", multi_label=True)
    entry = json.loads(json.dumps(write_head(tmp_path, head)))
    back = read_head(tmp_path, entry)
    assert [f.name for f in tmp_path.iterdir()] == ["head.safetensors"]
    assert (back.name, back.labels, back.multi_label) == ("h", LABELS, True)
    assert (back.activation, back.note, back.dim) == ("hardswish", "made by hand", 2)
    for mine, other in zip(head.layers, back.layers, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("damage", ["gone", "half", "other", "labels", "layers", "words"])
def test_a_damaged_head_gets_a_message(tmp_path: Path, damage: str) -> None:
    entry = write_head(tmp_path, linear())
    file = tmp_path / "head.safetensors"
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "half":
        file.write_bytes(whole[: len(whole) // 2])
        entry.pop("sha256")
    elif damage == "other":
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "labels":
        entry["labels"] = ["low", "high"]
    elif damage == "layers":
        entry["layers"] = 2
    else:
        del entry["labels"]
    with pytest.raises(SondinoError, match=r"head\.safetensors.*copy the whole bundle again"):
        read_head(tmp_path, entry)
