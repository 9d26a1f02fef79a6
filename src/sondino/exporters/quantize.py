"""A bundle in int8: a quarter of the size; what is lost is measured and recorded in its card."""

from __future__ import annotations

# ruff: noqa: E402 - a missing extra is reported before anything imports it
from sondino.errors import require_extra

require_extra("train")

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sondino.audio.clips import CLIPS, real_clips
from sondino.embedding.inputs import sounds_of
from sondino.encoder.head import Head
from sondino.errors import OptionError
from sondino.exporters.half_precision import halved, without_zero_points, without_zeros
from sondino.exporters.int8_layers import Int8, quantized
from sondino.exporters.verify import MINIMUM_COSINE, Verified, check_bound, signals, verify
from sondino.files import sha256
from sondino.frontend.logmel_numpy import log_mel
from sondino.model.bundle import finish_bundle, free_folder, new_bundle
from sondino.model.config import read_config
from sondino.model.model import Model
from sondino.model.onnx_file import write_graphs
from sondino.model.onnx_graph import front_end_graph, net_graph
from sondino.model.torch_model import TorchModel
from sondino.probing.embeddings import task_embeddings
from sondino.probing.probe import probe
from sondino.progress import Report, show, stages
from sondino.tasks.labelled import Labelled, read_labelled

CALIBRATION_CLIPS, SELECTION_CLIPS = 64, 32
"""Windows of audio that ranges are calibrated on, and those that the layers left in float are selected on."""

MAX_CLIP_SECONDS = 4.0
"""Seconds of such a window that are used, if the net takes any length: more takes time and changes nothing."""


@dataclass(frozen=True)
class CalibrationClips:
    """Windows of real audio, split so that a model is verified on others than it was calibrated on.

    Attributes:
        calibration: for the ranges of activations.
        selection: for choosing the layers that stay in float.
        verification: for neither.
    """

    calibration: list[NDArray[np.float32]]
    selection: list[NDArray[np.float32]]
    verification: list[NDArray[np.float32]]


def split_clips(source: TorchModel, samples: int, calibrate: Path, sounds: Path | None = None) -> CalibrationClips:
    """Windows of a folder of audio to calibrate on, to select layers on and to verify on.

    Args:
        source: whose rate and policy for short clips.
        samples: of a window.
        calibrate: audio to calibrate on, a folder, list or tar file; verified on too, by further windows, if it has
            enough.
        sounds: audio to verify on instead.

    Raises:
        OptionError: either holds fewer than two sounds that can be decoded.
    """
    fitted = CALIBRATION_CLIPS + SELECTION_CLIPS
    clips = real_clips(source.sample_rate, samples, source.short_policy, sounds_of(calibrate), fitted + CLIPS)
    if sounds is not None or len(clips) < 2 * fitted:
        verification = real_clips(source.sample_rate, samples, source.short_policy, sounds_of(sounds))
        calibration, selection = clips[0::2][:CALIBRATION_CLIPS], clips[1::2][:SELECTION_CLIPS]
        return CalibrationClips(calibration, selection, verification)
    step = len(clips) / fitted
    chosen = [int(i * step) for i in range(fitted)]  # spread over the files
    rest = [clip for i, clip in enumerate(clips) if i not in set(chosen)]
    picked = [clips[i] for i in chosen]
    selection = picked[1::3]
    calibration = [clip for i, clip in enumerate(picked) if i % 3 != 1]
    return CalibrationClips(calibration, selection, rest[:CLIPS])


def int8_graphs(
    source: TorchModel, sounds: CalibrationClips, samples: int | None, head: Head | None, progress: Report
) -> tuple[onnx.ModelProto, onnx.ModelProto, Int8]:
    """A bundle's front-end, in float, and its net, in int8 where its error is small, as ONNX graphs.

    Args:
        source: the bundle.
        sounds: that it is calibrated on.
        samples: that every waveform has; None: any number.
        head: put behind the net.
        progress: called with (done, total) layers.
    """
    logmel = source.backbone.logmel
    front_end, net = front_end_graph(source.backbone, samples), net_graph(source.backbone, samples, head)
    # Silence and noise occur in use too, and real audio has little of them.
    selection = [*sounds.selection, *signals(source.sample_rate, len(sounds.selection[0])).values()]
    fixed = samples or source.backbone.fixed_samples
    most = fixed or max(source.backbone.minimum_samples, round(MAX_CLIP_SECONDS * source.sample_rate))
    calibrating, selecting = (
        [log_mel(logmel, clip[:most]) for clip in clips] for clips in (sounds.calibration, selection)
    )
    found = quantized(net, calibrating, selecting, progress)
    without_zero_points(found.model)
    without_zeros(front_end)
    return halved(front_end), halved(found.model), found


