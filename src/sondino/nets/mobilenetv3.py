"""MobileNetV3-Large on log-mels, as EfficientAT made it for audio (arXiv 2211.04772)."""

import torch
from torch import Tensor, nn

from sondino.nets.student import Block, Student, conv_norm, initialise, mobilenet_blocks, round_channels


class SqueezeExcite(nn.Module):
    """Weighs each channel by a gate computed from the channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = round_channels(channels // 4)
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Gated images, of the same shape."""
        gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class ConcurrentSqueezeExcite(nn.Module):
    """Published checkpoints keep the gate in a list: they allow one gate for each of several dimensions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcite(channels)])

    def forward(self, x: Tensor) -> Tensor:
        """Gated images, of the same shape."""
        return self.conc_se_layers[0](x)


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel, gate, narrow by 1x1."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.residual = block.residual
        activation = nn.Hardswish if block.hardswish else nn.ReLU
        wide = block.expanded
        layers: list[nn.Module] = []
        if wide != block.inputs:
            layers.append(conv_norm(block.inputs, wide, activation=activation))
        layers.append(conv_norm(wide, wide, block.kernel, block.stride, activation, each=True))
        if block.squeeze:
            layers.append(ConcurrentSqueezeExcite(wide))
        layers.append(conv_norm(wide, block.outputs))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, inputs, mels, frames) to (batch, outputs, mels / stride, frames / stride)."""
        y = self.block(x)
        return x + y if self.residual else y


class MobileNetV3(Student):
    """The student `mobilenetv3`: 2.97 M parameters and 960 dimensions at width 1."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        blocks = mobilenet_blocks(width)
        last = 6 * blocks[-1].outputs
        self.name, self.width, self.dim = "mobilenetv3", width, last
        self.features = nn.Sequential(
            conv_norm(1, blocks[0].inputs, 3, 2, activation=nn.Hardswish),
            *map(InvertedResidual, blocks),
            conv_norm(blocks[-1].outputs, last, activation=nn.Hardswish),
        )
        initialise(self)

    def forward(self, logmel: Tensor) -> Tensor:
        """Embeddings (batch, dim), float32 also under autocast, of log-mels (batch, n_mels, frames)."""
        return self.features(self.as_image(logmel)).mean((2, 3), dtype=torch.float32)
