"""A log-mel and a ViT as an encoder: what the matpac and m2d adapters have in common."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sondino import hub
from sondino.files import sha256
from sondino.frontend import LogMel
from sondino.frontend_torch import FFTLogMel
from sondino.progress import show
from sondino.teachers.common import identity
from sondino.teachers.spec import TeacherSpec
from sondino.teachers.vit import ViT


class ViTEncoder:
    """A log-mel and a ViT as an encoder: the mean over time of the columns' vectors.

    Takes any length where `window` is None: the ViT cuts its input into stretches of its own.

    Attributes:
        name: kind and file.
        path: of the checkpoint.
        sample_rate: hertz.
        dim: length of a vector.
        window: seconds; None for any length.
        hop: seconds from one window to the next.
        batch_size: waveforms a call.
        minimum: fewest samples that give one frame.
        fingerprint: changes with the weights, the front-end and the windows.
        licence: of the weights.
        notice: a sentence about them.
    """

    def __init__(
        self,
        spec: TeacherSpec,
        vit: ViT,
        logmel: LogMel,
        path: Path,
        device: torch.device,
        licence: str,
    ) -> None:
        self.name, self.path = f"{spec.kind}:{path.name}", path
        self.sample_rate = logmel.sample_rate
        self.dim = vit.dim
        self.window, self.hop = spec.windowing()
        self.batch_size = int(spec.options.get("batch", 16))
        self.minimum = logmel.minimum_samples
        self.licence = licence
        self.notice = f"weights of {self.name}: licence {licence}"
        self.device = device
        self._vit = vit.to(device)
        self._logmel = FFTLogMel(logmel).to(device)
        self._whole = spec.options.get("mode", "precise") == "fast"
        self._half = spec.options.get("precision", "float32") == "bfloat16"
        self.fingerprint = identity(
            spec.kind,
            sha256(path),
            logmel=repr(logmel),
            window=self.window,
            hop=self.hop,
            whole=self._whole,
            half=self._half,
        )

    @torch.inference_mode()
    def frames(self, waveforms: NDArray[np.float32]) -> Tensor:
        """(batch, samples) to (batch, columns, dim): one vector for each column of patches (0.16 s)."""
        batch = torch.from_numpy(np.ascontiguousarray(waveforms, dtype=np.float32)).to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._half):
            return self._vit.encode(self._logmel(batch), self._whole, self.batch_size).float()

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim)."""
        vectors: NDArray[np.float32] = self.frames(waveforms).mean(dim=1).cpu().numpy()
        return vectors


def checkpoint(spec: TeacherSpec) -> Path:
    """The file that was named, or the published one."""
    if spec.file:
        return spec.path
    with show(f"weights of {spec.kind}", "MB") as report:
        return hub.fetch(spec.kind, lambda have, total: report(have // 10**6, (total or have) // 10**6))
