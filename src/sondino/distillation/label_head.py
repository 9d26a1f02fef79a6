"""A student's head with its teacher's labels, fitted to the teacher's probabilities; no label is needed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from sondino.encoder.encoder import Encoder
from sondino.encoder.head import Head
from sondino.errors import OptionError
from sondino.model.head_layers import Standard, after, as_head
from sondino.progress import Report
from sondino.teachers.label_names import is_unnamed, rename
from sondino.teachers.last_layer import may_be_embedding

LEAST_CLIPS, MOST_CLIPS, MOST_VALUES = 20_000, 100_000, 100_000_000
"""Clips that a head is fitted to where there are so many, and probabilities of them (see `clips_to_fit`)."""

DRAWS_PER_CLIP = 20
"""Draws of the training for each clip above `LEAST_CLIPS`, so that embedding these takes a small part of its time."""

EPOCHS, LEAST_STEPS, MOST_STEPS, BATCH, RATE = 30, 500, 2400, 256, 5e-3
"""More steps on few clips overfit: 600 on 1,281 clips raised the cross-entropy on held-out ones by 3 to 7 %. Of many
clips each is taken fewer times: more clips in the same steps gave better labels of other sound."""


@dataclass(frozen=True)
class TeacherLabels:
    """The labels of one of a run's teachers.

    Attributes:
        teacher: its place among the run's.
        name: of the teacher.
        head: from its embeddings to its labels.
    """

    teacher: int
    name: str
    head: Head


def find_labels(encoders: Mapping[str, Encoder], keep: str, names: str | None) -> TeacherLabels | None:
    """The labels of the first teacher that has any.

    Args:
        encoders: the teachers by name; those with labels have an attribute `head`, a `Head` on their embeddings.
        keep: "auto", or "no": none are looked for.
        names: a text file with the labels' names; None: as the teacher names them.

    Raises:
        OptionError: names are given and no teacher has labels, or another number of them.
    """
    if keep == "no":
        return None
    for place, (name, encoder) in enumerate(encoders.items()):
        head = getattr(encoder, "head", None)
        if not isinstance(head, Head):
            continue
        if names is not None:
            head = rename(head, Path(names))
        elif may_be_embedding(head):
            logging.getLogger(__name__).warning(
                "%s ends in %d values without names, which may be classes or another embedding: no labels are kept; if "
                "they are the logits of classes, name those with --label-names",
                encoder.name,
                len(head.labels),
            )
            continue
        elif is_unnamed(head):
            logging.getLogger(__name__).warning(
                "%s has %d labels and no names for them: the bundle calls them %r to %r; name them with --label-names",
                encoder.name,
                len(head.labels),
                head.labels[0],
                head.labels[-1],
            )
        return TeacherLabels(place, name, head)
    if names is not None:
        raise OptionError(f"label names {names} are given, and no teacher has labels: leave them out")
    return None


def clips_to_fit(labels: int, draws: int) -> int:
    """The most clips that a head is fitted to; more are left out at equal distances.

    Args:
        labels: of the teacher.
        draws: clips that the student was trained on, as often as they were drawn.
    """
    return min(max(LEAST_CLIPS, draws // DRAWS_PER_CLIP), MOST_CLIPS, MOST_VALUES // labels)


def epochs_of(clips: int) -> int:
    """Passes over so many clips: more of few of them and fewer of many, for a bounded number of steps."""
    steps = -(-clips // BATCH)
    return max(1, min(max(EPOCHS, LEAST_STEPS // steps), MOST_STEPS // steps))


def fit_head(
    embeddings: NDArray[np.float32],
    targets: NDArray[np.float16],
    labels: TeacherLabels,
    seed: int = 0,
    progress: Report = lambda done, total: None,
) -> Head:
    """A linear head on a student's embeddings that gives the teacher's probabilities of the same clips.

    It is trained on them by cross-entropy, on standardised embeddings. Measured against the mapping head composed with
    the teacher's last layer, it is as accurate, better calibrated, and a quarter of the size or less.

    Args:
        embeddings: of the student (clips, dim).
        targets: of the teacher (clips, teacher's dim).
        labels: of the teacher.
        seed: of the batches.
        progress: called with (epochs so far, epochs).
    """
    teacher = labels.head
    standard = Standard(embeddings.mean(0), np.maximum(embeddings.std(0), 1e-6))
    linear = nn.Linear(embeddings.shape[1], len(teacher.labels))
    nn.init.zeros_(linear.weight)
    parts = [targets[start : start + BATCH].astype(np.float32) for start in range(0, len(targets), BATCH)]
    # All at once: NumPy's threads and torch's wait for each other where they take turns.
    wanted = np.concatenate([teacher.probabilities(part).astype(np.float16) for part in parts])  # (clips, labels)
    shares = np.clip(wanted.mean(0, dtype=np.float64), 1e-6, 1 - 1e-6)
    prior = np.log(shares / (1 - shares)) if teacher.multi_label else np.log(shares)
    with torch.no_grad():
        linear.bias.copy_(torch.from_numpy(prior.astype(np.float32)))
    inputs, outputs = standard(torch.from_numpy(embeddings)), torch.from_numpy(wanted)
    epochs = epochs_of(len(embeddings))
    optimizer = torch.optim.Adam(linear.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, epochs * len(parts))
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        for rows in torch.from_numpy(rng.permutation(len(inputs))).split(BATCH):
            logits, probabilities = linear(inputs[rows]), outputs[rows].float()  # (batch, labels)
            if teacher.multi_label:
                loss = F.binary_cross_entropy_with_logits(logits, probabilities, reduction="sum") / len(rows)
            else:
                loss = F.cross_entropy(logits, probabilities)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress(epoch + 1, epochs)
    note = f"{teacher.note}; fitted to the teacher's probabilities of {len(embeddings)} clips"
    head = as_head(
        after(standard, linear), teacher.name, teacher.labels, teacher.multi_label, note, background=teacher.background
    )
    return replace(head, name=f"labels of {labels.name.partition('?')[0].partition('#')[0]}")
