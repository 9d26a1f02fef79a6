"""What config.json of a bundle holds: read and checked as a whole, so that no entry of it fails later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from sondino.errors import SondinoError, content_elsewhere
from sondino.nets.config import NetConfig, Rate
from sondino.schema import check, load_json

BUNDLE_FORMAT = "sondino-bundle-1"
MOST_FRAMES = 1 << 20
"""Frames of a window's log-mel."""

_COPY = "copy the whole bundle again"

Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Seconds = Annotated[float, Meta(ge=0.001, le=600)]
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
Name = Annotated[str, Meta(max_length=10_000)]
Short = Literal["pad", "native", "repeat"]


class HeadEntry(Struct):
    """The head, whose weights are in head.safetensors."""

    name: Name
    labels: list[Name]
    multi_label: bool
    layers: Annotated[int, Meta(ge=1, le=64)]
    activation: Literal["relu", "hardswish"] = "relu"
    note: str = ""
    short: Short | None = None
    background: Name = ""
    sha256: str | None = None


class Teacher(Struct):
    """A teacher that the model was distilled from."""

    spec: Name
    dim: Count | None = None
    sample_rate: Number | None = None
    licence: str | None = None


class Source(Struct):
    """The checkpoint that the model was converted from."""

    kind: str | None = None
    file: str | None = None
    sha256: str | None = None
    url: str | None = None
    licence: str | None = None
    dropped: list[str] | None = None


class Signal(Struct):
    """Agreement on a synthetic signal."""

    cosine: Number


class VerifiedEntry(Struct):
    """Agreement with the trained net on real clips."""

    clips: Count
    seconds: Number
    cosine: Number
    cosine_lowest: Number
    difference: Number
    neighbours: Number
    signals: dict[str, Signal]
    norm_outliers: Count = field(name="unsteady", default=0)


class ProbeEntry(Struct):
    """Scores of a linear probe on the embeddings in float and in int8."""

    metric: str
    f32: Number
    int8: Number
    clips: Count


class Quantized(Struct):
    """How the model was quantised."""

    made_of: str = field(name="from")
    from_sha256: str
    layers: Count
    kept_in_float: list[str]
    stored: Count = 0
    norm_outliers: Count = field(name="unsteady_clips", default=0)
    verified: VerifiedEntry | None = None
    probe: ProbeEntry | None = None


class Recovered(Struct):
    """How a pruned model was trained further."""

    epochs: Number
    by: str


class Pruned(Struct):
    """How the model was pruned, and what it was pruned from, if that was pruned too."""

    made_of: str = field(name="from")
    from_sha256: str
    layers: str | None
    together: bool
    parameters_before: Annotated[int, Meta(ge=1)]
    macs_per_10s_before: Annotated[float, Meta(gt=0)]
    ratio: Number
    score: str
    steps: Count
    recalibrated_on: str = field(name="norms_settled_on")
    recovery: Recovered | None
    left_whole: list[str]
    mean_pairwise_cosine: Number = field(name="alike")
    before: Pruned | None


class Config(NetConfig, kw_only=True):
    """The entries of config.json that sondino uses; others may stand beside them."""

    format: Literal["sondino-bundle-1"]
    name: Name
    sample_rate: Rate
    dim: Annotated[int, Meta(ge=1, le=1 << 20)]
    window: Seconds | None
    hop: Seconds | None = None
    short: Short = "pad"
    minimum: Annotated[int, Meta(ge=0, le=1 << 24)] = 0
    licence: str | None = None
    parameters: Count | None = None
    macs_per_10s: Annotated[float, Meta(ge=0, le=1e18)] | None = None
    onnx_difference: Annotated[float, Meta(ge=0)] | None = None
    precision: str = "float32"
    head: HeadEntry | None = None
    teachers: list[Teacher] = field(default_factory=list)
    source: Source | None = None
    data: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    finetuned: dict[str, Any] = field(default_factory=dict)
    quantized: Quantized | None = None
    pruned: Pruned | None = None


def read_config(file: Path) -> dict[str, Any]:
    """A bundle's config.json, all of it, checked.

    Raises:
        SondinoError: it cannot be read, is of another format, or an entry cannot be.
    """
    return read_checked_config(file)[0]


def read_checked_config(file: Path) -> tuple[dict[str, Any], Config]:
    """`read_config`, and its entries that sondino uses as a `Config`."""
    try:
        values = load_json(file)
    except OSError as error:
        reason = f"{file}: cannot be read ({error.strerror}); name the folder of a bundle"
        raise SondinoError(content_elsewhere(file) or reason) from error
    except ValueError as error:
        raise SondinoError(content_elsewhere(file) or f"{file}: is damaged ({error}); {_COPY}") from error
    if not isinstance(values, dict):
        raise SondinoError(f"{file}: is damaged (no named entries); {_COPY}")
    if values.get("format") != BUNDLE_FORMAT:
        found = repr(values.get("format"))[:60]
        raise SondinoError(f"{file}: format is {found}, where this version of sondino reads {BUNDLE_FORMAT!r}")
    config = check(values, Config, f"{file}: is damaged", _COPY)
    front_end = config.front_end
    if front_end is not None:
        frames = (config.window or 0) * config.sample_rate / front_end.hop
        if front_end.window_length > front_end.n_fft or frames > MOST_FRAMES:
            raise SondinoError(f"{file}: is damaged (front_end does not fit a window of {config.window} s); {_COPY}")
    return values, config
