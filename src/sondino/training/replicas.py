"""A network's forward and backward pass on a CPU, each part of a batch on a thread of its own.

PyTorch's own threads share out each operation. A small network has hundreds of short ones, after each of which they
wait for one another. On two cores that took more time, and many times more while another process used one of them.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor, nn

LEAST_CLIPS = 16
"""Clips of a part: BatchNorm takes the statistics of each."""

Result = TypeVar("Result")


class Replicas:
    """Copies of a network that share its weights; each has buffers of its own until `merge`.

    The network must draw no random numbers: the order of the threads would decide which.

    Args:
        network: from a batch (batch, ...) to embeddings (batch, dim).
        count: parts of a batch, each on one thread.
        autocast: a context for mixed precision; entered in each thread.
    """

    def __init__(self, network: nn.Module, count: int, autocast: Callable[[], AbstractContextManager[object]]) -> None:
        self.networks = [network, *(_sharing_weights(network) for _ in range(count - 1))]
        self.weights = [weight for weight in network.parameters() if weight.requires_grad]
        self.autocast = autocast
        self.pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
        self.parts: list[Tensor] = []
        self.embeddings = torch.empty(0)

    def map(self, function: Callable[[Tensor], Result], batch: Tensor) -> list[Result]:
        """Apply a function to the parts of a batch, without gradients."""

        def run(part: Tensor) -> Result:
            with torch.no_grad():
                return function(part)

        return list(self.pool.map(run, batch.tensor_split(len(self.networks))))

    def forward(self, batch: Tensor) -> Tensor:
        """Embeddings (batch, dim) as a leaf, whose gradient `backward` takes."""

        def run(network: nn.Module, part: Tensor) -> Tensor:
            with self.autocast():
                return network(part)

        self.parts = list(self.pool.map(run, self.networks, batch.tensor_split(len(self.networks))))
        self.embeddings = torch.cat([part.detach() for part in self.parts]).requires_grad_()
        return self.embeddings

    def backward(self) -> None:
        """Add to the weights' gradients, from the gradient of the embeddings of the last `forward`."""
        gradient = self.embeddings.grad
        assert gradient is not None

        def run(part: Tensor, of_part: Tensor) -> Sequence[Tensor]:
            return torch.autograd.grad(part, self.weights, of_part)

        gradients = list(self.pool.map(run, self.parts, gradient.tensor_split(len(self.networks))))
        self.parts = []
        for weight, *found in zip(self.weights, *gradients, strict=True):
            total = found[0]
            for other in found[1:]:  # in the order of the parts, so that the sum has the same bits each time
                total = total + other
            if total.stride() != weight.stride():  # fused optimisers take both as rows of memory
                total = torch.empty_like(weight).copy_(total)
            weight.grad = total if weight.grad is None else weight.grad + total

    def begin(self) -> None:
        """Put the copies in training mode, with the buffers of the network itself."""
        for network in self.networks:
            network.train()
        self._set([first for first, *_ in self._buffers()])

    def merge(self) -> None:
        """Set the buffers (BatchNorm's statistics) to their mean over the copies."""
        self._set([torch.stack([copied.double() for copied in copies]).mean(0) for copies in self._buffers()])

    def _buffers(self) -> Iterator[tuple[Tensor, ...]]:
        return zip(*(network.buffers() for network in self.networks), strict=True)

    def _set(self, values: Sequence[Tensor]) -> None:
        for value, copies in zip(values, self._buffers(), strict=True):
            for copied in copies:
                copied.copy_(value)


def _sharing_weights(network: nn.Module) -> nn.Module:
    weights = {id(weight): weight for weight in network.parameters()}
    return copy.deepcopy(network, memo=dict(weights))


def parts_of(batch_size: int, threads: int) -> int:
    """Parts that a batch is divided into, one for each thread.

    1: PyTorch's own threads share out each operation, since a part would have fewer than `LEAST_CLIPS`.
    """
    return threads if batch_size >= threads * LEAST_CLIPS else 1
