"""CNN14 of PANNs (arXiv 1912.10211): six blocks of two 3x3 convolutions on a log-mel in decibels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sondino.frontend.logmel import PANNS_LOGMEL
from sondino.frontend.logmel_torch import in_float32
from sondino.nets.student import Student, round_channels

CHANNELS = (64, 128, 256, 512, 1024, 2048)
"""Channels of the six blocks; the last is the embedding dimension."""
DROPOUT, LAST_DROPOUT = 0.2, 0.5
"""Shares left out in training: after each block, and before and after the last layer."""


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each with a norm and a ReLU; then the mean of every 2x2 where the image is halved."""

    def __init__(self, inputs: int, outputs: int, halved: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.halved = halved

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, inputs, frames, mels) to (batch, outputs, frames / 2, mels / 2), or as large as they were."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return F.avg_pool2d(x, 2) if self.halved else x


class CNN14(Student):
    """The student `cnn14`: 79.67 M parameters and 2048 dimensions at width 1; with AudioSet's classes 80.75 M.

    The embedding is the sum of the mean and the largest value over time, through a last linear layer. Parameter names
    are those of the published checkpoint.
    """

    minimum_frames = 32
    time_axis = 2
    random = True

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.name, self.width, self.logmel = "cnn14", width, PANNS_LOGMEL
        channels = [round_channels(count * width) for count in CHANNELS]
        self.bn0 = nn.BatchNorm2d(self.logmel.n_mels)
        for block, (inputs, outputs) in enumerate(zip([1, *channels], channels, strict=False), start=1):
            self.add_module(f"conv_block{block}", ConvBlock(inputs, outputs, halved=block < len(channels)))
        self.dim = channels[-1]
        self.fc1 = nn.Linear(self.dim, self.dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(self.fc1.bias)

    def forward(self, logmel: Tensor) -> Tensor:
        """Embeddings (batch, dim), float32 also under autocast, of log-mels (batch, n_mels, frames)."""
        x = self.bn0(self.as_image(logmel).transpose(1, 2)).permute(0, 2, 3, 1)  # a norm of each mel; frames first
        for block in range(1, len(CHANNELS) + 1):
            x = self.get_submodule(f"conv_block{block}")(x)
            x = F.dropout(x, DROPOUT, self.training)
        with in_float32(x):
            x = x.to(self.fc1.weight.dtype).mean(3)  # autocast may have made it bfloat16
            x = F.dropout(x.amax(2) + x.mean(2), LAST_DROPOUT, self.training)
            return F.dropout(torch.relu(self.fc1(x)), LAST_DROPOUT, self.training)
