"""The speaker encoder of the package resemblyzer as a teacher: `--also resemblyzer=module:speaker_teacher.py:make`.

Needs `pretrained.pt` of resemblyzer 0.1.4 (Apache-2.0) beside it, and neither the package nor librosa. Linear mel bands
at 16 kHz, three LSTM layers, 256 values of norm 1 for each 1.6 s. Long silences are not cut out, unlike there.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

FILE = Path(__file__).parent / "pretrained.pt"
STRETCH = np.log(6.4) / 27
"""Of Slaney's mel scale: its step above 1 kHz."""


class Speakers:
    """resemblyzer's VoiceEncoder; an `Encoder`."""

    name = "resemblyzer"
    sample_rate = 16000
    dim = 256
    window = 1.6
    batch_size = 64
    licence = "Apache-2.0"
    fingerprint = "resemblyzer 0.1.4, 1"

    def __init__(self) -> None:
        state = torch.load(FILE, map_location="cpu", weights_only=True)["model_state"]
        self.net = torch.nn.ModuleDict(
            {"lstm": torch.nn.LSTM(40, 256, 3, batch_first=True), "linear": torch.nn.Linear(256, 256)}
        )
        self.net.load_state_dict({name: state[name] for name in self.net.state_dict()})
        self.filters = torch.from_numpy(mel_filters(self.sample_rate, 400, 40).astype(np.float32))
        self.hann = torch.hann_window(400)

    @torch.inference_mode()
    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (batch, 256) of waveforms (batch, samples), which are brought up to -30 dBFS."""
        audio = torch.from_numpy(np.ascontiguousarray(waveforms, np.float32))
        rms = audio.square().mean(1, keepdim=True).sqrt().clamp_min(1e-7)
        audio = audio * (10 ** (-30 / 20) / rms).clamp_min(1)
        spectrum = torch.stft(audio, 400, 160, window=self.hann, pad_mode="constant", return_complex=True)
        mels = (self.filters @ spectrum.abs() ** 2).transpose(1, 2)[:, :160]
        _, (hidden, _) = self.net["lstm"](mels)
        embeddings = torch.relu(self.net["linear"](hidden[-1]))
        return np.asarray((embeddings / embeddings.norm(dim=1, keepdim=True).clamp_min(1e-9)).numpy())


def mel_filters(rate: int, n_fft: int, bands: int) -> NDArray[np.float64]:
    """The default filters of librosa (bands, n_fft // 2 + 1): Slaney's scale, each of area 1."""
    top = 15 + np.log(rate / 2 / 1000) / STRETCH
    mels = np.linspace(0, top, bands + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(STRETCH * (mels - 15)))[:, None]
    hertz = np.linspace(0, rate / 2, n_fft // 2 + 1)
    below, centre, above = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((hertz - below) / (centre - below), (above - hertz) / (above - centre))
    return np.asarray(np.maximum(0, triangles) * 2 / (above - below))


def make() -> Speakers:
    """The teacher that `module:speaker_teacher.py:make` names."""
    return Speakers()
