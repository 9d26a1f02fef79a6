import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from helpers.golden import error, state_dict, strip, wave
from helpers.mean_student import Mean
from sondino.encoder.head import Head
from sondino.frontend.logmel import n_frames
from sondino.frontend.logmel_torch import MatmulLogMel
from sondino.model.onnx_file import export_onnx, only_rounding, verify_onnx
from sondino.model.onnx_graph import WaveformNet
from sondino.nets.dymn import DyMN
from sondino.nets.fold import folded
from sondino.nets.registry import build_student
from sondino.nets.student import Student


def by_rule(name: str) -> Student:
    student = build_student(name)
    student.load_state_dict(strip(state_dict(f"student_{name}"), "student_model.model."))
    return student.eval()


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    torch.manual_seed(0)
    student = build_student("mobilenetv3", 0.4).train().to(memory_format=torch.channels_last)
    with torch.no_grad():
        student(torch.randn(4, 128, 60) - 3)
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(student, file, file.with_name("body.onnx"))
    assert student.training  # the one given is left alone
    return student, file


def test_mobilenetv3_agrees_at_any_batch_and_length(mobilenet):
    student, file = mobilenet
    clips = [wave(3.3, 32000), wave(0.01, 32000), np.zeros(40000, np.float32)]
    assert verify_onnx(student, file, file.with_name("body.onnx"), clips) < 1e-4
    assert student.training
    session = onnxruntime.InferenceSession(str(file))
    batch = np.stack([wave(0.5, 32000, seed) for seed in range(5)])
    together = session.run(None, {"waveform": batch})[0]
    for i in range(5):
        assert error(session.run(None, {"waveform": batch[i : i + 1]})[0], together[i : i + 1]) < 1e-4


def test_the_graphs_inputs_and_outputs_are_named(mobilenet):
    _, file = mobilenet
    session = onnxruntime.InferenceSession(str(file))
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape, taken.type) == ("waveform", ["batch", "samples"], "tensor(float)")
    assert (given.name, given.shape) == ("vector", ["batch", 384])
    assert session.get_modelmeta().custom_metadata_map == {
        "name": "mobilenetv3",
        "width": "0.4",
        "sample_rate": "32000",
        "dim": "384",
        "minimum": "1024",
    }


def test_the_file_is_complete_and_holds_no_paths(mobilenet):
    student, file = mobilenet
    assert sorted(p.name for p in file.parent.iterdir()) == ["body.onnx", "model.onnx"]
    assert file.with_name("body.onnx").stat().st_size < 150_000  # its weights lie in model.onnx
    onnx.checker.check_model(onnx.load(file), full_check=True)
    content = file.read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content
    front_end = 4 * sum(b.numel() for b in MatmulLogMel().buffers())
    weights = 4 * sum(p.numel() for p in student.parameters())
    assert len(content) < 1.1 * (front_end + weights) + 200_000


def test_verify_sees_a_wrong_graph(mobilenet, tmp_path):
    student, file = mobilenet
    other = build_student("mobilenetv3", 0.4)
    other.load_state_dict(student.state_dict())
    other.features[16][0].weight.data *= 1.01
    assert verify_onnx(other, file) > 1e-4
    other.features[16][0].weight.data *= float("nan")
    assert verify_onnx(other, file) == float("inf")


def test_verify_measures_relative_to_the_largest_value(tmp_path):
    student = Mean()
    export_onnx(student, tmp_path / "mean.onnx")
    assert verify_onnx(student, tmp_path / "mean.onnx") < 1e-6
    student.scale.data *= 1.25
    assert verify_onnx(student, tmp_path / "mean.onnx") == pytest.approx(0.2, rel=1e-3)
    clip = wave(1, 32000)
    expected = MatmulLogMel()(torch.from_numpy(clip)[None]).mean(2)
    got = onnxruntime.InferenceSession(str(tmp_path / "mean.onnx")).run(None, {"waveform": clip[None]})[0]
    assert error(got, expected) < 1e-5


class Summed(Mean):
    """`Mean` of a sum in which float32 loses most digits: torch's own embedding is far from float64's."""

    def forward(self, logmel):
        return (super().forward(logmel) * 1e-3 + self.scale * 1e4) - self.scale * 1e4


