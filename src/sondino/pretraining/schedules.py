"""What changes over a run: learning rate, temperatures, and the decays of the teacher's moving average.

The published numbers are for 294,816 updates. Shorter runs need others: with the published decays a teacher would still
be three quarters its random initial weights after 10,000 updates. So each schedule is stretched to the run.
"""

import math
from dataclasses import dataclass

PUBLISHED_UPDATES = 294_816
"""300 epochs of 2,012,615 clips in batches of 2,048."""


@dataclass(frozen=True)
class Schedule:
    """The schedules of one run, as functions of the updates done so far.

    Attributes:
        updates: of the whole run.
        lr: highest learning rate.
        warmup: updates of linear warm-up, before half a cosine to 0.
        begins_at_zero: whether the first update has the rate 0, as published, so that it changes no weight.
        encoder_decay: of the teacher's encoder at the first update and at the last.
        head_decay: of the teacher's class head.
        teacher_temperature: of the teacher's classes at the beginning and after `sharp_updates`.
        sharp_updates: updates over which it rises.
        hypothesis_temperature: of the hypotheses at the beginning.
        hypothesis_rate: what it is multiplied by at each update.
    """

    updates: int
    lr: float
    warmup: int
    begins_at_zero: bool
    encoder_decay: tuple[float, float]
    head_decay: tuple[float, float]
    teacher_temperature: tuple[float, float]
    sharp_updates: int
    hypothesis_temperature: float
    hypothesis_rate: float

    def learning_rate(self, update: int) -> float:
        """Learning rate of an update, counted from 0."""
        done = update if self.begins_at_zero else update + 1
        if done < self.warmup:
            return self.lr * done / self.warmup
        progress = (update - self.warmup) / max(1, self.updates - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0), 1)))

    def decays(self, update: int) -> tuple[float, float]:
        """Decays of the teacher's encoder and class head, linear over the run."""
        share = min(update / self.updates, 1.0)
        (first, last), (head_first, head_last) = self.encoder_decay, self.head_decay
        return first + (last - first) * share, head_first + (head_last - head_first) * share

    def teacher_at(self, update: int) -> float:
        """Temperature of the teacher's classes."""
        first, last = self.teacher_temperature
        return first + (last - first) * min(update / max(1, self.sharp_updates), 1.0)

    def hypotheses_at(self, update: int) -> float:
        """Temperature of the hypotheses."""
        return self.hypothesis_temperature * self.hypothesis_rate**update


def make_schedule(updates: int, lr: float, warmup: int | None = None, published: bool = False) -> Schedule:
    """The schedules of a run of some length; at the published length its own.

    A decay leaves exp(-sum(1 - decay)) of the teacher's initial weights. From 40 updates on that sum is kept: 8.8 for
    the encoder, whatever the length; for the head at least 10. Warm-ups and the annealing are stretched by the length.

    Args:
        updates: of the whole run.
        lr: highest learning rate.
        warmup: updates of warm-up; None: a fifteenth of the run.
        published: whether the first update has the rate 0.
    """
    stretch = PUBLISHED_UPDATES / updates
    head = max(0.002, min(20 / updates, 0.5))
    return Schedule(
        updates=updates,
        lr=lr,
        warmup=updates // 15 if warmup is None else warmup,
        begins_at_zero=published,
        # Of a run of a few updates a decay would be under 0.
        encoder_decay=(1 - min(5e-5 * stretch, 0.5), 1 - min(1e-5 * stretch, 0.1)),
        head_decay=(1 - head, 1.0),
        teacher_temperature=(0.04, 0.07),
        sharp_updates=updates // 30,
        hypothesis_temperature=0.1,
        hypothesis_rate=0.99997**stretch,
    )
