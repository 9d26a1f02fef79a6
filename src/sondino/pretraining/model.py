"""The nets of MATPAC and MATPAC++: encoder, its teacher, predictor with hypotheses, class heads.

Parameter names are those of the published checkpoints. The student's encoder processes the visible patches, the
teacher's the masked ones; the predictor maps the student's output to the teacher's.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sondino.nets.vit import HEAD_DIM, Block, PatchEmbed, ViTShape
from sondino.pretraining.losses import (
    class_loss,
    class_probabilities,
    distances,
    hypothesis_weights,
)
from sondino.pretraining.masks import sincos_positions, split_patches, take

Centre = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Sizes:
    """The sizes of the nets.

    Attributes:
        encoder: of the student's encoder, and of the teacher's.
        predictor: (width, blocks, width of a head) of the predictor.
        head: (hidden units, units before the last layer, classes) of the class heads; None: no classification.
        hypotheses: of each masked patch; 1: one prediction, MATPAC.
    """

    encoder: ViTShape
    predictor: tuple[int, int, int]
    head: tuple[int, int, int] | None
    hypotheses: int = 1


def _grid(width: int, depth: int, hidden: int) -> ViTShape:
    return ViTShape(width, depth, hidden, patch=(16, 16), grid=(5, 38))


SIZES = {
    "tiny": Sizes(_grid(192, 4, 576), (96, 2, 32), (256, 128, 256)),
    "small": Sizes(_grid(384, 12, 1536), (256, 4, 32), (1024, 256, 1024)),
    "base": Sizes(_grid(768, 12, 3072), (512, 8, 32), (2048, 256, 2048)),
}
"""By name; base is the published one. The grid's columns are those of a crop of 6.1 s."""


def sizes_of(name: str, columns: int, hypotheses: int, classification: bool) -> Sizes:
    """The sizes of a name, for crops of some columns of patches."""
    sizes = SIZES[name]
    encoder = replace(sizes.encoder, grid=(sizes.encoder.grid[0], columns))
    return replace(sizes, encoder=encoder, hypotheses=hypotheses, head=sizes.head if classification else None)


class Trunk(nn.Module):
    """The blocks and the last norm of an encoder."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(shape.width, shape.hidden, HEAD_DIM) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width), both in and out."""
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed


class Predictor(nn.Module):
    """From the student's output on visible patches to an output for each patch.

    A learned mask token stands where a patch is masked. `decoder_pred` is there for one prediction alone.
    """

    positions: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, depth, head_dim = sizes.predictor
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_embed = nn.Linear(sizes.encoder.width, width)
        self.decoder_blocks = nn.ModuleList([Block(width, 4 * width, head_dim) for _ in range(depth)])
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        if sizes.hypotheses == 1:
            self.decoder_pred = nn.Linear(width, sizes.encoder.width)
        table = torch.from_numpy(sincos_positions(sizes.encoder.grid, width)).unsqueeze(0)
        self.register_buffer("positions", table, persistent=False)

    def forward(self, encoded: Tensor, visible: Tensor) -> Tensor:
        """Class token and visible patches (batch, 1 + visible, D) to (batch, 1 + patches, width), in raster order."""
        embedded = self.decoder_embed(encoded)
        batch, _, width = embedded.shape
        patches = self.positions.shape[1] - 1
        places = self.mask_token.to(embedded.dtype).expand(batch, patches, width)
        places = places.scatter(1, visible.unsqueeze(-1).expand(-1, -1, width), embedded[:, 1:])
        x = torch.cat([embedded[:, :1], places], dim=1) + self.positions
        for block in self.decoder_blocks:
            x = block(x)
        normed: Tensor = self.decoder_norm(x)
        return normed


class Hypotheses(nn.Module):
    """Several linear predictions of each masked patch (MATPAC++)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        maps = [nn.Linear(sizes.predictor[0], sizes.encoder.width) for _ in range(sizes.hypotheses)]
        self.mcl_heads = nn.ModuleList(maps)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n, width) to (batch, n, hypotheses, D)."""
        return torch.stack([linear(x) for linear in self.mcl_heads], dim=2)


