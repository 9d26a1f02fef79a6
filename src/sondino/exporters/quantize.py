"""A bundle in int8: the same model in a quarter of the size, and what that costs, measured and told in its card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sondino.audio.clips import CLIPS, real_clips
from sondino.errors import OptionError
from sondino.exporters.int8 import Int8, quantized
from sondino.exporters.precision import halved, without_zero_points, without_zeros
from sondino.exporters.verify import MINIMUM_COSINE, Verified, check_bound, signals, verify
from sondino.files import sha256
from sondino.frontend.logmel import log_mel
from sondino.model.bundle import finish_bundle, free_folder, new_bundle
from sondino.model.head import Head
from sondino.model.model import Model
from sondino.model.network import Source, open_source
from sondino.model.onnx_file import write_graphs
from sondino.model.onnx_graph import front_end_graph, net_graph
from sondino.probing.embeddings import task_embeddings
from sondino.probing.probe import probe
from sondino.progress import Report, show
from sondino.tasks.labelled import Labelled, read_labelled

CALIBRATING, JUDGING = 64, 32
"""Windows of sound that fix the ranges, and those that choose the layers left in float."""

MAX_CLIP_SECONDS = 4.0
"""Seconds of such a window that are heard, where the net hears any length: more would cost time and tell no more."""


@dataclass(frozen=True)
class CalibrationClips:
    """Real windows of sound, parted so that a model is verified on what it was not fitted to.

    Attributes:
        calibrating: fix the ranges of activations.
        judging: choose the layers that stay in float.
        verifying: neither.
    """

    calibrating: list[NDArray[np.float32]]
    judging: list[NDArray[np.float32]]
    verifying: list[NDArray[np.float32]]


def part_sounds(source: Source, samples: int, calibrate: Path, sounds: Path | None = None) -> CalibrationClips:
    """Windows of a folder of sound to calibrate on, to judge by and to verify on.

    Args:
        source: whose rate and policy for short clips.
        samples: of a window.
        calibrate: audio to calibrate on; verified on too, by windows of its own, where it gives enough.
        sounds: audio to verify on instead.

    Raises:
        OptionError: either holds fewer than two sounds that can be heard.
    """
    fitted = CALIBRATING + JUDGING
    clips = real_clips(source.rate, samples, source.short, calibrate, fitted + CLIPS)
    if sounds is not None or len(clips) < 2 * fitted:
        verifying = real_clips(source.rate, samples, source.short, sounds)
        calibrating, judging = clips[0::2][:CALIBRATING], clips[1::2][:JUDGING]
        return CalibrationClips(calibrating, judging, verifying)
    step = len(clips) / fitted
    chosen = [int(i * step) for i in range(fitted)]  # spread over the files
    rest = [clip for i, clip in enumerate(clips) if i not in set(chosen)]
    picked = [clips[i] for i in chosen]
    judging = picked[1::3]
    calibrating = [clip for i, clip in enumerate(picked) if i % 3 != 1]
    return CalibrationClips(calibrating, judging, rest[:CLIPS])


def int8_graphs(
    source: Source, sounds: CalibrationClips, samples: int | None, head: Head | None, progress: Report
) -> tuple[onnx.ModelProto, onnx.ModelProto, Int8]:
    """A bundle's front-end, in float, and its net, in int8 where that does little damage, as ONNX graphs.

    Args:
        source: the bundle.
        sounds: what it is fitted to.
        samples: that every waveform has; None: any number.
        head: put behind the net.
        progress: told (done, total) layers.
    """
    logmel = source.student.logmel
    front_end, net = front_end_graph(source.student, samples), net_graph(source.student, samples, head)
    # Silence and noise are heard too, and real sound alone says little of them.
    judging = [*sounds.judging, *signals(source.rate, len(sounds.judging[0])).values()]
    fixed = samples or source.student.fixed_samples
    most = fixed or max(source.student.minimum_samples, round(MAX_CLIP_SECONDS * source.rate))
    calibrated, judged = ([log_mel(logmel, clip[:most]) for clip in clips] for clips in (sounds.calibrating, judging))
    found = quantized(net, calibrated, judged, progress)
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
        calibrate: a folder of real sound, of the kind that the model will hear; no labels. At most 296 windows are
            heard: some fix the ranges, some choose the layers, on the others the result is verified. Or windows of
            sound, already parted.
        out: the new bundle's folder; an older bundle there is replaced once the new one is whole.
        sounds: audio to verify on; None: windows of `calibrate` that were not used, or where there are too few of
            these the sounds that sondino ships.
        labels: labelled sound, a folder with a subfolder a label or a CSV, on which float and int8 are probed.
        quiet: show no progress.

    Returns:
        config.json of the new bundle; what was measured is under "quantized".

    Raises:
        OptionError: there is no such model or no sound, or `out` holds something else.
        RunError: what int8 gives is past the bound (a mean cosine of 0.95), or the disk is full.

    Examples:
        >>> config = sondino.quantize("run/bundle", "recordings", "run8", quiet=True)
        >>> config["precision"]
        'int8'
    """
    from sondino.pretrained.locate import locate

    folder = free_folder(Path(out))
    if (folder / "model.safetensors").exists():
        raise OptionError(f"{folder} holds a bundle with its trained weights, which int8 has not: name another folder")
    source = open_source(locate(model))
    samples = round(source.window * source.rate)
    if isinstance(calibrate, CalibrationClips):
        parts = calibrate
    else:
        parts = part_sounds(source, samples, Path(calibrate), None if sounds is None else Path(sounds))
    labelled = None if labels is None else read_labelled(labels)
    with new_bundle(folder) as partial:
        with show("layers in int8", "layers", quiet) as report:
            front_end, net, found = int8_graphs(source, parts, None, None, report)
        kept = {key: source.config[key] for key in ("student", "sample_rate", "dim", "minimum")}
        write_graphs(
            front_end,
            net,
            {
                "name": str(source.config["name"]),
                "precision": "int8",
                **{key: str(value) for key, value in kept.items()},
            },
            partial / "model.onnx",
            partial / "body.onnx",
        )
        config = _config(source, found, partial)
        finish_bundle(partial, config, source.head)
        verified = _verified(partial, source, parts, quiet)
        check_bound(verified, "int8", str(config["name"]))
        config["onnx_difference"] = verified.difference
        config["quantized"] |= {"verified": verified.as_dict(), "kept_promise": verified.cosine >= MINIMUM_COSINE}
        if labelled is not None:
            config["quantized"]["probe"] = _probed(source.folder, partial, labelled, quiet)
        finish_bundle(partial, config, source.head)
    return config


