"""A step of pretraining beside the same step in the plain form, and the memory that it takes.

    python benchmarks/pretraining_step.py

Plain: attention written out, float32, and every patch through both encoders, those that an encoder is not to see behind
a mask of the attention. Both forms have the same weights, inputs and masks; the difference of their losses is in the
table. Forms take turns; medians and quartiles are of processor and of wall seconds. Memory is the growth of the peak
resident size of a process of its own, at two batch sizes: from its slope follows the largest batch that fits 24 GB.
Writes results/pretraining_step.csv and results/pretraining_memory.csv.
"""

import argparse
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from torch import Tensor, nn

from provenance import provenance, write_results
from sondino.nets import vit
from sondino.pretraining.crops import crop_grid
from sondino.pretraining.masks import mask_noise, split_patches, take
from sondino.pretraining.model import SIZES, Pretrainer, initialise, sizes_of
from sondino.pretraining.train import make_optimizer

MEMORY = 24e9
GRID = crop_grid(6.1, 0.7)


class PlainPretrainer(Pretrainer):
    """All patches go through both encoders; a mask of the attention hides some."""

    def encode(self, tokens: Tensor, trunk: nn.Module) -> Tensor:
        """As of the base class; what takes part is the next of `index`, from `step_with`."""
        whole, index = self.whole, self.index.pop(0)
        seen = torch.zeros(whole.shape[:2], dtype=torch.bool).scatter(1, index, True)
        seen = torch.cat([torch.ones(len(seen), 1, dtype=torch.bool), seen], dim=1)
        PlainAttention.mask = torch.where(seen, 0.0, -math.inf)[:, None, None, :]
        encoded = super().encode(whole, trunk)
        PlainAttention.mask = None
        return torch.cat([encoded[:, :1], take(encoded[:, 1:], index)], dim=1)

    def step_with(self, logmel: Tensor, noise: Tensor) -> Any:
        """A forward pass."""
        seen, masked = split_patches(noise, GRID.visible)
        self.whole, self.index = self.tokens(logmel), [masked, seen]
        return self(logmel, noise, GRID.visible, 0.05, 0.1)


class PlainAttention(vit._Attention):
    """Attention written out."""

    mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width), both in and out."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, width // self.head_dim, self.head_dim).permute(2, 0, 3, 1, 4)
        scores = qkv[0] @ qkv[1].transpose(-2, -1) / math.sqrt(self.head_dim)
        if PlainAttention.mask is not None:
            scores = scores + PlainAttention.mask
        mixed = scores.softmax(-1) @ qkv[2]
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


def make(size: str, plain: bool) -> Pretrainer:
    """The nets of a size."""
    torch.manual_seed(0)
    net = (PlainPretrainer if plain else Pretrainer)(sizes_of(size, GRID.columns, 5, True))
    initialise(net)
    if plain:
        for block in (module for module in net.modules() if isinstance(module, vit.Block)):
            block.attn.__class__ = PlainAttention
    return net


def step(net: Pretrainer, optimizer: Any, batch: int, update: int, half: bool) -> float:
    """One update, and its loss."""
    logmel = torch.randn(batch, 80, GRID.frames, generator=torch.Generator().manual_seed(update))
    noise = mask_noise((batch, GRID.patches), update)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        if isinstance(net, PlainPretrainer):
            found = net.step_with(logmel, noise)
        else:
            found = net(logmel, noise, GRID.visible, 0.05, 0.1)
    loss = 0.5 * found.prediction.mean() + 0.5 * found.classification.mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    net.average(0.999, 0.999)
    return float(loss.detach())


FORMS = {"plain": (True, False), "float32": (False, False), "bfloat16": (False, True)}
"""Whether a form is plain, and whether it computes in bfloat16."""


def time_forms(size: str, batch: int, repeats: int) -> list[dict[str, Any]]:
    """Seconds of a step of each form, in turn."""
    nets = {name: make(size, plain) for name, (plain, _) in FORMS.items()}
    optimizers = {name: make_optimizer(net, 0.05) for name, net in nets.items()}
    losses = {name: step(net, optimizers[name], batch, 0, FORMS[name][1]) for name, net in nets.items()}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in FORMS}
    for update in range(1, repeats + 1):
        for name, net in nets.items():
            began = time.perf_counter(), time.process_time()
            step(net, optimizers[name], batch, update, FORMS[name][1])
            spent[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    rows = []
    for name, pairs in spent.items():
        wall, processor = (sorted(pair[which] for pair in pairs) for which in (0, 1))
        plain = statistics.median(pair[1] for pair in spent["plain"])
        row = {"size": size, "form": name, "batch": batch, "threads": torch.get_num_threads(), "steps": repeats}
        for kind, values in (("processor_s", processor), ("wall_s", wall)):
            low, middle, high = statistics.quantiles(values, n=4)
            row |= {kind: round(middle, 4), f"{kind}_q1": round(low, 4), f"{kind}_q3": round(high, 4)}
        row |= {"times_as_fast": round(plain / statistics.median(processor), 2), "loss": round(losses[name], 5)}
        rows.append(row | provenance("torch"))
        print(rows[-1], flush=True)
    return rows


def peak(size: str, batch: int, half: bool) -> float:
    """Bytes by which the peak of this process grows in two steps."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net = make(size, False)
    optimizer = make_optimizer(net, 0.05)
    for update in range(2):
        step(net, optimizer, batch, update, half)
    return 1024.0 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def measure_memory(size: str, half: bool, batches: tuple[int, int]) -> dict[str, Any]:
    """Memory at two batch sizes, each in a process of its own, and what follows for 24 GB."""
    found = []
    for batch in batches:
        command = [sys.executable, __file__, "--peak", size, str(batch), str(int(half))]
        found.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]))
    slope = (found[1] - found[0]) / (batches[1] - batches[0])
    fixed = found[0] - slope * batches[0]
    row = {
        "size": size, "precision": "bfloat16" if half else "float32",
        "batches": f"{batches[0]} and {batches[1]}", "peak_MB": " and ".join(f"{b / 1e6:.0f}" for b in found),
        "MB_a_clip": round(slope / 1e6, 1), "fixed_MB": round(fixed / 1e6),
        "clips_in_24_GB": int((MEMORY - fixed) / slope),
    }  # fmt: skip
    print(row, flush=True)
    return row | provenance("torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(given.threads)
    if given.peak:
        print(peak(given.peak[0], int(given.peak[1]), given.peak[2] == "1"))
        return
    memory = [
        measure_memory(size, half, batches)
        for size, batches in zip(SIZES, ((32, 64), (8, 16), (4, 8)), strict=True)
        for half in (False, True)
    ]
    write_results("pretraining_memory", memory)
    speed = [
        row for size, batch in zip(SIZES, (32, 8, 4), strict=True) for row in time_forms(size, batch, given.repeats)
    ]
    write_results("pretraining_step", speed)


if __name__ == "__main__":
    main()
