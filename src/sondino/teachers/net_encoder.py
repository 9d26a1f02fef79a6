"""A log-mel and a net as an encoder: what the matpac, m2d and cnn14 adapters have in common."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sondino.encoder.head import Head
from sondino.files import sha256
from sondino.frontend.logmel import LogMel
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.hub.releases import fetch
from sondino.nets.cnn14 import CNN14
from sondino.nets.vit import ViT
from sondino.progress import show
from sondino.teachers.common import fingerprint
from sondino.teachers.spec import TeacherSpec


class NetEncoder:
    """A log-mel and a net as an encoder of any length of sound.

    Attributes:
        name: kind and file.
        path: of the checkpoint.
        sample_rate: hertz.
        dim: length of an embedding.
        window: seconds; None for any length.
        hop: seconds from one window to the next.
        batch_size: waveforms a call.
        minimum: fewest samples that it takes.
        fingerprint: changes with the weights, the front-end and the windows.
        licence: of the weights.
        notice: a message about them.
        head: its classes, on its embedding; None where it has none.
    """

    def __init__(
        self,
        spec: TeacherSpec,
        path: Path,
        net: CNN14 | ViT,
        forward: Callable[[Tensor], Tensor],
        logmel: LogMel,
        minimum: int,
        device: torch.device,
        licence: str,
        head: Head | None = None,
        **facts: object,
    ) -> None:
        """An encoder from an open net.

        Args:
            spec: how the teacher was named.
            path: of the checkpoint.
            net: what `forward` computes with.
            forward: log-mels (batch, n_mels, frames) to embeddings (batch, dim).
            logmel: the front-end.
            minimum: fewest samples that it takes.
            device: where it computes.
            licence: of the weights.
            head: its classes, on its embedding.
            facts: what else its embeddings depend on.
        """
        self.name, self.path = f"{spec.kind}:{path.name}", path
        self.sample_rate, self.dim, self.minimum = logmel.sample_rate, net.dim, minimum
        self.window, self.hop = spec.windowing()
        self.batch_size = int(spec.options.get("batch", 16))
        self.licence, self.head = licence, head
        self.notice = f"weights of {self.name}: licence {licence}"
        self.device = device
        net.requires_grad_(False).to(device)
        self._forward, self._logmel = forward, FFTLogMel(logmel).to(device)
        self._half = spec.options.get("precision", "float32") == "bfloat16"
        all_facts = {"logmel": repr(logmel), "window": self.window, "hop": self.hop, **facts, "half": self._half}
        self.fingerprint = fingerprint(spec.kind, sha256(path), **all_facts)

    @torch.inference_mode()
    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim)."""
        batch = torch.from_numpy(np.ascontiguousarray(waveforms, dtype=np.float32)).to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._half):
            embeddings: NDArray[np.float32] = self._forward(self._logmel(batch)).float().cpu().numpy()
        return embeddings


def vit_encoder(
    spec: TeacherSpec, path: Path, vit: ViT, logmel: LogMel, device: torch.device, licence: str
) -> NetEncoder:
    """A ViT as an encoder: the mean over time of the embeddings of its columns of patches (0.16 s each).

    It takes any length, since the ViT cuts its input into stretches of its own.
    """
    whole, batch = spec.options.get("mode", "precise") == "fast", int(spec.options.get("batch", 16))

    def forward(logmels: Tensor) -> Tensor:
        return vit.encode(logmels, whole, batch).float().mean(dim=1)

    return NetEncoder(spec, path, vit, forward, logmel, logmel.minimum_samples, device, licence, whole=whole)


def checkpoint(spec: TeacherSpec) -> Path:
    """The file that was named, or the published one."""
    if spec.file:
        return spec.path
    with show(f"weights of {spec.kind}", "MB") as report:
        return fetch(spec.kind, lambda have, total: report(have // 10**6, (total or have) // 10**6))