def _config(source: Source, found: Int8, partial: Path) -> dict[str, Any]:
    """The float bundle's config.json, with what is new."""
    config: dict[str, Any] = json.loads(json.dumps(source.config))
    config["precision"] = "int8"
    config["hashes"] = {name: sha256(partial / name) for name in ("model.onnx", "body.onnx")}
    config["onnx_difference"] = None
    config["quantized"] = {
        "from": source.config["name"],
        "from_sha256": source.config["hashes"]["model.onnx"],
        "layers": found.layers,
        "kept_in_float": list(found.kept),
        "stored": found.stored,
        "unsteady_clips": found.unsteady,
    }
    return config


def _verified(partial: Path, source: Source, parts: CalibrationClips, quiet: bool) -> Verified:
    with show("checking on real clips", "clips", quiet) as report:
        run: Callable[[NDArray[np.float32]], NDArray[np.float32]] = Model(partial).embed
        return verify(run, source.vectors, parts.verifying, source.rate, progress=report)


def _probed(folder: Path, partial: Path, labelled: Labelled, quiet: bool) -> dict[str, Any]:
    """What a linear probe reads from the vectors of the float bundle and of the int8 one."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as store:
        for name, bundle in (("f32", folder), ("int8", partial)):
            with show(f"probing in {name}", "clips", quiet) as report:
                heard, vectors, _ = task_embeddings(Model(bundle), labelled, store, progress=report)
            probed = probe(vectors, heard)
            found |= {"metric": probed.metric, "clips": probed.clips, name: probed.value}
    return found
