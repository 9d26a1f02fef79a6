"""An encoder of a fixed window, padded to take shorter ones."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.encoder import Encoder, resolve


class PaddedEncoder:
    """An encoder of a fixed window that takes shorter ones: they are repeated or zero-padded to its own.

    Attributes:
        name: of the encoder.
        sample_rate: of the encoder, in hertz.
        dim: of the encoder.
        window: seconds that it takes.
        short: "native", since the padding is done here.
        fingerprint: changes with the encoder, the window and the kind of padding.
    """

    def __init__(self, encoder: Encoder, window: float) -> None:
        encoder = resolve(encoder)
        assert encoder.window is not None
        self._encoder, self._repeats = encoder, encoder.short == "repeat"
        self._samples = round(encoder.window * encoder.sample_rate)
        self.name, self.sample_rate, self.dim = encoder.name, encoder.sample_rate, encoder.dim
        self.window, self.short = window, "native"
        self.batch_size = encoder.batch_size
        facts = f"filled {encoder.fingerprint} {window} {self._repeats}"
        self.fingerprint = hashlib.sha256(facts.encode()).hexdigest()

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) waveforms of at most the encoder's own window to (batch, dim) embeddings."""
        missing = self._samples - waveforms.shape[1]
        mode = "wrap" if self._repeats else "constant"
        return self._encoder.embed(np.pad(waveforms, ((0, 0), (0, missing)), mode))  # type: ignore[call-overload]
