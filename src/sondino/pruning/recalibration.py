"""Recalibrate BatchNorm after pruning: its running statistics are recomputed on real audio."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sondino.nets.student import Student


@torch.no_grad()
def recalibrate_batchnorm(student: Student, logmels: Sequence[Tensor]) -> None:
    """Recompute BatchNorm's running statistics, in place: those of the unpruned net are of other inputs.

    Args:
        student: the net.
        logmels: batches (clips, n_mels, frames) of real audio.
    """
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    student.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
        norm.train()
    for batch in logmels:
        student(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    student.eval()
