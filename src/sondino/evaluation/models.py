"""Models to evaluate: a randomly initialised net to compare with, and each model's size and cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sondino.audio.windows import ShortPolicy
from sondino.benchmark.measure import costs_of, energy_per_10s, milliseconds_per_10s
from sondino.encoder.encoder import Costs, Encoder, resolve
from sondino.errors import OptionError, require
from sondino.model.model import Model

Role = Literal["teacher", "student", "untrained", "supervised"]


class RandomlyInitialised:
    """A student's net, randomly initialised, as an encoder with the student's front-end and windowing.

    Attributes:
        name: "untrained" and the net's name.
        sample_rate: hertz.
        dim: embedding dimension.
        window: seconds; None: whole clips.
        hop: seconds; None: `window`.
        short: what becomes of a clip under a window.
        minimum: samples under which a waveform is zero-padded.
        fingerprint: changes whenever the embeddings would.
        costs: parameters and multiply-accumulates, which are the student's.
    """

    def __init__(self, model: Model, seed: int = 0) -> None:
        """Draw the weights.

        Args:
            model: the student, a bundle that a run or a conversion made.
            seed: of the weights.

        Raises:
            MissingExtra: torch is not installed.
            OptionError: the bundle's net is no student's.
        """
        torch = require("torch", "train")
        from sondino.frontend.logmel_torch import FFTLogMel
        from sondino.nets.saved import new_net

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._net = new_net(model.folder)
        self._frontend = FFTLogMel(self._net.logmel)
        self._inference = torch.inference_mode
        self._tensor = torch.from_numpy
        self.name = f"untrained {model.config['student']}"
        self.sample_rate, self.dim = model.sample_rate, model.dim
        self.window, self.hop, self.minimum = model.window, model.hop, model.minimum
        self.short: ShortPolicy = model.short
        build = {name: model.config.get(name) for name in ("student", "width", "build", "front_end")}
        self.costs: Callable[[], Costs] = model.costs
        drawn = ["untrained", build, self.window, self.hop, self.short, seed, torch.__version__]
        self.fingerprint = hashlib.sha256(json.dumps(drawn).encode()).hexdigest()

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim)."""
        with self._inference():
            found: NDArray[np.float32] = self._net(self._frontend(self._tensor(waveforms))).numpy()
        return found


def model_facts(
    encoder: Encoder, name: str, role: Role, source: str | None = None, milliseconds: float | None = None
) -> dict[str, Any]:
    """A model's size and cost, as in results.json. Times are measured now: nothing else should run.

    Args:
        encoder: an open model.
        name: in the results.
        role: in the comparison.
        source: path or name it was opened from.
        milliseconds: for 10 s, where already measured.
    """
    encoder = resolve(encoder)
    window, hop, costs = encoder.window, encoder.hop, costs_of(encoder)
    measurable = encoder.lookup is None  # precomputed embeddings have no speed
    energy = energy_per_10s(encoder.embed, encoder.sample_rate, window, hop) if measurable else None
    return {
        "name": name,
        "role": role,
        "source": source,
        "dim": encoder.dim,
        "sample_rate": encoder.sample_rate,
        "window": window,
        "hop": hop,
        "parameters": costs.parameters,
        "file_bytes": file.stat().st_size if (file := encoder.path) and file.is_file() else None,
        "macs_per_10s": costs.macs,
        "milliseconds_per_10s": milliseconds_per_10s(encoder.embed, encoder.sample_rate, window=window, hop=hop)
        if measurable and milliseconds is None
        else milliseconds,
        "joules_per_10s": None if energy is None else energy.joules,
        "joules_how": None if energy is None else energy.how,
        "licence": encoder.licence,
    }


def check_embeds_audio(encoder: Encoder, name: str) -> None:
    """Raise OptionError for precomputed embeddings, which are of other clips."""
    if resolve(encoder).lookup is not None:
        raise OptionError(f"{name} holds precomputed embeddings and cannot embed audio: name a model")