class ClassLayer(nn.Module):
    """A linear layer without bias whose rows have a direction and a trained length."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(classes, 1))
        self.weight_v = nn.Parameter(nn.Linear(inputs, classes, bias=False).weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., classes)."""
        return F.linear(x, self.weight_g * F.normalize(self.weight_v, dim=1))


class ClassHead(nn.Module):
    """From tokens to logits of classes that no label defines: an MLP, normalisation to length 1, a `ClassLayer`."""

    def __init__(self, width: int, hidden: int, bottleneck: int, classes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            *(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = ClassLayer(bottleneck, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n, width) to (batch, n, classes)."""
        logits: Tensor = self.last_layer(F.normalize(self.mlp(x).float(), dim=-1))
        return logits


@dataclass(frozen=True)
class Pass:
    """What a forward pass gives, of B clips and M masked patches.

    Attributes:
        prediction: loss of each masked patch (B, M).
        classification: the same; None: no classification.
        targets: the teacher's outputs (B, M, D).
        weights: of the hypotheses (B, M, H); None: one prediction.
        best: hypothesis with the least distance (B, M); None: one prediction.
        probabilities: the teacher's classes (B, M, K); None: no classification.
        mean: of the teacher's logits or probabilities over all patches (K,), for the centre; None: the same.
    """

    prediction: Tensor
    classification: Tensor | None
    targets: Tensor
    weights: Tensor | None
    best: Tensor | None
    probabilities: Tensor | None
    mean: Tensor | None


class Pretrainer(nn.Module):
    """The nets of a run: those that train, the teacher's, and the centre of the teacher's classes."""

    center: Tensor
    positions: Tensor

    def __init__(self, sizes: Sizes, centre: Centre = "logits") -> None:
        super().__init__()
        self.sizes, self.centre_of = sizes, centre
        shape = sizes.encoder
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.patch_embed = PatchEmbed(shape.width, shape.patch)
        self.student_encoder = Trunk(shape)
        self.decoder = Predictor(sizes)
        self.mcl_heads = Hypotheses(sizes) if sizes.hypotheses > 1 else None
        self.teacher_encoder = Trunk(shape)
        heads = [ClassHead(shape.width, *sizes.head) if sizes.head else None for _ in range(2)]
        self.cls_student_head, self.cls_teacher_head = heads
        self.register_buffer("center", torch.zeros(sizes.head[2] if sizes.head else 0))
        table = torch.from_numpy(sincos_positions(shape.grid, shape.width)).unsqueeze(0)
        self.register_buffer("positions", table, persistent=False)
        for net in (self.teacher_encoder, self.cls_teacher_head):
            if net is not None:
                net.requires_grad_(False)

    def tokens(self, logmel: Tensor) -> Tensor:
        """Patches with their positions (batch, patches, D), row by row, of log-mels (batch, n_mels, frames)."""
        return self.patch_embed.proj(logmel.unsqueeze(1)).flatten(2).transpose(1, 2) + self.positions[:, 1:]

    def encode(self, tokens: Tensor, trunk: nn.Module) -> Tensor:
        """The class token and some patches' tokens (batch, n, D) through an encoder: (batch, 1 + n, D)."""
        first = (self.cls_token + self.positions[:, :1]).expand(len(tokens), -1, -1)
        encoded: Tensor = trunk(torch.cat([first.to(tokens.dtype), tokens], dim=1))
        return encoded

    def predict(self, encoded: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """Predictions (batch, masked, D), or hypotheses (batch, masked, H, D), of the teacher's output."""
        decoded = take(self.decoder(encoded, visible)[:, 1:], masked)
        predicted: Tensor = self.decoder.decoder_pred(decoded) if self.mcl_heads is None else self.mcl_heads(decoded)
        return predicted

    def forward(
        self, logmel: Tensor, noise: Tensor, visible: int, teacher_temperature: float, hypothesis_temperature: float
    ) -> Pass:
        """The losses of a batch.

        Args:
            logmel: normalised (batch, n_mels, frames).
            noise: uniform (batch, patches), which decides what is masked.
            visible: how many patches of a clip stay visible.
            teacher_temperature: of the teacher's classes.
            hypothesis_temperature: of the hypotheses.
        """
        tokens = self.tokens(logmel)
        seen, masked = split_patches(noise, visible)
        with torch.no_grad():
            targets = self.encode(take(tokens, masked), self.teacher_encoder)[:, 1:].float()
        predicted = self.predict(self.encode(take(tokens, seen), self.student_encoder), seen, masked)
        prediction, chosen = distances(targets, predicted), predicted
        weights = best = None
        if predicted.ndim == 4:
            weights = hypothesis_weights(prediction, hypothesis_temperature)
            best = prediction.detach().argmin(-1)
            index = best[..., None, None].expand(-1, -1, 1, predicted.shape[-1])
            chosen = predicted.gather(2, index).squeeze(2)
            prediction = (weights * prediction).sum(-1)
        if self.cls_student_head is None or self.cls_teacher_head is None:
            return Pass(prediction, None, targets, weights, best, None, None)
        with torch.no_grad():
            logits = self.cls_teacher_head(targets).float()
            probabilities = class_probabilities(logits, self.center, teacher_temperature)
            mean = (probabilities if self.centre_of == "probabilities" else logits).flatten(0, 1).mean(0)
        classification = class_loss(self.cls_student_head(chosen), probabilities)
        return Pass(prediction, classification, targets, weights, best, probabilities, mean)

    @torch.no_grad()
    def average(self, encoder_decay: float, head_decay: float) -> None:
        """Move the teacher towards the student: teacher = decay * teacher + (1 - decay) * student."""
        _average(self.teacher_encoder, self.student_encoder, encoder_decay)
        if self.cls_teacher_head is not None and self.cls_student_head is not None:
            _average(self.cls_teacher_head, self.cls_student_head, head_decay)

    def encoder_state(self) -> dict[str, Tensor]:
        """The student's encoder under the names of published encoder files, with its positions."""
        state = {name: tensor for name, tensor in self.state_dict().items() if name.startswith(ENCODER)}
        return state | {"pos_embed": self.positions}

    def load_encoder(self, state: dict[str, Tensor]) -> None:
        """Take the weights of an encoder file for the student, and its teacher."""
        own = self.state_dict()
        own |= {name: tensor for name, tensor in state.items() if name in own}
        self.load_state_dict(own)
        self.teacher_encoder.load_state_dict(self.student_encoder.state_dict())


ENCODER = ("cls_token", "patch_embed.", "student_encoder.")
"""How the names of an encoder file's tensors begin, besides its positions."""


def _average(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    pairs = zip(teacher.parameters(), student.parameters(), strict=True)
    own, others = (list(tensors) for tensors in zip(*pairs, strict=True))
    torch._foreach_lerp_(own, others, 1 - decay)


def initialise(model: Pretrainer, teacher: Literal["random", "copy"] = "random") -> None:
    """Draw the first weights, as published: Xavier-uniform maps, the teacher independent of the student.

    Args:
        model: its weights are replaced.
        teacher: "copy": the teacher begins with the student's weights.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    kernel = model.patch_embed.proj.weight
    nn.init.xavier_uniform_(kernel.detach().view(kernel.shape[0], -1))
    for token in (model.cls_token, model.decoder.mask_token):
        nn.init.normal_(token, std=0.02)
    student, other = model.cls_student_head, model.cls_teacher_head
    if student is not None and other is not None:
        other.last_layer.load_state_dict(student.last_layer.state_dict())
        for layer in other.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
    if teacher == "copy":
        model.average(0.0, 0.0)
