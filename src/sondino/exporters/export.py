"""Export a bundle for a runtime; every export is run and compared with the trained net before it is written."""

from __future__ import annotations

# ruff: noqa: E402 - a missing extra is reported before anything imports it
from sondino.errors import require_extra

require_extra("train")

import copy
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from sondino.audio.clips import real_clips
from sondino.embedding.inputs import sounds_of
from sondino.encoder.head import Head
from sondino.errors import OptionError, RunError
from sondino.exporters.asked import Asked, Precision, To
from sondino.exporters.card import export_card
from sondino.exporters.half_precision import halved, without_zeros
from sondino.exporters.openvino import open_openvino, write_openvino
from sondino.exporters.quantize import CalibrationClips, int8_graphs, quantize, split_clips
from sondino.exporters.verify import BOUNDS, MINIMUM_COSINE, Exact, Run, check_bound, signals, verify
from sondino.exporters.web import export_web, licence_of
from sondino.files import free_folder, replacing, sha256, write_json
from sondino.frontend.logmel import n_frames
from sondino.frontend.logmel_numpy import log_mel
from sondino.model.bundle import EXPORT_FORMAT
from sondino.model.config import read_config
from sondino.model.onnx_graph import finished, front_end_graph, joined, net_graph, with_unlike
from sondino.model.sessions import open_session
from sondino.model.torch_model import TorchModel
from sondino.nets.size import macs, parameters
from sondino.processors import cores
from sondino.progress import show, stages
from sondino.runtimes import onnx_session
from sondino.version import __version__

EXPORT = "export of ours"  # what a folder is called that may be replaced
UNLIKE = "unlike.bin"
"""The arrays of the head's score of what is unlike, beside models that do not compute it themselves."""
FILES: Mapping[To, str] = {
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "executorch": "model.pte",
    "litert": "model.tflite",
    "web": "index.html",
}


@dataclass(frozen=True)
class _Made:
    """An exported file in the partial folder: how to run it, and facts for its card."""

    run: Run
    batch: int | None
    samples: int | None
    kept_float: tuple[str, ...]
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Order:
    """What is to be made, and of which bundle: its folder, its torch form, its head."""

    bundle: Path
    source: TorchModel
    head: Head | None
    precision: Precision
    samples: int | None
    body_only: bool
    sounds: CalibrationClips | None
    gallery: Path | None
    quiet: bool


