"""What `detect_files`, `classify_files` and lines of embeddings share: a head, the embeddings of each file, counted."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sondino.arrow import AsTable, Kinds, arrow_table
from sondino.audio.signal import Scale
from sondino.audio.windows import Windowing
from sondino.embedding.files import EmbedReport, Progress
from sondino.embedding.inputs import Input, reason_of
from sondino.embedding.label_tables import Row, read_labels
from sondino.encoder.encoder import Encoder, check_encodes, resolve
from sondino.encoder.head import Head
from sondino.encoder.pipeline import Embedded, Sound, embed_sounds, readers
from sondino.errors import OptionError, SondinoError
from sondino.files import thread_count
from sondino.model.model import Model

if TYPE_CHECKING:
    import pyarrow


@dataclass
class FilesReport(AsTable):
    """What a call did with its files; `to_arrow` and `to_pandas` give its table.

    The table is read from the output, and is what it holds by then. Without an output the report holds the rows, unless
    `show` took them.

    Attributes:
        files: files that it processed and that are in the output.
        seconds: of sound in them.
        kept: files whose rows or tables are from an earlier call, and stay; those are not in `files`.
        replaced: files among `files` whose rows took the place of older ones (`append`).
        gone: files among `kept` that are no longer there (`append`).
        skipped: (path, reason) of every file that is not in the output.
        output: the file or folder written; None: nothing is written.
        columns: of the table, with the names of their Arrow types.
        rows: of the table, where nothing is written and nothing shown; else None.
    """

    files: int = 0
    seconds: float = 0.0
    kept: int = 0
    replaced: int = 0
    gone: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    output: Path | None = None
    columns: Kinds = field(default_factory=dict, repr=False)
    rows: list[Row] | None = field(default=None, repr=False)

    def to_arrow(self) -> "pyarrow.Table":
        """The table for pyarrow.

        Raises:
            OptionError: the output is none that holds the table, or `show` took the rows.
            SondinoError: the output is damaged.
            MissingExtra: pyarrow is not installed.
        """
        if self.output is not None:
            return arrow_table(self.columns, read_labels(self.output, self.columns))
        if self.rows is None:
            raise OptionError("show took the rows, and nothing was written: give an output, or leave show out")
        return arrow_table(self.columns, self.rows)


Found = TypeVar("Found")


def keeping(
    report: FilesReport, show: Callable[[Found], None] | None, rows_of: Callable[[Found], Iterable[Row]]
) -> Callable[[Found], None]:
    """What is called with each result of a call without an output: its rows stay in the report, unless `show` takes it.

    Args:
        report: of the call.
        show: of the call.
        rows_of: the rows of a result.
    """
    if show is not None:
        return lambda found: None
    rows = report.rows = []
    return lambda found: rows.extend(rows_of(found))


def head_of(model: Model) -> Head:
    """A model's head; raises OptionError where it has none, or is no model."""
    check_encodes(model)
    head: Head | None = getattr(model, "head", None)  # an encoder of the user's own need not have one
    if head is None:
        raise OptionError(
            f"{model.name} has no head: fit one with `sondino probe`, or name one, such as --head esc50 for "
            "ssondo/matpac-mobilenetv3"
        )
    return head


def identity_of(head: Head) -> list[str]:
    """A head's name, and a hash of all that decides its labels, for `settings_of`."""
    facts = [head.labels, head.multi_label, head.activation]
    digest = hashlib.sha256(json.dumps(facts).encode())
    scored = {} if head.unlike is None else head.unlike.as_arrays()
    for array in (*chain.from_iterable(head.layers), *scored.values()):
        digest.update(array.tobytes())
    return [head.name, digest.hexdigest()]


def embedded_files(
    files: Sequence[Input],
    model: Encoder,
    windowing: Windowing,
    per_window: bool,
    threads: int | None,
    scale: Scale,
    report: FilesReport | EmbedReport,
    progress: Progress | None,
) -> Iterator[tuple[Input, Embedded]]:
    """The embeddings of each file that can be decoded, in order, counted in the report; the others are listed there.

    Raises:
        SondinoError: no file could be decoded.
    """
    counted = ""
    model = resolve(model)
    ahead = readers(thread_count(model.threads if threads is None else threads))
    sounds: list[Sound] = [file.sound for file in files]
    channels = [file.channel for file in files]
    passed_over = len(report.skipped)
    with closing(embed_sounds(model, sounds, windowing, per_window, ahead, scale, channels)) as found:
        for clip in found:
            file = files[clip.index]
            if clip.error is not None:
                report.skipped.append((file.path, reason_of(file, clip.error)))
            else:
                yield file, clip
                if file.path != counted:  # its channels follow each other
                    report.files += 1
                    report.seconds += clip.seconds
                counted = file.path
            if progress is not None:
                progress(clip.index + 1, len(files), report.seconds)
    if report.files == 0 and files and not report.kept:
        path, reason = report.skipped[passed_over]
        raise SondinoError(f"none of the {len(files)} files could be decoded; {path}: {reason}")
