"""DyMN's first weights: what a net with random weights does to sound that is denser than the usual."""

import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
import torch
from torch import Tensor, nn

from sondino.nets.dymn import ContextGenerator, DyMN
from sondino.nets.quaternion import quaternion_form
from sondino.nets.registry import build_student


def dense(level: float, clips: int = 1, seed: int = 0) -> Tensor:
    """Log-mels (clips, 128, 40) of noise that fills every frame, no lower than silence."""
    drawn = torch.randn(clips, 128, 40, generator=torch.Generator().manual_seed(seed))
    return (level + 1.5 * drawn).clamp_min(-6.9)


def largest_norm(student: DyMN) -> float:
    """The largest norm on dense sound relative to the usual, with the statistics of usual sound in each BatchNorm."""
    usual = torch.cat([dense(level, 4, seed) for seed, level in enumerate((-7, -6, -5, -4, -3))])
    for norm in (m for m in student.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    with torch.no_grad():
        student.train()(usual)
        student.eval()
        louder = torch.cat([dense(level) for level in (-1, 1, 3, 5)])
        return float(student(louder).norm(dim=1).max() / student(usual).norm(dim=1).median())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_weights_keep_dense_sound_within_a_few_times_the_usual_norm(seed: int) -> None:
    torch.manual_seed(seed)
    student = DyMN(0.1)
    assert largest_norm(student) < 10
    for module in student.modules():  # as published code starts: each block amplifies what is larger than usual
        if isinstance(module, ContextGenerator):
            module.conv_f.bias.data.zero_()
            module.conv_t.bias.data.zero_()
    assert largest_norm(student) > 100


def test_its_quaternion_form_starts_with_the_same_attention() -> None:
    torch.manual_seed(0)
    student = quaternion_form(build_student("dymn", 0.1))
    biases = [m.conv_f.bias for m in student.modules() if isinstance(m, ContextGenerator)]
    assert len(biases) == 15 and all((bias == 3).all() for bias in biases)
