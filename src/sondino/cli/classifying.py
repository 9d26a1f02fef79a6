"""The command classify: labels with probabilities for files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sondino.cli.app import app, list_skipped, report_skipped
from sondino.console import print_line
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.text import escape

if TYPE_CHECKING:
    from sondino.embedding.classify import ClipPrediction


@app.command
def classify(
    inputs: list[Path],
    *,
    model: str = DEFAULT_MODEL,
    head: str | None = None,
    output: Path | None = None,
    per_window: bool = False,
    top: int = 3,
    window_policy: Literal["all", "published"] = "all",
    threads: int | None = None,
    scale: Literal["none", "auto"] = "none",
    quiet: bool = False,
) -> int:
    """Label audio with a model that has a head, or with a published head. Needs no PyTorch.

    Example: `sondino classify recordings/`

    Example: `sondino classify recordings/ --model my_classifier --output labels.csv`

    Args:
        inputs: files and folders.
        model: a bundle with a head, or with --head any; also a name that `sondino models` lists. Default: the model
            that comes with the package, which has the 527 labels of AudioSet.
        head: esc50, us8k, fsd50k, gtzan, openmic, nsynth or magna-tag-a-tune (for ssondo/matpac-mobilenetv3), a .pth of
            one, or a bundle whose head is taken.
        output: labels.csv (id, window, start, end, rank, label, probability) or labels.jsonl. Default: a table here.
        per_window: also the labels of every window, with its start and end in seconds.
        top: how many labels are given, most probable first.
        window_policy: published embeds full windows only, as the published package does; all keeps short clips and
            tails.
        threads: processor threads. Default: all.
        scale: auto divides floats whose peak in the file is over 8, whole numbers or not, by 2^15, 2^23 or 2^31.
        quiet: show no progress.
    """
    from sondino.embedding.classify import classify_files
    from sondino.pretrained.heads import misfit_warning
    from sondino.pretrained.load import load
    from sondino.progress import show

    opened = load(model, threads, window_policy=window_policy, head=head)
    if opened.head is not None and (note := misfit_warning(opened.head, opened.config)):
        print_line(f"note: {note}", error=True)
    here = output is None
    with show("classifying", "files", quiet or (here and sys.stdout.isatty())) as progress:
        report = classify_files(inputs, opened, output, per_window, top, threads, scale=scale,
                                show=_print_clip if here else None,
                                progress=lambda done, total, _: progress(done, total))  # fmt: skip
    if output is None:
        return list_skipped(report.skipped)
    print_line(f"{report.files} files, {report.seconds:.0f} s of audio, in {output}")
    return report_skipped(report.skipped, output)


def _print_clip(clip: "ClipPrediction") -> None:
    def likely(labels: list[tuple[str, float]]) -> str:
        return "  ".join(f"{label} {100 * probability:.1f} %" for label, probability in labels)

    print_line(f"{escape(clip.id)}  {likely(clip.labels)}")
    for start, end, labels in clip.windows:
        print_line(f"  {start:7.2f} to {end:7.2f} s  {likely(labels)}")
