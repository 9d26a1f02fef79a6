"""A data set that embeds in the spawned workers of a loader: `python -m helpers.dataset BUNDLE OUT.npy FILE...`."""

import sys

import numpy as np

from sondino.model.model import Model


class Embeddings:
    """A torch data set whose items are embeddings of files."""

    def __init__(self, model: Model, files: list[str]) -> None:
        self.model, self.files = model, files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> np.ndarray:
        return self.model.embed(self.files[at])[0]


if __name__ == "__main__":
    from torch.utils.data import DataLoader

    data = Embeddings(Model(sys.argv[1], threads=1), sys.argv[3:])
    loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    np.save(sys.argv[2], np.concatenate([batch.numpy() for batch in loader]))
