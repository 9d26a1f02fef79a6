"""What the students share: their form, channel rounding, layers and first weights."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sondino.frontend.logmel import STUDENT_LOGMEL, LogMel
from sondino.nets.depthwise import DepthwiseConv

BatchNorm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
"""As in MobileNetV3: the slow average suits small batches."""


class Student(nn.Module):
    """A net from log-mels (batch, n_mels, frames) or (batch, 1, n_mels, frames) to embeddings (batch, dim).

    Attributes:
        name: of its record in `STUDENTS`.
        width: multiplier of its channels.
        dim: embedding dimension.
        logmel: its front-end.
        minimum_frames: the fewest frames that give a finite embedding.
        fixed_samples: the only number of samples that it takes; None: any from `minimum_samples` on.
        time_axis: of the frames in the images that its first convolution is given.
        quaternion: where the parts of its input come from, if it is a student's quaternion form.
        channels: of each layer that was pruned, how many it gives and takes.
        random: whether it draws random numbers in training (dropout).
    """

    name: str
    width: float
    dim: int
    logmel: LogMel = STUDENT_LOGMEL
    minimum_frames: int = 1
    fixed_samples: int | None = None
    time_axis: int = 3
    quaternion: str | None = None
    channels: Mapping[str, Sequence[int]] = MappingProxyType({})
    random: bool = False

    @property
    def build(self) -> dict[str, Any]:
        """Keywords of `build_student` that stand for this net, besides its name and width."""
        facts = {"quaternion": self.quaternion, "channels": {name: list(n) for name, n in self.channels.items()}}
        return {name: value for name, value in facts.items() if value}

    @property
    def minimum_samples(self) -> int:
        """The fewest samples that give a finite embedding."""
        return self.fixed_samples or self.logmel.samples_for(self.minimum_frames)

    def as_image(self, logmel: Tensor) -> Tensor:
        """The log-mels as images of one channel.

        Raises:
            ValueError: for another number of mels or fewer frames than `minimum_frames`.
        """
        image = logmel.unsqueeze(1) if logmel.ndim == 3 else logmel
        if torch.compiler.is_exporting():
            return image
        if image.ndim != 4 or image.shape[1] != 1 or image.shape[2] != self.logmel.n_mels:
            raise ValueError(
                f"{self.name} takes log-mels (batch, {self.logmel.n_mels}, frames), not {tuple(logmel.shape)}"
            )
        if image.shape[3] < self.minimum_frames:
            raise ValueError(
                f"{self.name} needs {self.minimum_frames} frames or more, not {image.shape[3]}: "
                f"pad the clip to {self.minimum_samples} samples"
            )
        return image


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least one, and never more than a tenth below `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


class Block(NamedTuple):
    """One inverted residual block of MobileNetV3; channels already at their width."""

    inputs: int
    kernel: int
    expanded: int
    outputs: int
    squeeze: bool
    hardswish: bool
    stride: int

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.outputs


# kernel, expanded, outputs, squeeze-excite, hardswish, stride: table 1 of MobileNetV3 (arXiv 1905.02244).
_LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def mobilenet_blocks(width: float) -> list[Block]:
    """MobileNetV3-Large's blocks at a width."""
    blocks, inputs = [], round_channels(16 * width)
    for kernel, expanded, outputs, squeeze, hardswish, stride in _LARGE:
        wide, out = round_channels(expanded * width), round_channels(outputs * width)
        blocks.append(Block(inputs, kernel, wide, out, squeeze, hardswish, stride))
        inputs = out
    return blocks


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    activation: Callable[..., nn.Module] | None = None,
    each: bool = False,
) -> nn.Sequential:
    """Convolution (of each channel by itself if `each`), BatchNorm and, if given, an activation."""
    conv: nn.Module
    if each:
        conv = DepthwiseConv(outputs, kernel, stride)
    else:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    layers: list[nn.Module] = [conv, BatchNorm(outputs)]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)


def initialise(net: nn.Module) -> None:
    """First weights as MobileNetV3 is trained from: Kaiming normal by fan-out, norms at identity, small linears."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
