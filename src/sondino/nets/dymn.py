"""DyMN, dynamic MobileNet (EfficientAT, arXiv 2310.15648): kernels and activations that depend on the clip.

A clip's context mixes K kernels into one kernel of its own. The published form runs all clips of a
batch as groups of one convolution, which fixes the batch in an exported graph. Here a 1x1 kernel is a batched
matrix product, and a depthwise one is the same mix taken over the K kernels' outputs: the same values, for any
batch.
"""

from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sondino.nets.depthwise import depthwise
from sondino.nets.hamilton import first_quaternions, hamilton
from sondino.nets.student import BatchNorm, Block, Student, conv_norm, initialise, mobilenet_blocks, round_channels

KERNELS = 4

FIRST_ATTENTION = 3.0
"""Attention along each axis before the sigmoid, in a net with random weights. Published code starts at 0."""


class Context(NamedTuple):
    """What a block's kernels and activations depend on, for each clip.

    Attributes:
        clip: (batch, context) summary of the whole clip.
        mels: (batch, channels, mels, 1) attention before the sigmoid.
        frames: (batch, channels, 1, frames) the same along time.
    """

    clip: Tensor
    mels: Tensor
    frames: Tensor


class ContextGenerator(nn.Module):
    """Summarises the block's input along each axis (coordinate attention) and as a whole."""

    def __init__(self, context: int, block: Block) -> None:
        super().__init__()
        self.stride = block.stride
        self.joint_conv = nn.Conv2d(block.inputs, context, 1, bias=False)
        self.joint_norm = BatchNorm(context)
        self.conv_f = nn.Conv2d(context, block.expanded, 1)
        self.conv_t = nn.Conv2d(context, block.expanded, 1)

    def reset(self) -> None:
        """Attention near 1 at first, so that an input larger than usual is not amplified.

        Attention and slopes depend linearly on the context before they saturate, and the context grows with the
        input. Where the two sigmoids start at 0.5, their product can grow from 0.25 to 1: a block makes a large input
        larger relative to a usual one, and fifteen blocks do so up to a million times. From 0.91 on (0.95 on each
        axis) saturation can only make it smaller.
        """
        nn.init.constant_(self.conv_f.bias, FIRST_ATTENTION)  # type: ignore[arg-type]
        nn.init.constant_(self.conv_t.bias, FIRST_ATTENTION)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Context:
        """The context of images (batch, inputs, mels, frames)."""
        mels = x.shape[2]
        both = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)], dim=2)
        both = F.hardswish(self.joint_norm(self.joint_conv(both)))
        by_mel, by_frame = both[:, :, :mels], both[:, :, mels:].transpose(2, 3)
        if self.stride > 1:  # the attention is laid over the filtered image, which is smaller
            by_mel = F.avg_pool2d(by_mel, (3, 1), (self.stride, 1), (1, 0))
            by_frame = F.avg_pool2d(by_frame, (1, 3), (1, self.stride), (0, 1))
        return Context(both.mean((2, 3)), self.conv_f(by_mel), self.conv_t(by_frame))


