"""ERes2Net (arXiv 2305.12838): Res2Net with attentive fusion of features within and across its stages."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sondino.nets.student import Student, initialise, round_channels

STAGES = ((1, 3), (2, 4), (4, 6), (8, 3), (2, 3))
"""Channels, in units of the width, and blocks of the five stages."""
FUSIONS = ("fuse_mode12", "fuse_mode123", "fuse_mode1234", "fuse_mode12345")
"""Published names of the fusions across stages."""

FUSED_FROM = 2
"""The first stage (from 0) whose splits are fused by attention and not by a sum."""


def _relu20(x: Tensor) -> Tensor:
    # In place saves memory in training; an exporter only has to undo it.
    return F.hardtanh(x, 0.0, 20.0, inplace=not torch.compiler.is_exporting())


class Fusion(nn.Module):
    """Adds two images (batch, channels, ...), each weighed between 0 and 2 by an attention over both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, inner, 1),
            nn.BatchNorm2d(inner),
            nn.SiLU(inplace=True),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The weighed sum, of the shape of either."""
        attention = torch.tanh(self.local_att(torch.cat([a, b], dim=1)))
        return a + b + (a - b) * attention


class Res2Block(nn.Module):
    """Two halves of the channels, the second filtered together with the first one's result."""

    def __init__(self, inputs: int, channels: int, stride: int, fused: bool) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(inputs, channels, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.convs = nn.ModuleList([nn.Conv2d(half, half, 3, padding=1, bias=False) for _ in range(2)])
        self.bns = nn.ModuleList([nn.BatchNorm2d(half) for _ in range(2)])
        if fused:
            self.fuse_models = nn.ModuleList([Fusion(half)])
        self.fused = fused
        self.conv3 = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != 2 * channels:
            self.shortcut.append(nn.Conv2d(inputs, 2 * channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(2 * channels))

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, inputs, mels, frames) to (batch, 2 * channels, mels / stride, frames / stride)."""
        halves = [conv.in_channels for conv in self.convs]  # as they are now: pruning may leave each its own number
        first, second = _relu20(self.bn1(self.conv1(x))).split(halves, dim=1)
        first = _relu20(self.bns[0](self.convs[0](first)))
        second = self.fuse_models[0](first, second) if self.fused else first + second
        second = _relu20(self.bns[1](self.convs[1](second)))
        out = self.bn3(self.conv3(torch.cat([first, second], dim=1)))
        return _relu20(out + self.shortcut(x))


class ERes2Net(Student):
    """The student `eres2net`: 1.37 M parameters and 1024 dimensions at width 1.

    The embedding is the mean and the standard deviation over time of each channel and mel band. A deviation needs
    two frames at the end, which is 17 at the start.
    """

    minimum_frames = 17

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        unit = round_channels(16 * width)
        self.name, self.width = "eres2net", width
        self.conv1 = nn.Conv2d(1, unit, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(unit)
        inputs, outputs = unit, []
        for stage, (factor, count) in enumerate(STAGES):
            blocks = []
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                blocks.append(Res2Block(inputs, factor * unit, stride, stage >= FUSED_FROM))
                inputs = 2 * factor * unit
            outputs.append(inputs)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        for stage in range(4):
            down = nn.Conv2d(outputs[stage], outputs[stage + 1], 3, 2, 1, bias=False)
            self.add_module(f"layer{stage + 1}_downsample", down)
        for stage, name in enumerate(FUSIONS, start=1):
            self.add_module(name, Fusion(outputs[stage]))
        self.dim = 2 * outputs[-1] * (self.logmel.n_mels // 16)
        initialise(self)

    def forward(self, logmel: Tensor) -> Tensor:
        """Embeddings (batch, dim), float32 also under autocast, of log-mels (batch, n_mels, frames)."""
        x = torch.relu(self.bn1(self.conv1(self.as_image(logmel))))
        x = self.get_submodule("layer1")(x)
        fused = x
        for stage, name in enumerate(FUSIONS, start=1):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            smaller = self.get_submodule(f"layer{stage}_downsample")(fused)
            fused = self.get_submodule(name)(x, smaller)
        features = fused.flatten(1, 2)
        if features.dtype != torch.float64:  # which is taken to measure errors
            features = features.float()
        deviation = torch.sqrt(features.var(dim=-1) + 1e-8)
        return torch.cat([features.mean(dim=-1), deviation], dim=1)
