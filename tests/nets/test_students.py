import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.golden import DATA, error, keys, state_dict, strip, wave
from sondino.distillation.mapping import MappingHead
from sondino.errors import OptionError
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.nets.depthwise import depthwise
from sondino.nets.dymn import DynamicConv, DynamicReLU
from sondino.nets.fold import folded
from sondino.nets.initial import load_initial
from sondino.nets.registry import STUDENTS, build_student

BACKBONE, HEAD = "student_model.model.", "student_model.classification_head."
NAMES = ["mobilenetv3", "dymn", "eres2net"]
"""S-SONDO's; CNN14 has its golden embeddings in test_cnn14.py."""


@pytest.fixture(scope="module")
def published():
    """Each student with the weights of the rule, and its whole checkpoint."""
    students = {}
    for name in NAMES:
        state = state_dict(f"student_{name}")
        student = build_student(name)
        student.load_state_dict(strip(state, BACKBONE))
        students[name] = student.eval(), state
    return students


def small(name: str) -> torch.nn.Module:
    """A narrow student whose norms have seen a batch: at first values ERes2Net's activations only saturate."""
    torch.manual_seed(0)
    student = build_student(name, {"eres2net": 0.5, "cnn14": 0.125, "qcnn14": 0.125}.get(name, 0.4)).train()
    norms = [m for m in student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        student(noise(4, 60, student.logmel.n_mels))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return student.eval()


def noise(batch: int, frames: int, mels: int = 128) -> torch.Tensor:
    return torch.randn(batch, mels, frames, generator=torch.Generator().manual_seed(1)) - 3


# Published structure


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_the_published_ones_in_order(name):
    expected = [(n.removeprefix(BACKBONE), s) for n, s in keys(f"student_{name}") if n.startswith(BACKBONE)]
    student = build_student(name)
    assert [(n, tuple(v.shape)) for n, v in student.state_dict().items()] == expected
    assert sum(p.numel() for p in student.parameters()) == STUDENTS[name].parameters
    assert (student.name, student.width, student.dim) == (name, 1.0, STUDENTS[name].dim)


@pytest.mark.parametrize("name", NAMES)
def test_gives_the_published_embedding_and_projection(published, name):
    student, state = published[name]
    head = MappingHead(student.dim, 3840).eval()
    head.load_state_dict(strip(state, HEAD))
    golden = np.load(DATA / "students.npz")
    with torch.inference_mode():
        vectors = student(FFTLogMel()(torch.from_numpy(wave(10, 32000))[None]))
        assert error(vectors[None], golden[f"{name}_emb_10s"]) < 1e-5
        assert error(head(vectors), golden[f"{name}_proj_10s"]) < 1e-5
        if name != "dymn":  # the reference raises for two segments
            segments = torch.from_numpy(wave(25, 32000)[: 2 * 320000]).view(2, -1)
            assert error(student(FFTLogMel()(segments))[None], golden[f"{name}_emb_25s"]) < 1e-5


# Any width, any length, any batch


@pytest.mark.parametrize(
    ("name", "width", "dim"),
    [("mobilenetv3", w, d) for w, d in ((0.4, 384), (0.5, 480), (1.0, 960), (2.0, 1920))]
    + [("dymn", w, d) for w, d in ((0.4, 384), (1.0, 960), (2.0, 1920))]
    + [("eres2net", w, d) for w, d in ((0.5, 512), (1.0, 1024))],
)
def test_widths(name, width, dim):
    with torch.device("meta"):
        student = build_student(name, width).eval()
        assert student.dim == dim
        assert student(torch.empty(2, 128, 40)).shape == (2, dim)


def test_width_04_rounds_channels_as_efficientat_does():
    with torch.device("meta"):
        shapes = {n: tuple(v.shape) for n, v in build_student("mobilenetv3", 0.4).state_dict().items()}
        dynamic = {n: tuple(v.shape) for n, v in build_student("dymn", 0.4).state_dict().items()}
    assert shapes["features.0.0.weight"] == (8, 1, 3, 3)
    assert shapes["features.4.block.0.0.weight"] == (32, 16, 1, 1)  # 72 * 0.4 = 28.8; 24 * 0.4 = 9.6 is not 8
    assert shapes["features.4.block.2.conc_se_layers.0.fc1.weight"] == (8, 32)
    assert shapes["features.16.0.weight"] == (384, 64, 1, 1)
    assert dynamic["layers.0.context_gen.joint_conv.weight"] == (16, 8, 1, 1)
    assert dynamic["layers.14.context_gen.joint_conv.weight"] == (48, 64, 1, 1)


@pytest.mark.parametrize("name", STUDENTS)
def test_any_length_and_a_batch_gives_what_its_clips_give(name):
    student = small(name)
    with torch.inference_mode():
        for frames in (student.minimum_frames, 33, 150):
            logmel = noise(3, frames, student.logmel.n_mels)
            vectors = student(logmel)
            assert vectors.shape == (3, student.dim)
            assert vectors.isfinite().all()
            assert vectors.std(dim=0).max() > 1e-4 * vectors.abs().max()  # embeddings depend on the clips
            for i in range(3):
                assert error(student(logmel[i : i + 1]), vectors[i : i + 1]) < 1e-4
        logmel = noise(2, 40, student.logmel.n_mels)
        assert torch.equal(student(logmel[:, None]), student(logmel))


@pytest.mark.parametrize("name", STUDENTS)
def test_shorter_than_the_minimum_is_refused(name):
    student = small(name)
    assert student.minimum_samples == student.logmel.samples_for(student.minimum_frames)
    with pytest.raises(ValueError, match=f"pad the clip to {student.minimum_samples} samples"):
        student(noise(1, student.minimum_frames - 1, student.logmel.n_mels))
    with pytest.raises(ValueError, match="takes log-mels"):
        student(torch.zeros(1, 63, 100))


def test_eres2net_at_one_frame_less_would_have_no_deviation():
    student = small("eres2net")
    student.minimum_frames = 16
    with torch.inference_mode(), pytest.warns(UserWarning, match="degrees of freedom"):
        assert student(noise(1, 16)).isnan().any()


# Training


@pytest.mark.parametrize("name", STUDENTS)
def test_trains_in_bfloat16_with_channels_last_throughout(name):
    student = small(name).train().to(memory_format=torch.channels_last)
    strayed = []

    def look(module, inputs, output):
        if not output.is_contiguous(memory_format=torch.channels_last) or output.dtype != torch.bfloat16:
            strayed.append((module, output.dtype))

    for place, module in student.named_modules():
        # CNN14's first norm is of mels, before any convolution; an image of one channel has no layout of its own.
        if isinstance(module, torch.nn.BatchNorm2d) and place not in ("bn0", "conv_block1.bn1"):
            module.register_forward_hook(look)
    with torch.autocast("cpu", torch.bfloat16):
        vectors = student(noise(4, 70, student.logmel.n_mels))
    assert vectors.dtype == torch.float32
    assert not strayed
    vectors.square().mean().backward()
    gradients = [p.grad for p in student.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(9, 14), (1, 1), (4, 1), (4, 3)])
