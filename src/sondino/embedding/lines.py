"""Embeddings and labels on standard output, as lines that another program reads while they come."""

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sondino.audio.signal import Scale
from sondino.audio.windows import ShortPolicy
from sondino.embedding.classify import ClipPrediction, clip_writer
from sondino.embedding.detection_tables import line_writer
from sondino.embedding.detections import Recording
from sondino.embedding.files import EmbedReport, Progress
from sondino.embedding.inputs import Channel, Given, Input, ListedInputs, list_inputs
from sondino.embedding.labelling import embedded_files
from sondino.embedding.streams import LineFormat
from sondino.embedding.tables import key_columns
from sondino.encoder.encoder import Encoder
from sondino.encoder.pipeline import Embedded, resolve_windowing
from sondino.text import CsvWriter, escape

STANDARD_OUTPUT = Path("-")


@contextmanager
def standard_output() -> Iterator[io.TextIOWrapper]:
    """Standard output as UTF-8, whatever the terminal's encoding is.

    Raises:
        BrokenPipeError: its reader has gone; nothing more is written to it.
    """
    sys.stdout.flush()
    text = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
    try:
        yield text
        text.flush()
    finally:
        with suppress(OSError):  # of a reader that has gone, which was raised above
            text.detach()


def print_embeddings(
    inputs: Given | Sequence[Given] | ListedInputs,
    model: Encoder,
    form: LineFormat,
    per_window: bool = False,
    threads: int | None = None,
    *,
    short: ShortPolicy | None = None,
    window: float | None = None,
    hop: float | None = None,
    scale: Scale = "none",
    channel: Channel = "mean",
    progress: Progress | None = None,
) -> EmbedReport:
    """Embed files to standard output: the rows of each as soon as it is done.

    Args:
        inputs: as in `embed_files`.
        model: any encoder.
        form: "csv", the table that `embed_files` writes; or "jsonl", a line for each row, with the same names and the
            embedding as a list under "vector".
        per_window: as in `embed_files`.
        threads: as in `embed_files`.
        short: as in `embed_files`.
        window: as in `embed_files`.
        hop: as in `embed_files`.
        scale: as in `embed_files`.
        channel: as in `embed_files`.
        progress: as in `embed_files`.

    Raises:
        AudioError, OptionError: as of `embed_files`.
        SondinoError: no file could be decoded.
        BrokenPipeError: the reader has gone.
    """
    windowing = resolve_windowing(model, window, hop, short)
    files, skipped = list_inputs(inputs, channel)
    report = EmbedReport(STANDARD_OUTPUT, skipped=list(skipped))
    with standard_output() as out:
        put: Callable[[Input, Embedded], None] | None = None
        for file, found in embedded_files(files, model, windowing, per_window, threads, scale, report, progress):
            # Not before the first: where nothing can be embedded, nothing is printed.
            put = put or _embedding_writer(out, form, model.dim, per_window, channel == "each")
            put(file, found)
            out.flush()
            report.embeddings += len(found.embeddings)
    return report


def _embedding_writer(
    out: io.TextIOWrapper, form: LineFormat, dim: int, per_window: bool, by_channel: bool
) -> Callable[[Input, Embedded], None]:
    table = CsvWriter(out)
    if form == "csv":
        table.writerow([*key_columns(per_window, by_channel), *(f"v{i}" for i in range(dim))])

    def put(file: Input, found: Embedded) -> None:
        for start, embedding in zip(found.starts.tolist(), found.embeddings.tolist(), strict=True):
            numbers = [f"{value:.9g}" for value in embedding]  # nine digits give back the same float32
            keys = {"channel": str(file.channel)} if by_channel else {}
            keys |= {"start": f"{start:.9g}"} if per_window else {}
            if form == "csv":
                table.writerow([file.id, *keys.values(), *numbers])
            else:
                named = json.dumps(escape(file.id), ensure_ascii=False)
                others = "".join(f', "{name}": {value}' for name, value in keys.items())
                out.write(f'{{"id": {named}{others}, "vector": [{", ".join(numbers)}]}}\n')

    return put


def detection_printer(
    out: io.TextIOWrapper, form: LineFormat, top_frequency: float, by_channel: bool = False
) -> Callable[[Recording], None]:
    """Writes the detections of each recording at once; a line of names comes with the first."""
    put: Callable[[Recording], None] | None = None

    def put_now(recording: Recording) -> None:
        nonlocal put
        put = put or line_writer(out, form, top_frequency, by_channel)
        put(recording)
        out.flush()

    return put_now


def clip_printer(out: io.TextIOWrapper, form: LineFormat, by_channel: bool = False) -> Callable[[ClipPrediction], None]:
    """Writes the labels of each clip at once; a line of names comes with the first."""
    put: Callable[[ClipPrediction], None] | None = None

    def put_now(prediction: ClipPrediction) -> None:
        nonlocal put
        put = put or clip_writer(out, form, by_channel)
        put(prediction)
        out.flush()

    return put_now
