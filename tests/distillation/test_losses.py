from pathlib import Path

import numpy as np
import pytest
import torch

from sondino.distillation.losses import LOSSES, mixed

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "losses.npz")
NAMES = {"cosine": "cosine", "l1": "l1", "mse": "mse", "clap": "clap_T01", "kl": "kl_T2"}


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_clips_is_the_published_loss(name: str) -> None:
    student, teacher = torch.from_numpy(GOLDEN["student"]).float(), torch.from_numpy(GOLDEN["teacher"]).float()
    values = LOSSES[name](student, teacher)
    assert values.shape == (8,)
    assert float(values.mean()) == pytest.approx(float(GOLDEN[NAMES[name]]), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_mixed_loss_is_the_weighted_sum_of_both_targets(name: str) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    partner, ratio = torch.tensor([1, 2, 3, 4, 5, 0]), torch.tensor([1.0, 0.5, 0.9, 0.6, 0.7, 1.0])
    loss = LOSSES[name]
    expected = ratio * loss(student, teacher) + (1 - ratio) * loss(student, teacher[partner])
    assert torch.allclose(mixed(loss, student, teacher, partner, ratio), expected)
    whole = mixed(loss, student, teacher, partner, torch.ones(6))
    assert torch.allclose(whole, loss(student, teacher))