def test_depthwise_gradients_are_those_of_conv2d(dtype, kernel, stride, size):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 6, *size, generator=generator).to(dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(6, 1, kernel, kernel, generator=generator)
    results = []
    for function in (depthwise, lambda x, w, s: F.conv2d(x, w, None, s, kernel // 2, 1, 6)):
        ours = function is depthwise
        a = (x if ours else x.float()).clone().requires_grad_()
        b = (weight if ours else weight.to(dtype).float()).clone().requires_grad_()
        y = function(a, b, stride)
        (y.float() * torch.arange(y.numel()).view(y.shape).sin()).sum().backward()
        results.append((y.float(), a.grad.float(), b.grad))
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for got, expected in zip(*results, strict=True):
        assert error(got.detach(), expected.detach()) < tolerance


def spoil_free_memory():
    """Leaves NaN in the memory handed out next, so that a kernel which reads beyond its image shows."""
    sizes = [4**i for i in range(2, 9)] * 6
    held = [torch.full((n,), float("nan"), dtype=t) for n in sizes for t in (torch.float32, torch.bfloat16)]
    del held


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(1, 1), (4, 1)])
def test_depthwise_gradient_reads_nothing_beyond_a_single_frame(kernel, size):
    # oneDNN's own does, in bfloat16 at stride 2.
    x = torch.ones(2, 6, *size, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    for _ in range(10):
        weight = torch.zeros(6, 1, kernel, kernel, dtype=torch.bfloat16, requires_grad=True)
        y = depthwise(x, weight, 2)
        spoil_free_memory()
        y.sum().backward()
        column = weight.grad[:, 0, :, kernel // 2]
        assert torch.equal(weight.grad.float().sum((1, 2, 3)), column.float().sum(1))  # no NaN, and 0 beside it
        assert column[:, kernel // 2].eq(2 * ((size[0] + 1) // 2)).all()


@pytest.mark.parametrize("name", STUDENTS)
def test_untrained_vectors_differ_between_clips_and_are_of_sane_size(name):
    student = small(name).train()
    vectors = student(noise(8, 70, student.logmel.n_mels)).detach()
    assert 1e-3 < vectors.abs().mean() < 10
    assert vectors.std(dim=0).mean() > 1e-3


# DyMN's dynamic parts against their definitions


@pytest.mark.parametrize("temperature", [1.0, 30.0])
@pytest.mark.parametrize(("outputs", "kernel", "stride"), [(10, 1, 1), (6, 3, 1), (6, 5, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dynamic_convolution_equals_the_grouped_form(temperature, outputs, kernel, stride, layout):
    torch.manual_seed(5)
    conv = DynamicConv(8, 6, outputs, kernel, stride)
    conv.reset()
    conv.temperature = temperature
    x, clip = torch.randn(3, 6, 9, 14).to(memory_format=layout), 20 * torch.randn(3, 8)
    # The published form: each clip's kernel is mixed first, then all clips are groups of one convolution.
    mix = torch.softmax(conv.residuals(clip) / temperature, dim=-1)
    groups = 3 if kernel == 1 else 3 * 6
    kernels = (mix @ conv.weight[0, 0]).view(3 * outputs, 6 if kernel == 1 else 1, kernel, kernel)
    grouped = F.conv2d(x.reshape(1, 18, 9, 14), kernels, None, stride, kernel // 2, 1, groups)
    out = conv(x, clip)
    assert out.is_contiguous(memory_format=layout)
    assert error(out.detach(), grouped.view(out.shape).detach()) < 1e-5


def test_dynamic_relu_is_a_relu_at_initialisation():
    act = DynamicReLU(4, 6)
    x, clip = torch.randn(2, 6, 5, 7), torch.randn(2, 4)
    torch.nn.init.zeros_(act.coef_net[0].weight)
    torch.nn.init.zeros_(act.coef_net[0].bias)
    assert torch.equal(act(x, clip), x.relu())
    act.coef_net[0].bias.data.view(6, 4)[:] = torch.tensor([1e9, -1e9, 1e9, 0.0])  # slopes 2, -1; heights .5, 0
    assert torch.allclose(act(x, clip), torch.maximum(2 * x + 0.5, -x))


def test_temperature_reaches_every_dynamic_convolution():
    student = small("dymn")
    convs = [m for m in student.modules() if isinstance(m, DynamicConv)]
    assert len(convs) == 44
    assert {c.temperature for c in convs} == {30.0}
    student.set_temperature(1.0)
    assert {c.temperature for c in convs} == {1.0}


# Folding for export


@pytest.mark.parametrize("name", NAMES)
def test_folded_computes_the_same(published, name):
    student, _ = published[name]
    light = folded(student)
    norms = [m for m in light.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == (44 if name == "dymn" else 0)  # those after a dynamic convolution stay
    with torch.inference_mode():
        assert error(light(noise(2, 40)), student(noise(2, 40))) < 1e-4
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in student.modules())  # a copy was folded


# First weights


def test_reads_an_efficientat_release(tmp_path):
    source = small("mobilenetv3")
    state = {**source.state_dict(), "classifier.2.weight": torch.ones(5, 5), "classifier.2.bias": torch.ones(5)}
    torch.save(state, tmp_path / "mn04_im.pt")
    student = build_student("mobilenetv3", 0.4)
    notes = load_initial(student, tmp_path / "mn04_im.pt")
    assert notes == ["dropped classifier.2 (2 tensors)"]
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in student.state_dict().items())


def test_reads_a_published_student(tmp_path, published):
    source, state = published["mobilenetv3"]
    file = tmp_path / "matpac_mobilenetv3.ckpt"
    torch.save({"state_dict": state, "training_config": {"student_model": {"sr": 32000}}, "epoch": 3}, file)
    student = build_student("mobilenetv3")
    notes = load_initial(student, file)
    assert notes == ["dropped student_model.classification_head (4 tensors)"]
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in student.state_dict().items())


def test_reads_weights_of_ours_and_names_what_they_lack(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    state = small("dymn").state_dict()
    left_out = [k for k in state if k.startswith("out_c.")]
    safetensors.save_file({k: v for k, v in state.items() if k not in left_out}, tmp_path / "model.safetensors")
    student = build_student("dymn", 0.4)
    first = student.state_dict()["out_c.0.weight"].clone()
    notes = load_initial(student, str(tmp_path / "model.safetensors"))
    assert len(notes) == 2
    assert all(n.startswith("missing out_c.") and n.endswith("left at its first values") for n in notes)
    assert torch.equal(student.state_dict()["out_c.0.weight"], first)
    assert torch.equal(student.state_dict()["in_c.0.weight"], state["in_c.0.weight"])


class Dangerous:
    def __reduce__(self):
        return (print, ("code of a checkpoint was run",))


def test_refuses_what_does_not_fit(tmp_path, capsys):
    student = build_student("mobilenetv3", 0.4)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    files = {
        "wide": (build_student("mobilenetv3", 0.5).state_dict(), "width 0.4.*--width"),
        "other": (small("eres2net").state_dict(), "no weights of a mobilenetv3"),
        "code": ({"state_dict": Dangerous()}, "asks to use builtins.print"),
        "list": ([torch.ones(3)], "no state dict"),
    }
    for name, (content, message) in files.items():
        torch.save(content, tmp_path / f"{name}.pt")
        with pytest.raises(OptionError, match=message):
            load_initial(student, tmp_path / f"{name}.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    for name in ("text.pt", "text.safetensors", "absent.pt"):
        with pytest.raises(OptionError, match=name):
            load_initial(student, tmp_path / name)
    assert "was run" not in capsys.readouterr().out
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


# By name


def test_unknown_names_and_widths_get_messages():
    with pytest.raises(OptionError, match="did you mean mobilenetv3"):
        build_student("mobilenet3")
    for width in (0.0, -1.0, 9.0, float("nan")):
        with pytest.raises(OptionError, match=r"out of range"):
            build_student("dymn", width)


def test_the_list_of_students_needs_no_torch():
    code = (
        "import sys, sondino.nets.registry; assert 'torch' not in sys.modules; print(*sondino.nets.registry.STUDENTS)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == list(STUDENTS)