def export(
    model: str | Path,
    to: To,
    out: str | Path,
    *,
    precision: Precision = "f32",
    window: float | None = None,
    dynamic: bool = False,
    body_only: bool = False,
    calibrate: str | Path | None = None,
    sounds: str | Path | None = None,
    gallery: str | Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write a model for a runtime: the file, a card, and export.json with what was measured.

    The file takes a raw waveform. Its outputs on silence, noise, a sweep and real clips are compared with the trained
    net's in torch, and it is written only if it is within the bound of its precision (`verify.BOUNDS`).

    Args:
        model: a bundle, a run or a published name, as `sondino.load` takes it.
        to: "onnx", "openvino", "executorch", "litert" or "web".
        out: a folder; an older export there is replaced once the new one is whole.
        precision: of the weights: "f32"; "f16", stored in half the size and computed with in float32; "int8", static,
            with the front-end and the layers that lose most in float.
        window: seconds that every clip has. Default: any length for onnx and openvino, the bundle's window for
            executorch and litert.
        dynamic: clips of any length, or an error where the runtime cannot.
        body_only: take a log-mel instead, for runtimes whose Fourier transform is wrong or slow.
        calibrate: a folder of real audio, which int8 needs.
        sounds: audio to verify on. Default: held-out windows of `calibrate`, else the sample sounds.
        gallery: of the web page: sounds to compare with. Default: the sample sounds.
        quiet: show no progress.

    Returns:
        what export.json holds.

    Raises:
        OptionError: there is no such model, or options that do not go together.
        MissingExtra: the runtime is not installed.
        RunError: it is past the bound, it cannot be converted, or the disk is full.

    Examples:
        >>> facts = sondino.export("run/bundle", "onnx", "exported", quiet=True)
        >>> facts["file"], facts["verified"]["cosine"] > 0.999
        ('model.onnx', True)
    """
    from sondino.pretrained.locate import locate

    calibrate, sounds, gallery = (None if given is None else Path(given) for given in (calibrate, sounds, gallery))
    Asked(to, precision, window, dynamic, body_only, calibrate, gallery)  # raises OptionError
    folder = free_folder(Path(out), _is_export, EXPORT)
    bundle = locate(model)
    source = TorchModel.open(bundle)
    samples = _samples(source, to, window, dynamic)
    length = samples or round(source.window * source.sample_rate)
    count = 2 + (calibrate is not None) + 2 * (calibrate is not None and to == "web")
    with replacing(folder, _is_export, EXPORT) as partial, stages(count):
        parts = None
        if calibrate is not None:
            with show("reading audio to calibrate on", quiet=quiet):
                parts = split_clips(source, length, calibrate, sounds)
        order = _Order(bundle, source, source.as_head(), precision, samples, body_only, parts, gallery, quiet)
        # Some makers show what they do themselves.
        shown = to == "web" or (precision == "int8" and to in ("onnx", "openvino"))
        with nullcontext() if shown else show(f"making the model for {to}", quiet=quiet):
            made = _MAKERS[to](order, partial)
        clips = (
            parts.verification
            if parts is not None
            else real_clips(source.sample_rate, length, source.short_policy, sounds_of(sounds))
        )
        with show("checking on real clips", "clips", quiet) as report:
            run = _through_log_mel(source, made.run) if body_only else made.run
            lengths = () if made.samples else (source.backbone.minimum_samples, length + length // 3 + 1)
            verified = verify(
                run,
                source.embed_array,
                clips,
                source.sample_rate,
                made.batch,
                lengths,
                report,
                _in_float64(source),
                BOUNDS[precision].difference,
            )
        # A page runs the bundle's own graph; the others are made from its weights.
        stated = read_config(bundle / "config.json").get("onnx_difference") if to == "web" else None
        check_bound(verified, precision, f"{source.name} for {to}", stated or 0.0)
        facts = _facts(order, to, made, partial) | {"verified": verified.as_dict()}
        if precision == "int8":
            facts["kept_promise"] = verified.cosine >= MINIMUM_COSINE
        write_json(partial / "export.json", facts)
        size = sum(file.stat().st_size for file in partial.iterdir() if file.stem == "model" and file.is_file())
        (partial / "card.md").write_text(export_card(bundle.name, facts, size), encoding="utf-8")
    return facts


def _is_export(folder: Path) -> bool:
    try:
        return json.loads((folder / "export.json").read_text(encoding="utf-8")).get("format") == EXPORT_FORMAT
    except (OSError, ValueError, AttributeError):
        return False


def _samples(source: TorchModel, to: To, window: float | None, dynamic: bool) -> int | None:
    """Samples that every clip has; None: any number."""
    fixed, least = source.backbone.fixed_samples, source.backbone.minimum_samples
    if window is not None:
        samples = round(window * source.sample_rate)
        if fixed is not None and samples != fixed:
            raise OptionError(f"window is {window:g} s, and {source.name} takes {fixed / source.sample_rate:g} s only")
        if samples < least:
            raise OptionError(f"window is {window:g} s, and {source.name} needs {least / source.sample_rate:g} s")
        return samples
    if dynamic and fixed is not None:
        raise OptionError(f"dynamic: {source.name} takes clips of {fixed / source.sample_rate:g} s only")
    by_length = to in ("executorch", "litert") and not dynamic
    return fixed or (round(source.window * source.sample_rate) if by_length else None)


def _onnx(order: _Order, partial: Path) -> _Made:
    model, kept = _graph(order)
    file = partial / FILES["onnx"]
    file.write_bytes(finished(model, _metadata(order)))
    _check_head(order, file)
    return _Made(_open_onnx(file), None, order.samples, kept, _versions("onnx", "onnxruntime", "torch"))


def _check_head(order: _Order, file: Path) -> None:
    """Raise RunError if an ONNX file's probabilities and `unlike` are not those of its head."""
    head = order.head
    if head is None:
        return
    session = onnx_session(file)
    samples = order.samples or round(order.source.window * order.source.sample_rate)
    noise = signals(order.source.sample_rate, samples)["noise"]
    given = log_mel(order.source.backbone.logmel, noise) if order.body_only else noise
    scores = {"probabilities": head.probabilities} | ({"unlike": head.unlike.scores} if head.unlike is not None else {})
    embeddings, *results = session.run(["vector", *scores], {session.get_inputs()[0].name: given[None]})
    for (name, expected), result in zip(scores.items(), results, strict=True):
        difference = float(np.abs(result - expected(embeddings)).max())
        if not difference < 1e-3:
            raise RunError(
                f"the exported head {head.name} gives {name} that differ by {difference:.1e}: nothing was written; "
                "please report it with the bundle's config.json"
            )


def _openvino(order: _Order, partial: Path) -> _Made:
    model, kept = _graph(order)
    file = partial / FILES["openvino"]
    write_openvino(model, file, half=order.precision == "f16")
    note = "OpenVINO takes bfloat16 by itself on processors that have it: ask for INFERENCE_PRECISION_HINT f32."
    return _Made(open_openvino(file), None, order.samples, kept, _versions("openvino", "torch"), (note,))


def _edge(to: Literal["executorch", "litert"]) -> Callable[[_Order, Path], _Made]:
    def make(order: _Order, partial: Path) -> _Made:
        file = partial / FILES[to]
        if to == "executorch":
            from sondino.exporters.executorch import open_executorch as opened
            from sondino.exporters.executorch import write_executorch

            done = write_executorch(order.source, file, order.precision, order.samples, order.body_only)
        else:
            from sondino.exporters.litert import open_litert as opened
            from sondino.exporters.litert import write_litert

            sounds = order.sounds.calibration if order.sounds is not None else []
            done = write_litert(order.source, file, order.precision, order.samples, sounds, order.body_only)
        if order.head is not None and order.head.unlike is not None:
            (partial / UNLIKE).write_bytes(order.head.unlike.as_bytes())
        return _Made(opened(file), done.batch, done.samples, done.kept_float, done.versions, done.notes)

    return make


def _web(order: _Order, partial: Path) -> _Made:
    kept: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        source = order.bundle
        if order.sounds is not None:
            source = Path(temporary) / "int8"
            facts = quantize(order.bundle, order.sounds, source, quiet=order.quiet)
            kept = facts["quantized"]["kept_in_float"]
        with show("making the page", "sounds", order.quiet) as report:
            export_web(source, partial, order.precision, order.gallery, report)
    run = _through_log_mel(order.source, _open_onnx(partial / "model" / "body.onnx"))
    return _Made(run, None, order.samples, tuple(kept), _versions("onnxruntime"))


_MAKERS: Mapping[To, Callable[[_Order, Path], _Made]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "executorch": _edge("executorch"),
    "litert": _edge("litert"),
    "web": _web,
}


def _graph(order: _Order) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The ONNX graph that was ordered, and the names of layers that int8 left in float."""
    source = order.source
    kept: tuple[str, ...] = ()
    if order.precision == "int8":
        assert order.sounds is not None
        with show("layers in int8", "layers", order.quiet) as report:
            front_end, net, found = int8_graphs(source, order.sounds, order.samples, order.head, report)
        kept = found.kept
    else:
        net = net_graph(source.backbone, order.samples, order.head)
        front_end = front_end_graph(source.backbone, order.samples)
        without_zeros(front_end)
        if order.precision == "f16":
            net = halved(net)  # a power spectrum spans more than float16 resolves
    if order.head is not None and order.head.unlike is not None:
        net = with_unlike(net, order.head.unlike)
    return (net if order.body_only else joined(front_end, net)), kept


def _open_onnx(file: Path) -> Run:
    return open_session(file, cores())


def _through_log_mel(source: TorchModel, run: Run) -> Run:
    def embed(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        return run(np.stack([log_mel(source.backbone.logmel, waveform) for waveform in waveforms]))

    return embed


def _in_float64(source: TorchModel) -> Exact:
    @torch.inference_mode()
    def embed(waveforms: NDArray[np.float32]) -> NDArray[np.float64]:
        exact = copy.deepcopy(source).double()
        found: NDArray[np.float64] = exact.embed(torch.from_numpy(waveforms).double()).numpy()
        return found

    return embed


def _metadata(order: _Order) -> dict[str, str]:
    """Metadata of the ONNX file."""
    source = order.source
    found = {
        "name": source.name,
        "student": source.backbone.name,
        "width": f"{source.backbone.width:g}",
        "sample_rate": str(source.sample_rate),
        "dim": str(source.backbone.dim),
        "window": f"{order.samples / source.sample_rate if order.samples else source.window:g}",
        "short": source.short_policy,
        "minimum": str(source.backbone.minimum_samples),
        "precision": order.precision,
        "licence": licence_of(source.facts),
        "source_sha256": sha256(order.bundle / "model.safetensors"),
    }
    if order.body_only:
        found["front_end"] = json.dumps(source.backbone.logmel.as_dict())
    if order.head is not None:
        found["labels"] = json.dumps(list(order.head.labels))
        found["multi_label"] = str(order.head.multi_label).lower()
    return found


def _facts(order: _Order, to: To, made: _Made, partial: Path) -> dict[str, Any]:
    source, head = order.source, order.head
    logmel = source.backbone.logmel
    return {
        "format": EXPORT_FORMAT,
        "name": source.name,
        "to": to,
        "precision": order.precision,
        "file": FILES[to],
        "input": "logmel" if order.body_only else "waveform",
        "student": source.backbone.name,
        "width": source.backbone.width,
        "sample_rate": source.sample_rate,
        "dim": source.backbone.dim,
        "window": (made.samples / source.sample_rate) if made.samples else source.window,
        "samples": made.samples,
        "frames": n_frames(logmel, made.samples) if made.samples and order.body_only else None,
        "batch": made.batch,
        "minimum": source.backbone.minimum_samples,
        "short": source.short_policy,
        "front_end": logmel.as_dict(),
        "parameters": parameters(source.backbone),
        "macs_per_10s": macs(source.backbone, 10.0),
        "labels": list(head.labels) if head is not None else None,
        "multi_label": head.multi_label if head is not None else None,
        "unlike": head.unlike.sizes if head is not None and head.unlike is not None else None,
        "licence": licence_of(source.facts),
        "source_hash": sha256(order.bundle / "model.safetensors"),
        "hashes": {
            file.name: sha256(file)
            for file in sorted([*partial.glob("model*"), *partial.glob(UNLIKE)])
            if file.is_file()
        }
        | {f"model/{file.name}": sha256(file) for file in sorted(partial.glob("model/*")) if file.is_file()},
        "kept_float": list(made.kept_float),
        "notes": list(made.notes),
        "versions": dict(made.versions),
    }


def _versions(*packages: str) -> dict[str, str]:
    return {"sondino": __version__, **{package: metadata.version(package) for package in packages}}
