"""The command classify: labels with probabilities, of stretches of recordings or of whole clips."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from sondino.cli.app import Inputs, check_hyphens, fetched, kept_note, list_skipped, report_skipped
from sondino.cli.listening import STREAM, listen
from sondino.console import print_line
from sondino.errors import OptionError
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.text import escape, percent

if TYPE_CHECKING:
    from sondino.embedding.classify import ClipPrediction
    from sondino.embedding.detect import DetectReport
    from sondino.embedding.detections import Recording
    from sondino.embedding.labelling import FilesReport


def classify(
    inputs: Inputs,
    *,
    model: str = DEFAULT_MODEL,
    head: str | None = None,
    output: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    format: Literal["csv", "parquet", "jsonl", "raven", "audacity", "kaleidoscope"] | None = None,
    min_confidence: float = 0.25,
    top: int = 3,
    hop: float | None = None,
    merge: float | None = None,
    labels: Path | None = None,
    max_unlike: float | None = None,
    skip_existing: bool = False,
    append: bool = False,
    per_clip: bool = False,
    window_policy: Literal["all", "published"] = "all",
    threads: int | None = None,
    channel: int | Literal["mean", "each"] = "mean",
    scale: Literal["none", "auto"] = "none",
    quiet: bool = False,
) -> int:
    """Find labels in recordings with a model that has a head, or with a published head. Needs no PyTorch.

    Example: `sondino classify recordings/`

    Example: `sondino classify recordings/ --output detections.csv --min-confidence 0.5 --merge 0`

    Example: `sondino classify recordings/ --model my_classifier --output tables/ --format raven --skip-existing`

    Args:
        inputs: files, folders, lists (.csv, .parquet), tar files, addresses (https://...) of one sound; or -
            alone, WAV on standard input, as of `sondino listen -`.
        model: a bundle with a head, or with --head any; also a name that `sondino models` lists. Default: the model
            that comes with the package, which has the 527 labels of AudioSet.
        head: esc50, us8k, fsd50k, gtzan, openmic, nsynth or magna-tag-a-tune (for ssondo/matpac-mobilenetv3), a .pth of
            one, or a bundle whose head is taken.
        output: detections.csv, .parquet or .jsonl (path, start, end, label, probability, time, unlike), one table of
            all recordings; a folder, for a file of each recording; or - for csv or jsonl on standard output. Default: a
            list here.
        format: raven (selection tables), audacity (label tracks) and kaleidoscope, besides those. Default: as the
            output's suffix says, CSV in a folder.
        min_confidence: lowest probability of a detection.
        top: how many labels of a window, or with --per-clip of a clip, are given at most.
        hop: seconds from one window to the next. Default: the model's, which is its window in most. Smaller, windows
            overlap.
        merge: detections of a label that are at most so many seconds apart become one; 0 merges those that touch.
            Default: each window has its own.
        labels: a text file with the labels to look for, one a line. Default: all.
        max_unlike: leave out detections in windows that are more unlike the classifier's training clips than this share
            of the windows of held-out clips, such as 0.95. Default: none.
        skip_existing: leave out recordings whose file is in the output folder already.
        append: keep what is in the table, and classify only files that are new or have changed since.
        per_clip: the labels of each clip as a whole, from the mean of its windows: path, seconds, rank, label,
            probability, unlike.
        window_policy: published embeds full windows only, as the published package does; all keeps short clips and
            tails.
        threads: processor threads. Default: all.
        channel: a number from 1, the mean of all, or each, with rows of its own and its number in a column.
        scale: auto divides floats whose peak in the file is over 8, whole numbers or not, by 2^15, 2^23 or 2^31.
        quiet: show no progress.
    """
    from sondino.embedding.classify import classify_files
    from sondino.embedding.detect import detect_files
    from sondino.embedding.lines import clip_printer, detection_printer, standard_output
    from sondino.pretrained.heads import misfit_warning
    from sondino.pretrained.load import load
    from sondino.progress import show

    check_hyphens("classify", map(str, [*inputs, *([output] if output else [])]))
    if Path(STREAM) in inputs:
        others = (
            None if output == Path(STREAM) else output,
            format,
            merge,
            skip_existing or None,
            append or None,
            per_clip or None,
        )
        if (
            len(inputs) > 1
            or any(others)
            or merge is not None
            or scale != "none"
            or window_policy != "all"
            or channel != "mean"
        ):
            raise OptionError(
                "- is a stream, whose detections are printed as they come: leave other inputs and options out"
            )
        return listen(STREAM, model=model, head=head, min_confidence=min_confidence, top=top, hop=hop, labels=labels,
                      max_unlike=max_unlike, threads=threads, quiet=quiet)  # fmt: skip
    lines = output == Path(STREAM)
    if lines and (format not in (None, "csv", "jsonl") or append or skip_existing):
        what = "--append" if append else "--skip-existing" if skip_existing else f"--format {format}"
        raise OptionError(f"{what} needs a file or a folder: standard output, --output -, takes csv and jsonl")
    if per_clip:
        _check_per_clip(None if lines else format, min_confidence, hop, merge, labels, max_unlike, skip_existing)
    opened = load(model, threads, window_policy=window_policy, head=head)
    if opened.head is not None and (note := misfit_warning(opened.head, opened.config)):
        print_line(f"note: {note}", error=True)
    given = fetched(inputs, quiet)
    here = output is None
    found: DetectReport | None = None
    with (
        show("classifying", "files", quiet or (here and sys.stdout.isatty())) as progress,
        standard_output() if lines else nullcontext() as out,
    ):

        def count(done: int, total: int, seconds: float) -> None:
            progress(done, total)

        form: Literal["csv", "jsonl"] = "jsonl" if format == "jsonl" else "csv"
        if per_clip:
            shown = clip_printer(out, form, channel == "each") if out else _print_clip if here else None
            target = None if lines else output
            report: FilesReport = classify_files(given, opened, target, top, threads, scale=scale, channel=channel,
                                                 append=append, show=shown, progress=count)  # fmt: skip
        else:

            def print_here(recording: "Recording") -> None:
                _print_recording(recording, min_confidence)

            report = found = detect_files(
                given,
                opened,
                None if lines else output,
                min_confidence=min_confidence,
                top=top,
                hop=hop,
                merge=merge,
                labels=labels,
                max_unlike=max_unlike,
                format=None if lines else format,
                skip_existing=skip_existing,
                append=append,
                threads=threads,
                scale=scale,
                channel=channel,
                show=detection_printer(out, form, opened.sample_rate / 2, channel == "each")
                if out
                else print_here
                if here
                else None,
                progress=count,
            )
    if output is None:
        return list_skipped(report.skipped)
    what = f"{found.detections} detections in " if found else ""
    if not (lines and quiet):
        where = "" if lines else f", in {output}{kept_note(report)}"
        print_line(f"{what}{report.files} files, {report.seconds:.0f} s of audio{where}", error=lines)
    return list_skipped(report.skipped) if lines else report_skipped(report.skipped, output)


def _check_per_clip(
    format: str | None,
    min_confidence: float,
    hop: float | None,
    merge: float | None,
    labels: Path | None,
    max_unlike: float | None,
    skip_existing: bool,
) -> None:
    """Raises OptionError where --per-clip came with an option of detections."""
    from sondino.embedding.detect import MIN_CONFIDENCE

    given = {
        "--format": format is not None,
        "--hop": hop is not None,
        "--merge": merge is not None,
        "--labels": labels is not None,
        "--max-unlike": max_unlike is not None,
        "--skip-existing": skip_existing,
        "--min-confidence": min_confidence != MIN_CONFIDENCE,
    }
    if unused := [name for name, there in given.items() if there]:
        raise OptionError(f"{unused[0]} is of detections, and --per-clip gives none: leave one of the two out")


def _print_clip(clip: "ClipPrediction") -> None:
    likely = "  ".join(f"{label} {percent(probability)}" for label, probability in clip.labels)
    print_line(f"{escape(clip.path)}{_channel(clip.channel)}  {likely}")


def _channel(number: int | None) -> str:
    return "" if number is None else f", channel {number}"


def _print_recording(recording: "Recording", min_confidence: float) -> None:
    name = escape(recording.path) + _channel(recording.channel)
    if not recording.detections:
        label, probability = recording.likeliest
        least = percent(min_confidence, 0)
        print_line(f"{name}  nothing of {least} or more; most probable: {label} {percent(probability)}")
        return
    print_line(name)
    times: dict[tuple[float, float], list[str]] = {}
    for found in recording.detections:
        times.setdefault((found.start, found.end), []).append(f"{found.label} {percent(found.probability)}")
    for (start, end), labels in times.items():
        digits = next((n for n in range(2, 6) if f"{start:.{n}f}" != f"{end:.{n}f}"), 6)  # by which the two differ
        print_line(f"  {start:7.{digits}f} to {end:7.{digits}f} s  {'  '.join(labels)}")
