"""The commands that make files for other machines: export, quantize."""

import shlex
from pathlib import Path
from typing import Any, Literal

from sondino.cli.early import check_audio, check_labelled, check_model, loading
from sondino.cli.probing import print_labelled
from sondino.console import print_line


def export(
    bundle: str,
    *,
    to: Literal["onnx", "openvino", "executorch", "litert", "web"],
    out: Path,
    precision: Literal["f32", "f16", "int8"] = "f32",
    window: float | None = None,
    dynamic: bool = False,
    body_only: bool = False,
    calibrate: Path | None = None,
    sounds: Path | None = None,
    gallery: Path | None = None,
) -> int:
    """Write a model for another runtime, raw waveform in, checked against the trained net. Needs `sondino[train]`.

    Writes DIR/model.onnx, model.xml and model.bin, model.pte, model.tflite, or a page; with card.md and export.json.

    Example: `sondino export run --to onnx --precision int8 --calibrate recordings/ --out edge`

    Args:
        bundle: a bundle, a run or a published name.
        to: the runtime; executorch and litert need an environment of their own: `make edge`.
        out: the folder to write; an older export there is replaced.
        precision: of the weights. f16 halves the file; int8 quarters it and needs --calibrate.
        window: seconds that every clip has. Default: any length; the bundle's window for executorch and litert.
        dynamic: clips of any length, or an error where the runtime cannot.
        body_only: take a log-mel instead of a waveform.
        calibrate: a folder, list or tar file of real audio, without labels, for int8.
        sounds: audio to check on. Default: files of --calibrate that were not used, else the sample sounds.
        gallery: to web: a folder or a list (.csv) of sounds that the page compares with. Default: the sample sounds.
    """
    from sondino.errors import require_extra
    from sondino.exporters.asked import Asked

    require_extra("train")
    Asked(to, precision, window, dynamic, body_only, calibrate, gallery)  # raises OptionError
    check_audio([calibrate, sounds, gallery])
    check_model(bundle)
    with loading():
        from sondino.exporters.export import FILES
        from sondino.exporters.export import export as run_export

    facts = run_export(
        bundle,
        to,
        out,
        precision=precision,
        window=window,
        dynamic=dynamic,
        body_only=body_only,
        calibrate=calibrate,
        sounds=sounds,
        gallery=gallery,
    )
    _print_verified(facts["verified"])
    print_line(f"in {out / FILES[to]}; what it takes and how to run it: {out / 'card.md'}")
    return 0


def quantize(bundle: str, *, calibrate: Path, out: Path, sounds: Path | None = None, labels: Path | None = None) -> int:
    """Make an int8 bundle: a quarter of the size, used like any other. Needs `sondino[train]`.

    The front-end and the layers with the largest error stay in float, chosen by the error of embeddings of real audio.

    Example: `sondino quantize run --calibrate recordings/ --out run8`

    Args:
        bundle: a bundle, a run or a published name.
        calibrate: a folder, list or tar file of real audio, without labels, of the kind that the model will embed.
        out: the new bundle's folder; an older bundle there is replaced.
        sounds: audio to check on. Default: files of --calibrate that were not used, else the sample sounds.
        labels: labelled audio (a folder with a subfolder a label, or a CSV): a probe of both is put into the card.
    """
    from sondino.errors import require_extra
    from sondino.tasks.labelled import read_labelled

    require_extra("train")
    check_audio([calibrate, sounds])
    if labels is not None:
        check_labelled(labels)
        print_labelled(read_labelled(labels))
    check_model(bundle)
    with loading():
        from sondino.exporters.quantize import quantize as run_quantize
    from sondino.metrics.verdicts import of_int8

    facts = run_quantize(bundle, calibrate, out, sounds=sounds, labels=labels)["quantized"]
    print_line(f"in int8: {facts['layers'] - len(facts['kept_in_float'])} of {facts['layers']} layers")
    _print_verified(facts["verified"])
    if "probe" in facts:
        probe = facts["probe"]
        print_line(
            f"a linear probe reads {probe['metric']} {probe['f32']:.1%} in f32 and {probe['int8']:.1%} in int8, "
            f"on {probe['clips']} clips"
        )
        for verdict in of_int8(probe):
            print_line(verdict)
    size = (out / "model.onnx").stat().st_size
    print_line(
        f"in {out}, model.onnx {size / 1e6:.2f} MB; "
        f"use: sondino embed recordings/ --model {shlex.quote(str(out))} --output embeddings.npz"
    )
    return 0


def _print_verified(verified: dict[str, Any]) -> None:
    """Print how an export differs from the trained net."""
    print_line(
        f"compared with the trained net on {verified['clips']} real clips: mean cosine {verified['cosine']:.6f}, "
        f"{verified['cosine_lowest']:.6f} at the lowest; {verified['neighbours']:.1%} of the nearest clips the same; "
        f"largest difference {verified['difference']:.1e} of the largest value"
    )
    if verified["cosine"] < 0.99:
        print_line("that is under 0.99: evaluate it on your task before you use it")
