"""The HEAR 2021 API (Turian and others 2022, arXiv 2203.03022) over any sondino model.

A program that evaluates HEAR packages imports this one by its name, `sondino.hear`. A scene embedding is what
`sondino embed` gives. A timestamp embedding is that of one frame of audio, centred on the timestamp, every 50 ms from
0 to the end of the clip; past the ends, frames are padded by reflection.
"""

import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sondino.audio.signal import from_array
from sondino.errors import OptionError, require
from sondino.pretrained.load import load

if TYPE_CHECKING:
    import torch

    from sondino.model.model import Model
else:
    torch = require("torch", "train")  # HEAR passes torch tensors

DEFAULT_MODEL = "ssondo/matpac-mobilenetv3"
RATES = (16000, 22050, 44100, 48000)  # all that HEAR uses
STEP = 50  # milliseconds from one timestamp to the next: the longest that HEAR's event tasks are scored at
FRAME = 0.5  # seconds: a linear probe on concatenated clips of ESC-10 scored best from 0.5 to 0.75 s
BATCH = 16  # frames through the model at once


class HEARModel(torch.nn.Module):
    """The model object of the HEAR API.

    It has no parameters: it runs on ONNX Runtime, and its embeddings go to the device of their audio.

    Attributes:
        sample_rate: hertz that audio must have: the model's own where HEAR uses it, else 48000.
        scene_embedding_size: dimension of a scene embedding.
        timestamp_embedding_size: dimension of a timestamp embedding.
        frame: samples of a frame, at the model's own rate.
    """

    def __init__(self, encoder: "Model") -> None:
        super().__init__()
        self.encoder = encoder
        self.sample_rate = encoder.sample_rate if encoder.sample_rate in RATES else 48000
        self.scene_embedding_size = self.timestamp_embedding_size = encoder.dim
        seconds = FRAME if encoder.window is None else min(FRAME, encoder.window)
        self.frame = max(round(seconds * encoder.sample_rate), encoder.minimum)


def load_model(model_file_path: str = "") -> HEARModel:
    """Open a model.

    Args:
        model_file_path: anything that `sondino.load` takes: a bundle's folder, a checkpoint, a published name.
            Empty: what the environment variable SONDINO_HEAR_MODEL names, else "ssondo/matpac-mobilenetv3".

    Raises:
        SondinoError: there is no such model.
    """
    return HEARModel(load(model_file_path or os.environ.get("SONDINO_HEAR_MODEL") or DEFAULT_MODEL))


def get_scene_embeddings(audio: "torch.Tensor", model: HEARModel) -> "torch.Tensor":
    """An embedding a sound.

    Args:
        audio: (n_sounds, samples) at `model.sample_rate`, -1 to 1, on any device.
        model: from `load_model`.

    Returns:
        (n_sounds, dim) float32, on the device of `audio`.

    Raises:
        OptionError: `audio` has another shape, or the model is another package's.
    """
    sounds = _checked_audio(audio, model)
    embeddings = model.encoder.embed([(sound, model.sample_rate) for sound in sounds])
    return torch.from_numpy(embeddings).to(audio.device)


def get_timestamp_embeddings(audio: "torch.Tensor", model: HEARModel) -> tuple["torch.Tensor", "torch.Tensor"]:
    """An embedding every 50 ms of each sound.

    Args:
        audio: as in `get_scene_embeddings`.
        model: from `load_model`.

    Returns:
        embeddings (n_sounds, n_timestamps, dim) float32; timestamps (n_sounds, n_timestamps) float32, the middle of
        each frame in milliseconds: 0, 50, 100 and so on. Both on the device of `audio`.

    Raises:
        OptionError: as `get_scene_embeddings`.
    """
    sounds = _checked_audio(audio, model)
    encoder, size = model.encoder, model.frame
    count = sounds.shape[1] * 1000 // (STEP * model.sample_rate) + 1
    starts = np.round(np.arange(count) * (STEP * encoder.sample_rate / 1000)).astype(int)
    embeddings = np.empty((len(sounds), count, encoder.dim), np.float32)
    for sound, rows in zip(sounds, embeddings, strict=True):
        waveform = from_array(sound, model.sample_rate, encoder.sample_rate)
        # Half a frame of padding centres the first frame on the first sample.
        padded = np.pad(waveform, (size // 2, size), mode="symmetric")
        for first in range(0, count, BATCH):
            frames = np.stack([padded[start : start + size] for start in starts[first : first + BATCH]])
            rows[first : first + BATCH] = encoder.embed(frames)
    timestamps = torch.arange(count, dtype=torch.float32) * STEP
    return torch.from_numpy(embeddings).to(audio.device), timestamps.repeat(len(sounds), 1).to(audio.device)


def _checked_audio(audio: "torch.Tensor", model: HEARModel) -> NDArray[np.float32]:
    if not isinstance(model, HEARModel):
        raise OptionError(f"the model is a {type(model).__name__}: give what sondino.hear.load_model returned")
    if not isinstance(audio, torch.Tensor) or audio.ndim != 2 or audio.shape[1] == 0:
        given = tuple(audio.shape) if isinstance(audio, torch.Tensor) else type(audio).__name__
        raise OptionError(f"audio is {given}: give a tensor (n_sounds, samples) at {model.sample_rate} Hz")
    return audio.detach().to("cpu", torch.float32).numpy()