class DynamicConv(nn.Module):
    """A 1x1 or a depthwise convolution whose kernel is each clip's own mix of K kernels.

    Args:
        context: size of the clip's context.
        inputs: channels in.
        outputs: channels out; equal to `inputs` where `kernel` is above 1 (depthwise).
        kernel: side of the kernel; 1 is a 1x1 convolution over all channels.
        stride: of a depthwise convolution.
    """

    def __init__(self, context: int, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.inputs, self.outputs, self.kernel, self.stride = inputs, outputs, kernel, stride
        self.temperature, self.quaternion = 30.0, False
        taps = inputs if kernel == 1 else kernel * kernel
        self.weight = nn.Parameter(torch.empty(1, 1, KERNELS, outputs * taps))
        self.residuals = nn.Sequential(nn.Linear(context, KERNELS))

    def make_quaternion(self) -> None:
        """Re-initialise a 1x1 kernel as quaternions, a quarter of the weights, if its channels are multiples of 4."""
        if self.kernel == 1 and not (self.inputs % 4 or self.outputs % 4):
            drawn = [first_quaternions((self.outputs // 4, self.inputs // 4)).flatten() for _ in range(KERNELS)]
            self.weight, self.quaternion = nn.Parameter(torch.stack(drawn)[None, None]), True

    def make_real(self) -> None:
        """Keep the real kernels that compute the same as the quaternions do."""
        if self.quaternion:
            kernels = self._as_matrices(self.weight.detach()[0, 0])
            self.weight, self.quaternion = nn.Parameter(kernels.flatten(1)[None, None].clone()), False

    def reset(self) -> None:
        """Kaiming normal by fan-out for each of the K kernels, as a plain convolution would have."""
        fan_out = self.outputs if self.kernel == 1 else self.kernel**2
        nn.init.normal_(self.weight, 0, (2 / fan_out) ** 0.5)

    def forward(self, x: Tensor, clip: Tensor) -> Tensor:
        """Filtered images, each with the kernel of its context (batch, context)."""
        mix = torch.softmax(self.residuals(clip) / self.temperature, dim=-1)
        return self._pointwise(x, mix) if self.kernel == 1 else self._depthwise(x, mix)

    def _pointwise(self, x: Tensor, mix: Tensor) -> Tensor:
        kernels = self._as_matrices(mix @ self.weight[0, 0].to(mix.dtype))
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            pixels = x.permute(0, 2, 3, 1)  # channels already lie side by side: multiply them from the right
            out = pixels.flatten(1, 2) @ kernels.transpose(1, 2)
            return out.unflatten(1, pixels.shape[1:3]).permute(0, 3, 1, 2)
        return (kernels @ x.flatten(2)).unflatten(2, x.shape[2:])

    def _as_matrices(self, kernels: Tensor) -> Tensor:
        """1x1 kernels (n, weights) as real ones (n, outputs, inputs)."""
        if not self.quaternion:
            return kernels.unflatten(1, (self.outputs, self.inputs))
        # Hamilton's product wants the four parts first, then outputs and inputs.
        parts = kernels.unflatten(1, (4, self.outputs // 4, self.inputs // 4)).permute(1, 2, 3, 0)
        return hamilton(parts).permute(2, 0, 1)

    def _depthwise(self, x: Tensor, mix: Tensor) -> Tensor:
        side = self.kernel
        kernels = self.weight.view(KERNELS, self.outputs, 1, side, side).unbind(0)
        shares = mix[:, :, None, None, None].unbind(1)
        parts = (depthwise(x, k, self.stride) * share for k, share in zip(kernels, shares, strict=True))
        return reduce(torch.add, parts)


class DynamicReLU(nn.Module):
    """The larger of two lines, whose slopes and heights depend on the clip; a plain ReLU before training."""

    lambdas: Tensor
    init_v: Tensor

    def __init__(self, context: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("lambdas", torch.tensor([1.0, 1.0, 0.5, 0.5]))
        self.register_buffer("init_v", torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.coef_net = nn.Sequential(nn.Linear(context, 4 * channels))

    def forward(self, x: Tensor, clip: Tensor) -> Tensor:
        """Activated images, of the same shape."""
        raw = 2 * torch.sigmoid(self.coef_net(clip)) - 1
        lines = raw.unflatten(1, (-1, 4)) * self.lambdas.to(raw.dtype) + self.init_v.to(raw.dtype)
        slope1, slope2, height1, height2 = lines[:, :, None, None].unbind(-1)
        return torch.maximum(x * slope1 + height1, x * slope2 + height2)


class DynamicBlock(nn.Module):
    """An inverted residual block whose three convolutions and whose activation are dynamic."""

    def __init__(self, block: Block, width: float) -> None:
        super().__init__()
        self.residual = block.residual
        wide = block.expanded
        least, most = round_channels(32 * width), round_channels(128 * width)
        context = min(max(round_channels(wide // 4), least), most)
        self.exp_conv: DynamicConv | None = None
        if wide != block.inputs:
            self.exp_conv = DynamicConv(context, block.inputs, wide)
            self.exp_norm = BatchNorm(wide)
        self.exp_act = nn.Hardswish() if block.hardswish else nn.ReLU()
        self.depth_conv = DynamicConv(context, wide, wide, block.kernel, block.stride)
        self.depth_norm = BatchNorm(wide)
        self.depth_act = DynamicReLU(context, wide)
        self.proj_conv = DynamicConv(context, wide, block.outputs)
        self.proj_norm = BatchNorm(block.outputs)
        self.context_gen = ContextGenerator(context, block)

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, inputs, mels, frames) to (batch, outputs, mels / stride, frames / stride)."""
        context = self.context_gen(x)
        y = x
        if self.exp_conv is not None:
            y = self.exp_act(self.exp_norm(self.exp_conv(y, context.clip)))
        y = self.depth_act(self.depth_norm(self.depth_conv(y, context.clip)), context.clip)
        y = y * torch.sigmoid(context.mels) * torch.sigmoid(context.frames)
        y = self.proj_norm(self.proj_conv(y, context.clip))
        return x + y if self.residual else y


class DyMN(Student):
    """The student `dymn`: 8.64 M parameters and 960 dimensions at width 1.

    Args:
        width: multiplier of the channels.
        temperature: divides the scores that mix the kernels: 30 mixes them almost evenly, as the published
            students and ImageNet weights do; EfficientAT's AudioSet weights end at 1.
    """

    def __init__(self, width: float = 1.0, temperature: float = 30.0) -> None:
        super().__init__()
        blocks = mobilenet_blocks(width)
        last = 6 * blocks[-1].outputs
        self.name, self.width, self.dim = "dymn", width, last
        self.layers = nn.Sequential(*(DynamicBlock(block, width) for block in blocks))
        self.in_c = conv_norm(1, blocks[0].inputs, 3, 2, activation=nn.Hardswish)
        self.out_c = conv_norm(blocks[-1].outputs, last, activation=nn.Hardswish)
        self.set_temperature(temperature)
        initialise(self)
        for module in self.modules():
            if isinstance(module, DynamicConv | ContextGenerator):
                module.reset()

    @property
    def build(self) -> dict[str, Any]:
        """The temperature too, which is no weight."""
        return {**super().build, "temperature": self.temperature}

    def set_temperature(self, temperature: float) -> None:
        """Sets how evenly all dynamic convolutions mix their kernels."""
        self.temperature = temperature
        for module in self.modules():
            if isinstance(module, DynamicConv):
                module.temperature = temperature

    def forward(self, logmel: Tensor) -> Tensor:
        """Embeddings (batch, dim), float32 also under autocast, of log-mels (batch, n_mels, frames)."""
        images = self.out_c(self.layers(self.in_c(self.as_image(logmel))))
        return images.mean((2, 3), dtype=torch.float32)
