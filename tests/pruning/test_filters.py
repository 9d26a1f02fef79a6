import copy

import numpy as np
import pytest
import torch
from torch import nn

from sondino.errors import OptionError
from sondino.nets.channels import sizes
from sondino.nets.dymn import DynamicConv
from sondino.nets.fold import folded
from sondino.nets.quaternion import QuaternionConv2d, real_form
from sondino.nets.registry import build_student
from sondino.nets.size import macs, parameters
from sondino.nets.student import Student
from sondino.pruning import filters
from sondino.pruning.filters import prune_student
from sondino.pruning.groups import groups_of, weighted


def net(name: str, width: float = 0.25, quaternion: str | None = None) -> Student:
    """A student whose norms have embedded something, so that no layer is all but silent."""
    torch.manual_seed(0)
    student = build_student(name, width, quaternion=quaternion)  # type: ignore[arg-type]
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        student.train()(torch.randn(4, student.logmel.n_mels, 96))
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return student.eval()


def silence(layer: nn.Module, channels: torch.Tensor) -> None:
    """Zeros in place of some channels that a layer of a real net gives."""
    with torch.no_grad():
        if isinstance(layer, DynamicConv):
            layer.weight[0, 0].unflatten(1, (layer.outputs, -1))[:, channels] = 0
            return
        layer.weight[channels] = 0
        if layer.bias is not None:
            layer.bias[channels] = 0


@pytest.mark.parametrize("quaternion", [None, "derivatives"])
@pytest.mark.parametrize("name", ["cnn14", "mobilenetv3", "dymn", "eres2net"])
def test_a_pruned_net_is_the_whole_one_without_some_channels(name, quaternion, monkeypatch):
    student = net(name, quaternion=quaternion)
    before, taken = copy.deepcopy(student.state_dict()), []
    take_out = filters._take_out
    monkeypatch.setattr(filters, "_take_out", lambda *given: taken.append(given) or take_out(*given))
    pruned = prune_student(student, "l1", 0.4).student
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items()), "it stays as it is"
    assert pruned.dim == student.dim
    assert parameters(pruned) < 0.8 * parameters(student) and macs(pruned, 1.0) < 0.8 * macs(student, 1.0)
    twin = real_form(copy.deepcopy(student))
    layers = dict(twin.named_modules())
    for _, groups, dropped in taken:
        for group, units in zip(groups, dropped, strict=True):
            for member in filter(lambda member: member.gives, group.members):
                silence(layers[member.layer], member.channels[np.isin(group.units[member.roots], units)])
    x = torch.randn(2, student.logmel.n_mels, 60)
    with torch.no_grad():
        vectors = pruned(x)
        assert (twin(x) - vectors).abs().max() < 1e-4 * vectors.abs().max()
        again = build_student(name, student.width, **pruned.build)
        again.load_state_dict(pruned.state_dict())
        assert torch.equal(again.eval()(x), vectors)
        assert (folded(pruned)(x) - vectors).abs().max() < 1e-2 * vectors.abs().max()


def test_the_filters_that_score_least_go():
    student = net("cnn14", 0.125)
    conv = student.get_submodule("conv_block4.conv1")
    with torch.no_grad():
        conv.weight[[3, 17, 40]] *= 1e-3
    pruned = prune_student(student, "l1", 3 / 64, layers="conv_block4.conv1")
    assert pruned.filters == {"conv_block4.conv1": (64, 61)}
    kept = np.delete(np.arange(64), [3, 17, 40])
    assert torch.equal(pruned.student.get_submodule("conv_block4.conv1").weight, conv.weight[kept])
    after = student.get_submodule("conv_block4.conv2").weight
    assert torch.equal(pruned.student.get_submodule("conv_block4.conv2").weight, after[:, kept])
    assert torch.equal(pruned.student.get_submodule("conv_block4.bn1").running_var,
                       student.get_submodule("conv_block4.bn1").running_var[kept])  # fmt: skip


def test_a_quaternion_filter_is_one_unit():
    student = net("qcnn14", 0.125)
    layer = student.get_submodule("conv_block3.conv2")
    assert isinstance(layer, QuaternionConv2d)
    with torch.no_grad():
        layer.weight[5::8] *= 1e-3  # all four parts
    pruned = prune_student(student, "operator-norm", 1 / 8, layers="conv_block3.conv2")
    small = pruned.student.get_submodule("conv_block3.conv2")
    kept = [0, 1, 2, 3, 4, 6, 7]
    assert pruned.filters == {"conv_block3.conv2": (32, 28)}
    four = [part * 8 + i for part in range(4) for i in kept]
    assert torch.equal(small.weight, layer.weight[four])
    norm = student.get_submodule("conv_block3.bn2")
    assert torch.equal(pruned.student.get_submodule("conv_block3.bn2").weight, norm.weight[four])


