"""What `detect_files` and `classify_files` share: a model's head, and the embeddings of each file, counted."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from sondino.audio.signal import Scale
from sondino.audio.windows import Windowing
from sondino.embedding.files import Progress
from sondino.embedding.inputs import Input
from sondino.encoder.head import Head
from sondino.encoder.pipeline import Embedded, Sound, embed_sounds, readers
from sondino.errors import OptionError, SondinoError
from sondino.files import thread_count
from sondino.model.model import Model


@dataclass
class FilesReport:
    """What a call did with its files.

    Attributes:
        files: files that it processed and that are in the output.
        seconds: of sound in them.
        kept: files whose rows are from an earlier call, and stay.
        skipped: (path, reason) of every file that is not in the output.
    """

    files: int = 0
    seconds: float = 0.0
    kept: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def head_of(model: Model) -> Head:
    """A model's head; raises OptionError where it has none."""
    if model.head is None:
        raise OptionError(
            f"{model.name} has no head: fit one with `sondino probe`, or name one, such as --head esc50 for "
            "ssondo/matpac-mobilenetv3"
        )
    return model.head


def embedded_files(
    files: Sequence[Input],
    model: Model,
    windowing: Windowing,
    per_window: bool,
    threads: int | None,
    scale: Scale,
    report: FilesReport,
    progress: Progress | None,
) -> Iterator[tuple[Input, Embedded]]:
    """The embeddings of each file that can be decoded, in order, counted in the report; the others are listed there.

    Raises:
        SondinoError: no file could be decoded.
    """
    ahead = readers(thread_count(model.threads if threads is None else threads))
    sounds: list[Sound] = [file.path for file in files]
    passed_over = len(report.skipped)
    with closing(embed_sounds(model, sounds, windowing, per_window, ahead, scale)) as found:
        for clip in found:
            file = files[clip.index]
            if clip.error is not None:
                report.skipped.append((file.path, str(clip.error).removeprefix(f"{file.path}: ")))
            else:
                yield file, clip
                report.files += 1
                report.seconds += clip.seconds
            if progress is not None:
                progress(clip.index + 1, len(files), report.seconds)
    if report.files == 0 and files and not report.kept:
        path, reason = report.skipped[passed_over]
        raise SondinoError(f"none of the {len(files)} files could be decoded; {path}: {reason}")
