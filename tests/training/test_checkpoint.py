from pathlib import Path

import pytest
import torch
from torch import nn

from sondino.errors import RunError
from sondino.training.checkpoint import load_checkpoint, save_checkpoint


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2))
    net = net.to(memory_format=torch.channels_last)  # as students train; the fused optimizer reads raw memory
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, fused=True)
    go_on(net, optimizer, steps)
    return net, optimizer


def go_on(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        net(torch.randn(5, 3, 5, 5)).square().sum().backward()
        optimizer.step()


def test_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    net, optimizer = trained(4)
    save_checkpoint(file, net, optimizer, {"epoch": 4, "history": [{"loss": 0.5}]})
    other, its_optimizer = trained(1)
    assert load_checkpoint(file, other, its_optimizer) == {"epoch": 4, "history": [{"loss": 0.5}]}
    go_on(net, optimizer, 3)
    go_on(other, its_optimizer, 3)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_damaged_or_foreign_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    net, optimizer = trained(1)
    save_checkpoint(file, net, optimizer, {})
    with pytest.raises(RunError, match=r"c\.safetensors"):
        load_checkpoint(file, nn.Linear(2, 2))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match=r"c\.safetensors"):
        load_checkpoint(file, net)


def test_a_failed_write_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.safetensors"
    net, optimizer = trained(1)
    save_checkpoint(file, net, optimizer, {"epoch": 1})

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sondino.training.checkpoint.save_file", full)
    with pytest.raises(RunError, match="free some space"):
        save_checkpoint(file, net, optimizer, {"epoch": 2})
    assert load_checkpoint(file, net)["epoch"] == 1 and list(tmp_path.iterdir()) == [file]