@pytest.mark.full
def test_rounding_is_what_torch_has_too(tmp_path):
    """Beyond the bound a graph passes where torch itself is as far from float64, and a wrong one does not."""
    exact, rounded = Mean(), Summed()
    for name, student in (("exact", exact), ("rounded", rounded)):
        export_onnx(student, tmp_path / f"{name}.onnx", tmp_path / f"{name}.body.onnx")
    files = {name: (tmp_path / f"{name}.onnx", tmp_path / f"{name}.body.onnx") for name in ("exact", "rounded")}
    assert only_rounding(rounded, *files["rounded"], [wave(0.3, 32000)], 0.0)
    assert only_rounding(exact, *files["exact"], [], 1e-4)  # nothing is past the bound
    exact.scale.data *= 1.0002
    assert verify_onnx(exact, *files["exact"]) > 1e-4
    assert only_rounding(exact, *files["exact"], [], 1e-4)  # twice the bound from float64
    exact.scale.data *= 1.0003
    assert not only_rounding(exact, *files["exact"], [], 1e-4)
    rounded.scale.data *= -1.0
    assert not only_rounding(rounded, *files["rounded"], [], 1e-4)
    exact.scale.data *= float("nan")
    assert not only_rounding(exact, *files["exact"], [], 1e-4)


@pytest.mark.full
def test_a_centred_front_end_exports_too(tmp_path):
    student = Mean()
    student.logmel = dataclasses.replace(student.logmel, center=True, hop=320, mean=-4.5, std=5.0)
    assert student.minimum_samples == 513
    export_onnx(student, tmp_path / "mean.onnx")
    assert verify_onnx(student, tmp_path / "mean.onnx", waveforms=[wave(0.7, 32000)]) < 1e-5


def test_a_failed_export_leaves_the_old_file(tmp_path, monkeypatch):
    class Broken(Mean):
        def forward(self, logmel):
            raise RuntimeError("broken")

    file = tmp_path / "model.onnx"
    file.write_bytes(b"old")
    with pytest.raises(Exception, match="broken"):
        export_onnx(Broken(), file)
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.full
def test_the_exporter_is_silent(tmp_path, forks):
    code = (
        "import sys\n"
        "from helpers.mean_student import Mean\n"
        "from sondino.model.onnx_file import export_onnx\n"
        "export_onnx(Mean(), sys.argv[1])\n"
        "import logging, warnings\n"
        "assert logging.root.manager.disable == 0 and logging.getLogger('x').isEnabledFor(logging.WARNING)\n"
    )
    ran = forks.run(code, tmp_path / "mean.onnx")
    assert ran.returncode == 0, ran.stderr
    assert (ran.stdout, ran.stderr) == ("", "")


def test_waveform_net_is_front_end_then_student_then_head():
    student = Mean()
    batch = torch.from_numpy(np.stack([wave(0.4, 32000), wave(0.4, 32000, 8)]))
    vectors = student(MatmulLogMel(student.logmel)(batch))
    assert torch.equal(WaveformNet(student)(batch), vectors)
    assert n_frames(student.logmel, batch.shape[1]) == 24
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((2, 7, 7)).astype(np.float32), rng.standard_normal((2, 7)).astype(np.float32)
    first = weights[0][0] @ np.zeros((7, student.dim), np.float32) + rng.standard_normal((7, student.dim))
    for activation, several in (("relu", False), ("hardswish", True)):
        layers = ((first, weights[1][0]), (weights[0][1], weights[1][1]))
        head = Head("h", tuple("abcdefg"), several, layers, activation)
        got, probabilities = WaveformNet(student, head)(batch)
        assert torch.equal(got, vectors)
        np.testing.assert_allclose(probabilities.detach(), head.probabilities(vectors.detach()), atol=1e-6)
    body_only = WaveformNet(student, body_only=True)
    assert torch.equal(body_only(MatmulLogMel(student.logmel)(batch)), vectors)


@pytest.mark.full
def test_dynamic_blocks_export_with_any_batch_and_length(tmp_path):
    """DyMN cut short: a block of each form, stride 2 and hardswish included."""
    torch.manual_seed(0)
    student = DyMN(0.4)
    kept = [student.layers[i] for i in (0, 1, 2)]
    student.layers = nn.Sequential(*kept)
    student.out_c = nn.Sequential(nn.Conv2d(kept[-1].proj_norm.num_features, student.dim, 1), nn.Hardswish())
    for module in student.modules():
        if isinstance(module, nn.Linear):
            module.weight.data *= 30  # kernels that really differ between the clips
    export_onnx(student, tmp_path / "dymn.onnx", tmp_path / "body.onnx")
    assert verify_onnx(student, tmp_path / "dymn.onnx", tmp_path / "body.onnx", [wave(1.2, 32000)]) < 1e-4


def test_a_net_trained_in_channels_last_is_traced_in_plain_order():
    # A 1x1 kernel may keep such strides through contiguous(), and ONNX Runtime fails on what is then traced of DyMN.
    student = build_student("dymn", 0.1).to(memory_format=torch.channels_last).eval()
    for name, parameter in folded(student).named_parameters():
        assert parameter.stride() == torch.empty(parameter.shape).stride(), name
