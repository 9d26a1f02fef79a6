"""The web page: a static folder with the model, a gallery of sounds and their embeddings; it runs in a browser.

The page itself is built from web/ by `make web` into sondino/page; here it is combined with a model.
Needs neither torch nor, but for f16, onnx.
"""

import csv
import gzip
import json
import shutil
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sondino.audio.walk import find_audio
from sondino.encoder.head import Head
from sondino.encoder.pipeline import embed_sounds, readers, resolve_windowing
from sondino.errors import OptionError, RunError, SondinoError, require
from sondino.files import replacing, sha256, write_whole
from sondino.loopback import PAGE
from sondino.model.model import Model
from sondino.onnx_weights import with_weights
from sondino.progress import Report
from sondino.runtimes import onnx_session
from sondino.sample_sounds import sample_folder
from sondino.text import first_line

PAGE_FORMAT = "sondino-page-1"
PLAYED = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"})
"""Suffixes of what browsers play."""

Precision = Literal["f32", "f16", "int8"]


@dataclass(frozen=True)
class Clip:
    """A sound of the gallery: its file, name, group, licence and author."""

    file: Path
    name: str
    group: str
    licence: str = ""
    author: str = ""


def export_web(
    source: Path,
    out: Path,
    precision: Precision | None = None,
    gallery: Path | None = None,
    progress: Report | None = None,
) -> Path:
    """Write a page that runs a bundle: index.html, assets/ and model/, for any web server and any folder of it.

    Args:
        source: the bundle.
        out: a folder; an older page there is replaced once the new one is whole.
        precision: "f32"; "f16": weights of half the size, which needs onnx; "int8" where the bundle was quantised.
            None: as the bundle is.
        gallery: a folder or a list of sounds to compare with; None: the sample sounds (CC0). A `samples.csv` in it
            (path, label, licence, author) describes them; else a sound's group is its folder.
        progress: called with the sounds of the gallery that are embedded, and their number.

    Returns:
        The folder.

    Raises:
        OptionError: the bundle has no body.onnx, the precision is not its own, the gallery holds no sound that
            browsers play, or `out` holds something else.
        RunError: the page was not built, or nothing can be written.
    """
    if not (PAGE / "index.html").is_file():
        raise RunError(f"{PAGE} holds no page: run `make web` in sondino's own folder, which needs Node.js")
    model = Model(source)
    own: Precision = "int8" if model.config.get("precision") == "int8" else "f32"
    precision = precision or own
    if (precision == "int8") != (own == "int8"):
        advice = "make one with `sondino quantize`" if precision == "int8" else f"take --precision {own}"
        raise OptionError(f"{source} is a bundle in {own}, and a page of {precision} was asked for: {advice}")
    if not (Path(source) / "body.onnx").is_file() or "front_end" not in model.config:
        raise OptionError(f"{source} has no body.onnx, made by an older sondino or by hand: make the bundle again")
    clips = gallery_clips(gallery or sample_folder())
    with replacing(out, _is_page, "page of ours") as partial:
        # The page of `sondino label` is built beside it, and needs its own server.
        shutil.copytree(PAGE, partial, ignore=shutil.ignore_patterns("label.html", "label-*"), dirs_exist_ok=True)
        for file in partial.rglob("*.wasm.gz"):  # compressed in the package only: not every server says so
            file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
            file.unlink()
        _write_model(partial / "model", model, precision, clips, progress)
    return out.resolve()


def _is_page(folder: Path) -> bool:
    return (folder / "model" / "model.json").is_file()


def gallery_clips(source: Path) -> list[Clip]:
    """The sounds of a folder, or of a list, that browsers play, in order of their names or of the list.

    Args:
        source: a folder, in which a `samples.csv` may have `path`, `label`, `licence` and `author`; or a list with
            these columns, whose paths are relative to it.

    Raises:
        AudioError: there is no such folder, or no sound in it.
        OptionError: none that browsers play, or a list without a column `path`.
    """
    if source.is_file() and source.suffix.lower() != ".csv":
        raise OptionError(f"{source} is a file: name a folder of sounds for the gallery, or a list of them (.csv)")
    listed = _asset_facts(source if source.is_file() else source / "samples.csv")
    if source.is_file():
        found = [(source.parent / path, row) for path, row in listed.items()]
    else:
        found = [(file, listed.get(file.relative_to(source).as_posix(), {})) for file in find_audio(source)]
    clips = []
    for file, row in found:
        if file.suffix.lower() in PLAYED:
            inside = file.parent.relative_to(source).name if source.is_dir() else file.parent.name
            group = (row.get("label") or inside).replace("_", " ")
            clips.append(Clip(file, file.stem, group, row.get("licence") or "", row.get("author") or ""))
    if not clips:
        raise OptionError(f"{source} holds no sound that browsers play: give {', '.join(sorted(PLAYED))}")
    return clips


def _asset_facts(file: Path) -> dict[str, dict[str, str]]:
    """The row of each path in a samples.csv; empty if there is none."""
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return {row["path"]: row for row in csv.DictReader(lines)}
    except FileNotFoundError:
        return {}
    except (KeyError, ValueError, OSError, csv.Error) as error:
        raise OptionError(f"{file} cannot be read as a table with a column `path` ({error!r})") from error


