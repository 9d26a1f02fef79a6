"""Labelled clips without sound, and embeddings for them whose answers are known."""

import numpy as np

from sondino.tasks.labelled import Clip, Labelled


def labelled(
    labels: list[str], folds: list[str] | None = None, split_kind: str = "none", multi: bool = False
) -> Labelled:
    """Clips that exist on paper alone; several labels of a clip are divided by "+"."""
    clips = tuple(
        Clip(str(i), f"{i}.wav", tuple(filter(None, label.split("+"))), folds[i] if folds else "", f"{i}")
        for i, label in enumerate(labels)
    )
    names = tuple(sorted({name for clip in clips for name in clip.labels}))
    return Labelled(clips, names, multi, split_kind)  # type: ignore[arg-type]


def blobs(
    per_class: int, classes: int = 3, dim: int = 8, gap: float = 6.0, seed: int = 0
) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = [f"class{i % classes}" for i in range(classes * per_class)]
    return rng.standard_normal((len(labels), dim)) + gap * np.eye(classes, dim)[[int(n[-1]) for n in labels]], labels
