import copy

import pytest
import torch
from torch import nn

from sondino.nets.fold import folded
from sondino.nets.hamilton import first_quaternions, hamilton
from sondino.nets.quaternion import Derivatives, QuaternionConv2d, QuaternionLinear, real_form
from sondino.nets.registry import STUDENTS, build_student
from sondino.nets.size import macs, parameters

UNITS = dict(zip("1ijk", torch.eye(4), strict=True))
TABLE = {  # row times column
    "1": ("1", "i", "j", "k"),
    "i": ("i", "-1", "k", "-j"),
    "j": ("j", "-k", "-1", "i"),
    "k": ("k", "j", "-i", "-1"),
}


def times(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Hamilton's product of quaternions (4, ...), written out."""
    a, b, c, d = p
    e, f, g, h = q
    return torch.stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


@pytest.mark.parametrize("row", TABLE)
def test_the_product_table(row):
    for column, expected in zip("1ijk", TABLE[row], strict=True):
        product = hamilton(UNITS[row][:, None, None]) @ UNITS[column]
        sign = -1 if expected[0] == "-" else 1
        assert torch.equal(product, sign * UNITS[expected[-1]]), (row, column)


def test_a_linear_layer_multiplies_quaternions():
    torch.manual_seed(0)
    layer = QuaternionLinear(12, 8)
    nn.init.normal_(layer.bias)
    x = torch.randn(5, 12)
    parts = x.unflatten(1, (4, 3)).permute(1, 0, 2)  # (4, batch, quaternions in)
    for output in range(2):
        expected = sum(times(layer.weight.unflatten(0, (4, 2))[:, output, i, None], parts[:, :, i]) for i in range(3))
        got = (layer(x) - layer.bias).unflatten(1, (4, 2))[:, :, output].T
        assert torch.allclose(got, expected, atol=1e-5)


def test_a_convolution_multiplies_quaternions():
    torch.manual_seed(0)
    layer = QuaternionConv2d(8, 4, (3, 1), padding=(1, 0), bias=False)
    x = torch.randn(2, 8, 6, 5)
    padded = nn.functional.pad(x, (0, 0, 1, 1)).unflatten(1, (4, 2)).transpose(0, 1)
    expected = torch.zeros(4, 2, 6, 5)
    for i in range(2):
        for tap in range(3):
            expected += times(layer.weight[:, i, tap, 0, None, None, None], padded[:, :, i, tap : tap + 6])
    assert torch.allclose(layer(x), expected.transpose(0, 1), atol=1e-5)


def test_gradients_by_finite_differences():
    layer = QuaternionConv2d(4, 8, (2, 2)).double()
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: nn.functional.conv2d(x, hamilton(w.unflatten(0, (4, 2)))), (x, layer.weight)
    )
    layer(x).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0


def test_a_quarter_of_the_weights():
    QuaternionConv2d(4, 4).to(memory_format=torch.channels_last)  # as the trainer lays out all nets
    real, quaternion = nn.Conv2d(32, 64, 3, bias=False), QuaternionConv2d(32, 64, (3, 3), bias=False)
    assert 4 * parameters(quaternion) == parameters(real)
    assert quaternion.real().weight.shape == real.weight.shape


def test_first_weights_keep_the_variance_of_a_relu_net():
    torch.manual_seed(0)
    layer = QuaternionLinear(512, 512, bias=False)
    assert layer(torch.randn(2000, 512)).var().item() == pytest.approx(2.0, rel=0.05)
    length = first_quaternions((100, 64)).square().sum(0)
    assert length.mean().item() == pytest.approx(4 / (2 * 64), rel=0.05)


def test_the_real_kernel_is_made_once_and_anew_after_a_change():
    layer = QuaternionLinear(4, 4).eval()
    with torch.no_grad():
        kept = layer.real_weight()
        assert layer.real_weight() is kept
        layer.weight.mul_(2)
        assert torch.equal(layer.real_weight(), 2 * kept)
        layer.load_state_dict(QuaternionLinear(4, 4).state_dict())
        assert torch.equal(layer.real_weight(), layer.real().weight)
    with torch.no_grad():
        kept = layer.real_weight()
        layer.weight.data.add_(1)  # as a fused optimiser changes it: unseen
        layer.train().eval()
        assert not torch.equal(layer.real_weight(), kept)
    copied = copy.deepcopy(layer)
    assert copied._kept is None
    assert layer.real_weight().requires_grad, "with gradients nothing is kept"


def test_derivatives_in_time():
    ramp = torch.arange(12.0).square()[None, None, None, :].repeat(1, 1, 3, 1)
    whole, first, second, third = Derivatives(3)(ramp)[0]
    assert torch.equal(whole, ramp[0, 0])
    # Of t^2 the slope is 2 t and its own slope 2; two frames at either end see repeated ones.
    assert torch.allclose(first[:, 2:-2], 2 * torch.arange(12.0)[2:-2], atol=1e-4)
    assert torch.allclose(second[:, 4:-4], torch.tensor(2.0), atol=1e-4)
    # Half of what lies two frames apart, and 0.1 of what lies one apart; at the first frame those before repeat it.
    assert first[0, 0].item() == pytest.approx(0.1 * (1 - 0) + 0.2 * (4 - 0))
    assert torch.allclose(Derivatives(2)(ramp.transpose(2, 3)).transpose(2, 3), Derivatives(3)(ramp))
    assert third.shape == whole.shape


@pytest.mark.parametrize("parts", ["derivatives", "learned"])
@pytest.mark.parametrize("name", ["mobilenetv3", "dymn", "eres2net", "cnn14"])
def test_the_quaternion_form_of_any_student(name, parts):
    torch.manual_seed(0)
    student, real = build_student(name, 0.2, quaternion=parts).eval(), build_student(name, 0.2)
    assert student.build["quaternion"] == parts
    assert parameters(student) < 0.6 * parameters(real), "depthwise kernels and norms stay as they are"
    x = torch.randn(2, student.logmel.n_mels, 40)
    with torch.no_grad():
        vectors = student(x).double()
        twin = real_form(copy.deepcopy(student))
        assert not any(isinstance(m, QuaternionConv2d | QuaternionLinear) for m in twin.modules())
        scale = vectors.abs().max()
        assert (twin(x) - vectors).abs().max() < 1e-3 * scale
        assert (folded(student)(x) - vectors).abs().max() < 1e-2 * scale
    assert macs(twin, 1.0) == pytest.approx(macs(real, 1.0), rel=0.25), "its first layer has four input channels"
    again = build_student(name, 0.2, **student.build)
    again.load_state_dict(student.state_dict())


def test_qcnn14_is_cnn14_of_quaternions():
    assert STUDENTS["qcnn14"].parameters * 3.99 < STUDENTS["cnn14"].parameters
    with torch.device("meta"):
        for name in ("cnn14", "qcnn14"):
            assert parameters(build_student(name)) == STUDENTS[name].parameters
    narrow = build_student("qcnn14", 0.125)
    assert (narrow.name, narrow.build) == ("qcnn14", {"quaternion": "derivatives"})
    assert build_student("qcnn14", 0.125, quaternion="learned").build == {"quaternion": "learned"}