def _write_model(folder: Path, model: Model, precision: Precision, clips: list[Clip], progress: Report | None) -> None:
    """Write model/: body.onnx, model.json, gallery.bin and its sounds, head.bin, unlike.bin."""
    folder.mkdir()
    fixed = _write_body(model, precision, folder / "body.onnx")
    embedded, embeddings, seconds = _embed_gallery(model, clips, progress)
    (folder / "gallery.bin").write_bytes(embeddings.astype("<f4").tobytes())
    (folder / "gallery").mkdir()
    rows = []
    for number, (clip, duration) in enumerate(zip(embedded, seconds, strict=True)):
        file = f"gallery/{number:04d}{clip.file.suffix.lower()}"  # a name that every server serves
        shutil.copyfile(clip.file, folder / file)
        facts = {"name": clip.name, "group": clip.group, "licence": clip.licence, "author": clip.author}
        rows.append({**{key: _shown(value) for key, value in facts.items()}, "file": file, "seconds": duration})
    if model.head is not None:
        layers = [part.astype("<f4").tobytes() for layer in model.head.layers for part in layer]
        (folder / "head.bin").write_bytes(b"".join(layers))
        if model.head.unlike is not None:
            (folder / "unlike.bin").write_bytes(model.head.unlike.as_bytes())
    about = {
        "format": PAGE_FORMAT,
        "name": model.name,
        "sample_rate": model.sample_rate,
        "dim": model.dim,
        "window": _samples(model.window, model.sample_rate),
        "hop": _samples(model.hop, model.sample_rate),
        "short": model.short,
        "minimum": model.minimum,
        "fixed": fixed,
        "front_end": model.config["front_end"],
        "model_bytes": (folder / "body.onnx").stat().st_size,
        "sha256": sha256(folder / "body.onnx"),
        "licence": licence_of(model.config),
        "head": _head(model.head),
        "gallery": rows,
        "first": _first(embeddings, seconds),
    }
    (folder / "model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _write_body(model: Model, precision: Precision, file: Path) -> int | None:
    """Write the net as one file that holds its own weights; the only number of samples that it takes, or None."""
    body = model.folder / "body.onnx"
    try:
        whole = with_weights(body)
        if precision == "f16":
            whole = _halved(whole)
        session = onnx_session(whole, 1)
    except SondinoError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise RunError(f"{body} cannot be put on a page ({first_line(error)}): make the bundle again") from error
    write_whole(file, whole)
    frames = session.get_inputs()[0].shape[2]
    return _samples(model.window, model.sample_rate) if isinstance(frames, int) else None


def _halved(whole: bytes) -> bytes:
    onnx = require("onnx", "train")
    from sondino.exporters.half_precision import halved

    data: bytes = halved(onnx.load_from_string(whole)).SerializeToString()
    return data


def _embed_gallery(
    model: Model, clips: list[Clip], progress: Report | None
) -> tuple[list[Clip], NDArray[np.float32], list[float]]:
    """The clips that can be decoded, their embeddings (clips, dim) and seconds; the others are warned about."""
    embedded: list[Clip] = []
    embeddings: list[NDArray[np.float32]] = []
    seconds: list[float] = []
    skipped: list[tuple[str, str]] = []
    sounds = [clip.file for clip in clips]
    with closing(embed_sounds(model, sounds, resolve_windowing(model), readers=readers(model.threads))) as all_:
        for found in all_:
            clip = clips[found.index]
            if progress is not None:
                progress(found.index + 1, len(clips))
            if found.error is not None:
                skipped.append((str(clip.file), str(found.error)))
                continue
            embedded.append(clip)
            embeddings.append(found.embeddings[0])
            seconds.append(round(found.seconds, 3))
    if not embedded:
        raise OptionError(f"no sound of the gallery can be decoded: {skipped[0][1]}")
    for path, reason in skipped:
        warnings.warn(f"{path} is left out of the gallery: {reason}", stacklevel=2)
    return embedded, np.stack(embeddings), seconds


def _first(embeddings: NDArray[np.float32], seconds: list[float]) -> int:
    """The clip that the page starts with: of those of a second and more, the one most similar to its neighbours."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    likeness = np.sort(unit @ unit.T, axis=1)[:, -6:].mean(axis=1)
    return int(np.argmax(np.where(np.array(seconds) >= 1, likeness, likeness - 2)))


def _head(head: Head | None) -> dict[str, Any] | None:
    if head is None:
        return None
    return {
        "labels": [_shown(label) for label in head.labels],
        "multi_label": head.multi_label,
        "activation": head.activation,
        "sizes": [head.dim, *(int(weight.shape[0]) for weight, _ in head.layers)],
        "unlike": None if head.unlike is None else head.unlike.sizes,
    }


def licence_of(config: Mapping[str, Any]) -> str:
    """The licence of a bundle's weights, and of its teachers'."""
    own = config.get("licence") or (config.get("source") or {}).get("licence") or "not known"
    teachers = sorted({str(teacher.get("licence") or "not known") for teacher in config.get("teachers", [])})
    return f"{own}; of its teacher: {', '.join(teachers)}" if teachers else str(own)


def _samples(seconds: float | None, rate: int) -> int | None:
    return None if seconds is None else round(seconds * rate)


def _shown(text: str) -> str:
    """Text that JSON can hold: bytes of a name that are not UTF-8 become the replacement character."""
    return text.encode("utf-8", "replace").decode("utf-8")
