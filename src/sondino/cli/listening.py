"""The command listen: detections of a microphone or a stream, as they come."""

from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from cyclopts import Parameter

from sondino.cli.app import check_hyphens
from sondino.console import print_line
from sondino.errors import OptionError
from sondino.hub.catalogue import DEFAULT_MODEL

STREAM = "-"


def listen(
    source: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    *,
    model: str = DEFAULT_MODEL,
    head: str | None = None,
    min_confidence: float = 0.25,
    top: int = 3,
    hop: float | None = None,
    labels: Path | None = None,
    max_unlike: float | None = None,
    rate: int | None = None,
    sample_format: Literal["s16le", "s24le", "s32le", "f32le"] = "s16le",
    channels: int = 1,
    threads: int | None = None,
    quiet: bool = False,
) -> int:
    """Find labels in what a microphone or a stream gives, as it comes: a line of JSON for each detection.

    A line has time (UTC, when the window began), start and end (seconds of the stream), label, probability and
    unlike. Ends with the stream, or by Ctrl-C. Nothing is recorded or sent.

    Example: `sondino listen --min-confidence 0.5`

    Example: `sondino listen rtsp://camera.local/stream`

    Example: `arecord -f S16_LE -r 48000 -t wav | sondino listen -`

    Args:
        source: - for WAV on standard input; an address that ffmpeg opens (rtsp://, http://). Default: this machine's
            microphone, by arecord, rec or ffmpeg.
        model: a bundle with a head, or with --head any; also a name that `sondino models` lists. Default: the model
            that comes with the package.
        head: as in `sondino classify`.
        min_confidence: lowest probability of a detection.
        top: how many labels of a window are given at most.
        hop: seconds from one window to the next. Default: the model's.
        labels: a text file with the labels to look for, one a line. Default: all.
        max_unlike: as in `sondino classify`.
        rate: sample rate in hertz of raw samples on standard input. Default: it is WAV.
        sample_format: of raw samples.
        channels: of raw samples.
        threads: processor threads. Default: all.
        quiet: print no summary at the end.
    """
    from sondino.embedding.listening import ADDRESS, ListenReport, as_line, detect_stream, recorded, recorder
    from sondino.embedding.streams import standard_input
    from sondino.pretrained.load import load

    piped = source == STREAM
    check_hyphens("listen", [] if source is None else [source])
    if not piped and (rate is not None or sample_format != "s16le" or channels != 1):
        raise OptionError(
            "--rate, --sample-format and --channels are for raw samples on standard input: sondino listen -"
        )
    if source is not None and not piped and not ADDRESS.match(source):
        raise OptionError(f"{source} is no stream: give - or an address; sondino classify {source} classifies a file")
    opened = load(model, threads, head=head)
    taken: AbstractContextManager[BinaryIO]
    if piped:
        taken = nullcontext(standard_input("listen -"))
    else:
        rate = opened.sample_rate
        taken = recorded(recorder(source, rate))
    report = ListenReport()
    with suppress(KeyboardInterrupt), taken as stream:
        for found in detect_stream(
            opened,
            stream,
            rate,
            sample_format,
            channels,
            min_confidence=min_confidence,
            top=top,
            hop=hop,
            labels=labels,
            max_unlike=max_unlike,
            report=report,
        ):
            print_line(as_line(found), flush=True)
    if not quiet:
        print_line(f"sondino: {report}", error=True)
    return 0