def test_each_layer_its_share_or_all_together():
    student = net("cnn14", 0.125)
    late = prune_student(student, "l1", 0.5, layers="conv_block[56].*")
    assert late.filters == {f"conv_block{b}.conv{c}": (n, n // 2) for b, n in ((5, 128), (6, 256)) for c in (1, 2)}
    with torch.no_grad():
        student.get_submodule("conv_block2.conv1").weight[:8] *= 1e-6
        student.get_submodule("conv_block5.conv1").weight[:40] *= 1e-6
    total = sum(group.count for group in groups_of(student))
    together = prune_student(student, "l1", 48 / total, together=True)
    assert together.filters == {"conv_block2.conv1": (16, 8), "conv_block5.conv1": (128, 88)}


def test_together_leaves_each_layer_its_best():
    student = net("cnn14", 0.125)
    with torch.no_grad():
        student.get_submodule("conv_block6.conv1").weight[1:] *= 1e-9
    pruned = prune_student(student, "l1", 0.9, together=True)
    assert sizes(pruned.student.get_submodule("conv_block6.conv1"))[0] >= 1
    assert all(few >= 1 for _, few in pruned.filters.values())


@pytest.mark.parametrize("name", ["mobilenetv3", "eres2net", "cnn14"])
def test_only_what_gives_the_vector_stays_whole(name):
    student = net(name)
    given = {layer for group in groups_of(student) for layer in group.givers}
    whole = [layer for layer in weighted(student) if layer not in given]
    last = {"mobilenetv3": ["features.16.0"], "cnn14": ["fc1"]}
    assert whole == last.get(name, whole)
    assert all(layer.startswith(("layer5", "layer4_downsample", "fuse_mode12345")) for layer in whole) or name in last


def test_a_pruned_net_is_pruned_again():
    student = net("mobilenetv3")
    once = prune_student(student, "l1", 0.3).student
    twice = prune_student(once, "geometric-median", 0.3).student
    assert parameters(twice) < parameters(once) < parameters(student)
    rebuilt = build_student("mobilenetv3", 0.25, **twice.build)
    rebuilt.load_state_dict(twice.state_dict())


def test_steps_end_at_the_share_that_was_asked_for():
    student = net("qcnn14", 0.125)
    once, smaller = prune_student(student, "l1", 0.5), student
    for step in range(1, 11):
        last = prune_student(smaller, "l1", 1 - 0.5 ** (step / 10), whole=student)
        smaller = last.student
    assert smaller.channels == once.student.channels
    assert last.whole == once.whole == ["fc1"]


def test_taylor_is_scored_on_real_audio():
    student = net("cnn14", 0.125)
    x = [torch.randn(3, 64, 40)]
    pruned = prune_student(student, "taylor", 0.5, logmels=x)
    assert pruned.filters["conv_block6.conv2"] == (256, 128)
    with torch.no_grad():
        whole = nn.functional.cosine_similarity(pruned.student(x[0]), student(x[0])).mean()
        other = prune_student(student, "l1", 0.5).student
        assert whole > nn.functional.cosine_similarity(other(x[0]), student(x[0])).mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.0}, "ratio 0 is out of range: give the share of filters to leave out, between 0 and 1"),
        ({"ratio": 1.5}, "ratio 1.5 is out of range"),
        ({"ratio": float("nan")}, "ratio nan is out of range"),
        ({"ratio": 0.97}, "ratio 0.97 would empty conv_block1.conv2, which has 8 filters: give 0.93 or less"),
        ({"ratio": 0.0001}, "ratio 0.0001 leaves out no filter"),
        ({"layers": "block9.*"}, "layers 'block9.*' matches no layer: cnn14 has conv_block1.conv1, conv_block1.conv2"),
        ({"layers": "fc1"}, "matches only layers that are not pruned (fc1)"),
        ({"score": "taylor"}, "score taylor needs audio: give --corpus or --labels"),
        ({"score": "l2"}, "l2"),
    ],
)
def test_mistakes_get_a_message(options, message):
    with pytest.raises(OptionError) as found:
        prune_student(net("cnn14", 0.125), **{"score": "l1", "ratio": 0.5, **options})
    assert message in str(found.value)
