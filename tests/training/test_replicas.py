"""Parts of a batch on threads of their own give the gradients of the whole batch, with the same bits each time."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")
from torch import Tensor, nn

from sondino.nets.registry import build_student
from sondino.training.replicas import Replicas, parts_of


def small_network(norm: bool) -> nn.Module:
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4) if norm else nn.ReLU(), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)]
    return nn.Sequential(*layers)


def gradients(network: nn.Module, batches: list[Tensor], count: int, autocast: Any = nullcontext) -> list[Tensor]:
    """The sums of the squares of embeddings as a loss, over parts of a batch that are each processed by itself."""
    network = copy.deepcopy(network)
    replicas = Replicas(network, count, autocast)
    replicas.begin()
    for batch in batches:
        replicas.forward(batch).square().sum().backward()
        replicas.backward()
    replicas.merge()
    return [*(weight.grad for weight in network.parameters()), *network.buffers()]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_without_batch_statistics_gradients_are_those_of_the_whole_batch(count: int) -> None:
    network, batch = small_network(norm=False), torch.randn(7, 1, 6, 6)
    network(batch).square().sum().backward()
    for found, expected in zip(gradients(network, [batch], count), network.parameters(), strict=True):
        assert torch.allclose(found, expected.grad, rtol=1e-5, atol=1e-6)


def test_norms_take_the_statistics_of_their_part_and_merge_to_the_mean() -> None:
    network, batch = small_network(norm=True), torch.randn(8, 1, 6, 6)
    apart = [copy.deepcopy(network).train() for _ in range(2)]
    for one, part in zip(apart, batch.tensor_split(2), strict=True):
        one(part).square().sum().backward()
    *found, mean, variance, batches = gradients(network, [batch], 2)
    for weight, *each in zip(found, *(one.parameters() for one in apart), strict=True):
        assert torch.allclose(weight, each[0].grad + each[1].grad, rtol=1e-5, atol=1e-6)
    norms = [one[1] for one in apart]
    assert torch.allclose(mean, (norms[0].running_mean + norms[1].running_mean) / 2, atol=1e-7)
    assert torch.allclose(variance, (norms[0].running_var + norms[1].running_var) / 2, atol=1e-7)
    assert batches == 1


@pytest.mark.parametrize("autocast", [nullcontext, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_the_bits_do_not_depend_on_the_threads(autocast: Any) -> None:
    student, batches = build_student("mobilenetv3", 0.1), [torch.randn(9, 128, 40) for _ in range(3)]
    first = gradients(student, batches, 3, autocast)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, gradients(student, batches, 3, autocast), strict=True))


def test_copies_begin_with_the_buffers_of_the_network() -> None:
    network = small_network(norm=True)
    replicas = Replicas(network, 3, nullcontext)
    network[1].running_mean.fill_(4.0)  # as a checkpoint that is loaded
    replicas.begin()
    assert all(copied[1].running_mean.eq(4.0).all() and copied.training for copied in replicas.networks)
    assert all(copied[0].weight is network[0].weight for copied in replicas.networks)


@pytest.mark.parametrize(("batch", "threads", "parts"), [(64, 2, 2), (64, 4, 4), (32, 4, 1), (33, 2, 2), (128, 1, 1)])
def test_every_thread_has_a_part_of_sixteen_clips_or_more(batch: int, threads: int, parts: int) -> None:
    assert parts_of(batch, threads) == parts


def test_gradients_lie_in_memory_as_their_weights() -> None:
    network = small_network(norm=True).to(memory_format=torch.channels_last)
    batch = torch.randn(8, 1, 6, 6)  # contiguous, so that its convolution's gradient may be too
    for found, weight in zip(gradients(network, [batch], 2), network.parameters(), strict=False):
        assert found.stride() == weight.stride()


def test_only_networks_without_dropout_are_divided() -> None:
    for name in ("mobilenetv3", "dymn", "eres2net", "cnn14", "qcnn14"):
        student = build_student(name, 0.125).train()
        logmel = torch.randn(2, student.logmel.n_mels, 64)
        torch.manual_seed(0)
        before = torch.get_rng_state()
        student(logmel)
        assert student.random == (not torch.equal(before, torch.get_rng_state())), name
