"""The ViT that MATPAC and M2D share: patches of a log-mel in, one embedding per column of patches out.

A pre-norm transformer (Dosovitskiy and others 2021, arXiv 2010.11929) with scaled dot-product attention, a learned
position for each patch and a class token that takes part but is not read. Parameter names are those of the
published checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sondino.errors import EncoderError

HEAD_DIM = 64


@dataclass(frozen=True)
class ViTShape:
    """The sizes of a ViT, from the shapes of a checkpoint's tensors.

    Attributes:
        width: length of a token.
        depth: number of blocks.
        hidden: width inside a block's MLP.
        patch: (mels, frames) of a patch.
        grid: (patches over the mels, patches over the frames) of a whole input.
    """

    width: int
    depth: int
    hidden: int
    patch: tuple[int, int]
    grid: tuple[int, int]

    @property
    def frames(self) -> int:
        """Log-mel frames of a whole input: what has positions."""
        return self.grid[1] * self.patch[1]

    @classmethod
    def of(cls, state: Mapping[str, Tensor], n_mels: int, where: str) -> "ViTShape":
        """The sizes that a state dict implies; EncoderError naming what is missing or does not fit."""
        for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "norm.weight"):
            if name not in state:
                raise EncoderError(f"{where} has no {name}: it is not such a ViT checkpoint")
        patch = state["patch_embed.proj.weight"].shape
        places = state["pos_embed"].shape
        hidden = state["blocks.0.mlp.fc1.weight"].shape
        if [len(patch), len(places), len(hidden)] != [4, 3, 2] or not 0 < patch[2] <= n_mels or patch[3] < 1:
            raise EncoderError(f"{where}: its patches or positions are not those of such a ViT")
        width = int(patch[0])
        rows = n_mels // int(patch[2])
        columns, left = divmod(int(places[1]) - 1, rows)
        if left or columns < 1 or width % HEAD_DIM:
            raise EncoderError(f"{where}: its positions or width do not fit {n_mels} mels in patches of {patch[2]}")
        depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
        return cls(width, depth, int(hidden[0]), (int(patch[2]), int(patch[3])), (rows, columns))


class _Attention(nn.Module):
    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, width // self.head_dim, self.head_dim).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm block of attention and an MLP with exact GELU, on tokens (batch, tokens, width)."""

    def __init__(self, width: int, hidden: int, head_dim: int = HEAD_DIM) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, head_dim)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _MLP(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width), both in and out."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """The linear map of each patch to a token, as a convolution."""

    def __init__(self, width: int, patch: tuple[int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, kernel_size=patch, stride=patch)


class ViT(nn.Module):
    """A log-mel ViT; `encode` takes any number of frames, `forward` at most a whole input."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + shape.grid[0] * shape.grid[1], shape.width))
        self.patch_embed = PatchEmbed(shape.width, shape.patch)
        self.blocks = nn.ModuleList([Block(shape.width, shape.hidden) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], n_mels: int, where: str) -> "ViT":
        """Build it from a checkpoint's encoder; tensors that it has no place for are left out.

        Raises:
            EncoderError: tensors are missing or of another shape.
        """
        with torch.device("meta"):  # no time lost on random weights that are replaced at once
            model = cls(ViTShape.of(state, n_mels, where))
        wanted = model.state_dict()
        missing = [name for name in wanted if name not in state]
        if missing:
            raise EncoderError(f"{where} lacks {len(missing)} tensors of its ViT, such as {missing[0]}")
        wrong = [name for name in wanted if wanted[name].shape != state[name].shape]
        if wrong:
            found = tuple(state[wrong[0]].shape)
            raise EncoderError(f"{where}: {wrong[0]} is {found}, not {tuple(wanted[wrong[0]].shape)}")
        model.load_state_dict({name: state[name].float() for name in wanted}, assign=True)
        return model.eval().requires_grad_(False)

    @property
    def dim(self) -> int:
        """Dimension of a column's embedding: its patches' tokens one after another, from low mels to high."""
        return self.shape.grid[0] * self.shape.width

    def forward(self, logmel: Tensor) -> Tensor:
        """(batch, n_mels, frames) with whole patches, at most an input long, to (batch, frames / patch, dim)."""
        patches = self.patch_embed.proj(logmel.unsqueeze(1))  # (batch, width, rows, columns)
        batch, width, rows, columns = patches.shape
        # A shorter input keeps the positions of the first columns.
        place = self.pos_embed[:, 1:].view(1, *self.shape.grid, width)[:, :, :columns]
        tokens = patches.permute(0, 2, 3, 1) + place
        first = (self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1)
        x = torch.cat([first, tokens.reshape(batch, rows * columns, width)], dim=1)
        for block in self.blocks:
            x = block(x)
        columns_first = self.norm(x[:, 1:]).view(batch, rows, columns, width).transpose(1, 2)
        return columns_first.reshape(batch, columns, rows * width)

    def encode(self, logmel: Tensor, whole: bool = False, batch: int = 16) -> Tensor:
        """Any number of frames: cut into inputs, each encoded by itself, the columns put together again.

        Args:
            logmel: (batch, n_mels, frames), normalised.
            whole: pad the last input to its full length ("fast"), not only to whole patches ("precise").
            batch: inputs that go through at once.

        Returns:
            (batch, columns, dim).
        """
        size = self.shape.frames
        unit = size if whole else self.shape.patch[1]
        logmel = F.pad(logmel, (0, -logmel.shape[2] % unit))
        rows, n_mels, frames = logmel.shape
        count = frames // size
        parts = []
        if count:  # all full inputs of all waveforms are one batch
            full = logmel[..., : count * size].view(rows, n_mels, count, size).transpose(1, 2)
            full = full.reshape(rows * count, n_mels, size)
            done = torch.cat([self(part) for part in full.split(batch)])
            parts.append(done.view(rows, -1, self.dim))
        if frames > count * size:
            parts.append(torch.cat([self(part) for part in logmel[..., count * size :].split(batch)]))
        return torch.cat(parts, dim=1)
