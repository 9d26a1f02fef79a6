"""Weights by rule of the published ViTs, whole and small."""

import pytest
import torch

from helpers.golden import weight

M2D_FOLDER = "m2d_vit_base-80x608p16x16-221006-mr7_enconly"


def whole_vit(test):
    """Marks a test on a whole ViT, whose weights take 340 MB: those tests share them, so they go to one worker."""
    return pytest.mark.full(pytest.mark.xdist_group("whole ViTs")(test))


def vit_keys(prefix: str, stats: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published ViT-B checkpoint."""
    keys = {"cls_token": (1, 1, 768), "pos_embed": (1, 191, 768)}
    if stats:
        keys["norm_stats"] = (2,)
    keys |= {"patch_embed.proj.weight": (768, 1, 16, 16), "patch_embed.proj.bias": (768,)}
    block = {"norm1": (768,), "attn.qkv": (2304, 768), "attn.proj": (768, 768), "norm2": (768,)}
    block |= {"mlp.fc1": (3072, 768), "mlp.fc2": (768, 3072)}
    for i in range(12):
        for name, shape in block.items():
            keys |= {f"{prefix}blocks.{i}.{name}.weight": shape, f"{prefix}blocks.{i}.{name}.bias": shape[:1]}
    return keys | {f"{prefix}norm.weight": (768,), f"{prefix}norm.bias": (768,)}


def vit_state(prefix: str = "", stats: bool = False) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(weight(k, shape)) for k, shape in vit_keys(prefix, stats).items()}


def tiny_vit(prefix: str = "", frames: int = 4, patch: tuple[int, int] = (16, 16)) -> dict[str, torch.Tensor]:
    """A ViT of one block and width 64, whose positions are for `frames` columns."""
    sizes = {768: 64, 2304: 192, 3072: 128}
    keys = {k: s for k, s in vit_keys(prefix, False).items() if "blocks." not in k or f"{prefix}blocks.0." in k}
    made = {k: tuple(sizes.get(n, n) for n in shape) for k, shape in keys.items()}
    made["pos_embed"] = (1, 1 + 80 // patch[0] * frames, 64)
    made["patch_embed.proj.weight"] = (64, 1, *patch)
    return {k: torch.from_numpy(weight(k, shape)) for k, shape in made.items()}
