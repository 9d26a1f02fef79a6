"""The entries of config.json that say what net the weights beside it are of."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Rate = Annotated[int, Meta(ge=1, le=768_000)]
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
Channels = Annotated[int, Meta(ge=1, le=1 << 20)]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")]


class FrontEnd(Struct, forbid_unknown_fields=True):
    """The log-mel: `LogMel` has the meaning of its entries."""

    sample_rate: Rate
    n_fft: Annotated[int, Meta(ge=2, le=1 << 16)]
    window_length: Annotated[int, Meta(ge=1, le=1 << 16)]
    hop: Annotated[int, Meta(ge=1, le=1 << 16)]
    n_mels: Annotated[int, Meta(ge=1, le=1024)]
    f_min: Annotated[float, Meta(ge=0, le=400_000)]
    f_max: Annotated[float, Meta(ge=0, le=400_000)]
    center: bool
    log_offset: Number
    mean: Number
    std: Annotated[float, Meta(gt=0, le=1e12)]
    periodic: bool
    mel_scale: Literal["slaney", "kaldi"]
    preemphasis: Annotated[float, Meta(ge=-1, le=1)]
    log_floor: Annotated[float, Meta(ge=0, le=1e12)] = 0.0  # bundles of version 0.1.0 do not name it


class ViTSizes(Struct, forbid_unknown_fields=True):
    """A ViT of MATPAC or M2D: `ViTShape` has the meaning of its entries; samples of a window."""

    width: Annotated[int, Meta(ge=1, le=1 << 14)]
    depth: Annotated[int, Meta(ge=1, le=256)]
    hidden: Annotated[int, Meta(ge=1, le=1 << 16)]
    patch: tuple[Annotated[int, Meta(ge=1, le=1024)], Annotated[int, Meta(ge=1, le=1024)]]
    grid: tuple[Annotated[int, Meta(ge=1, le=1024)], Annotated[int, Meta(ge=1, le=1 << 16)]]
    samples: Annotated[int, Meta(ge=1, le=1 << 30)]


class Build(Struct):
    """How the net differs from the student of its name and width: the arguments of `build_student`."""

    temperature: Annotated[float, Meta(gt=0, le=1e6)] = 30.0
    quaternion: Literal["derivatives", "learned"] | None = None
    channels: dict[str, list[Channels]] | None = None
    vit: ViTSizes | None = None


class NetConfig(Struct, kw_only=True):
    """The net, its front-end, and the hashes of the files that hold it."""

    student: str | None = None
    width: Annotated[float, Meta(gt=0, le=100)] | None = None
    build: Build | None = None
    front_end: FrontEnd | None = None
    hashes: dict[FileName, str] = field(default_factory=dict)