def quantize(
    model: str | Path,
    calibrate: str | Path | CalibrationClips,
    out: str | Path,
    *,
    sounds: str | Path | None = None,
    labels: str | Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write a bundle in int8.

    Static QDQ, weights per channel; the mel and the layers that lose most by it stay in float. Needs
    `pip install 'sondino[train]'`; what it writes needs neither torch nor onnx.

    Args:
        model: a bundle, a run or a published name, as `sondino.load` takes it.
        calibrate: a folder, list or tar file of real audio, like that the model will be used on; no labels. At most
            296 windows are used: some to calibrate ranges, some to select layers, the others to verify the result. Or
            windows of audio, already split.
        out: the new bundle's folder; an older bundle there is replaced once the new one is whole.
        sounds: audio to verify on; None: windows of `calibrate` that were not used, or if there are too few of
            these the sample sounds.
        labels: labelled audio, a folder with a subfolder a label or a CSV, on which float and int8 are probed.
        quiet: show no progress.

    Returns:
        config.json of the new bundle; what was measured is under "quantized".

    Raises:
        OptionError: there is no such model or no audio, or `out` holds something else.
        RunError: the int8 model's error is above the bound (a mean cosine of 0.95), or the disk is full.

    Examples:
        >>> config = sondino.quantize("run/bundle", "recordings", "run8", quiet=True)
        >>> config["precision"]
        'int8'
    """
    from sondino.pretrained.locate import locate

    folder = free_folder(Path(out))
    if (folder / "model.safetensors").exists():
        raise OptionError(f"{folder} holds a bundle with its trained weights, which int8 has not: name another folder")
    bundle = locate(model)
    source = TorchModel.open(bundle)
    before, head = read_config(bundle / "config.json"), source.as_head()
    samples = round(source.window * source.sample_rate)
    labelled = None if labels is None else read_labelled(labels)
    given = isinstance(calibrate, CalibrationClips)
    with new_bundle(folder) as partial, stages(2 + (not given) + 2 * (labels is not None)):
        if isinstance(calibrate, CalibrationClips):
            parts = calibrate
        else:
            with show("reading audio to calibrate on", quiet=quiet):
                parts = split_clips(source, samples, Path(calibrate), None if sounds is None else Path(sounds))
        with show("layers in int8", "layers", quiet) as report:
            front_end, net, found = int8_graphs(source, parts, None, None, report)
        kept = {key: before[key] for key in ("student", "sample_rate", "dim", "minimum")}
        write_graphs(
            front_end,
            net,
            {
                "name": folder.name,
                "precision": "int8",
                **{key: str(value) for key, value in kept.items()},
            },
            partial / "model.onnx",
            partial / "body.onnx",
        )
        config = _config(before, found, partial, folder.name)
        finish_bundle(partial, config, head)
        verified = _verified(partial, source, parts, quiet)
        check_bound(verified, "int8", str(before["name"]))
        config["onnx_difference"] = verified.difference
        config["quantized"] |= {"verified": verified.as_dict(), "kept_promise": verified.cosine >= MINIMUM_COSINE}
        if labelled is not None:
            config["quantized"]["probe"] = _probed(bundle, partial, labelled, quiet)
        finish_bundle(partial, config, head)
    return config


def _config(before: Mapping[str, Any], found: Int8, partial: Path, name: str) -> dict[str, Any]:
    """The float bundle's config.json, with what is new."""
    config: dict[str, Any] = json.loads(json.dumps(before))
    config |= {"name": name, "precision": "int8"}
    config["hashes"] = {name: sha256(partial / name) for name in ("model.onnx", "body.onnx")}
    config["onnx_difference"] = None
    config["quantized"] = {
        "from": before["name"],
        "from_sha256": before["hashes"]["model.onnx"],
        "layers": found.layers,
        "kept_in_float": list(found.kept),
        "stored": found.stored,
        "unsteady_clips": found.norm_outliers,
    }
    return config


def _verified(partial: Path, source: TorchModel, parts: CalibrationClips, quiet: bool) -> Verified:
    with show("checking on real clips", "clips", quiet) as report:
        run: Callable[[NDArray[np.float32]], NDArray[np.float32]] = Model(partial).embed
        return verify(run, source.embed_array, parts.verification, source.sample_rate, progress=report)


def _probed(folder: Path, partial: Path, labelled: Labelled, quiet: bool) -> dict[str, Any]:
    """Scores of a linear probe on the embeddings of the float bundle and of the int8 one."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as store:
        for name, bundle in (("f32", folder), ("int8", partial)):
            with show(f"probing in {name}", "clips", quiet) as report:
                usable, embeddings, _ = task_embeddings(Model(bundle), labelled, store, progress=report)
            probed = probe(embeddings, usable)
            found |= {"metric": probed.metric, "clips": probed.clips, name: probed.value}
            found[f"{name}_interval95"] = list(probed.interval95)
    return found
