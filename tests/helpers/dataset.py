"""A data set in a module of its own, which the workers of a loader that are spawned can import."""

import numpy as np

from sondino.model.model import Model


class Embeddings:
    """A torch data set that embeds in the workers of its loader."""

    def __init__(self, model: Model, files: list[str]) -> None:
        self.model, self.files = model, files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> np.ndarray:
        return self.model.embed(self.files[at])[0]
