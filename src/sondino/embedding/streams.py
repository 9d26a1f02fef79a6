"""Audio from a pipe (microphone, radio, decoder) to embeddings, one every hop in real time, in constant memory.

The first embedding comes with the first full window; the end of the stream is treated as the end of a file.
"""

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soxr
from numpy.typing import NDArray

from sondino.audio.decoded import Decoded
from sondino.audio.pipe import Pipe, SampleFormat, open_raw, open_wav
from sondino.audio.signal import mono_blocks, resampled_blocks
from sondino.audio.windows import ShortPolicy
from sondino.encoder.encoder import Encoder, resolve
from sondino.encoder.pipeline import prepared_windows, rate_of, resolve_windowing
from sondino.errors import EncoderError, OptionError, RunError
from sondino.files import disk_error
from sondino.locks import open_locked

__all__ = [
    "SampleFormat",
    "StreamEmbedding",
    "StreamReport",
    "embed_stdin",
    "embed_stream",
    "resampler_delay",
    "standard_input",
    "write_stream",
]

LineFormat = Literal["jsonl", "csv"]

STREAM_ID = "-"  # the id of the stream in a table


@dataclass(frozen=True)
class StreamEmbedding:
    """A window of a stream.

    Attributes:
        start: seconds from the beginning of the stream.
        end: of its real samples; the last window may be zero-padded.
        embedding: (dim,) float32.
        read_at: when the last sample that it needed had been read, in seconds of `time.perf_counter`.
        delay: of the resampler, in seconds.
    """

    start: float
    end: float
    embedding: NDArray[np.float32]
    read_at: float
    delay: float


@dataclass
class StreamReport:
    """Counts and latencies of a stream.

    Attributes:
        embeddings: how many were written.
        seconds: of audio that they cover.
        delay: of the resampler, in seconds.
        latencies: seconds from a window's last sample read to its embedding written, in two digits, and how often.
    """

    embeddings: int = 0
    seconds: float = 0.0
    delay: float = 0.0
    latencies: Counter[float] = field(default_factory=Counter)

    def latency(self, share: float) -> float:
        """A quantile (0 to 1) of the latencies, in seconds; NaN without embeddings."""
        passed = 0
        for latency in sorted(self.latencies):
            passed += self.latencies[latency]
            if passed >= share * self.embeddings:
                return latency
        return math.nan

    def __str__(self) -> str:
        if not self.embeddings:
            return "no embeddings"
        delay = f", and up to {1000 * self.delay:.0f} ms in the resampler" if self.delay else ""
        return (
            f"{self.embeddings} embeddings of {self.seconds:.1f} s of sound; latency a window: median "
            f"{1000 * self.latency(0.5):.3g} ms, 95 % within {1000 * self.latency(0.95):.3g} ms{delay}"
        )


def embed_stream(
    model: Encoder,
    source: BinaryIO,
    rate: int | None = None,
    sample_format: SampleFormat = "s16le",
    channels: int = 1,
    *,
    hop: float = 0.5,
    window: float | None = None,
    short: ShortPolicy | None = None,
) -> Iterator[StreamEmbedding]:
    """Embed a stream as it arrives.

    The embeddings equal those of `Model.embed_windows` for the same audio in a file.

    Args:
        model: any encoder.
        source: a binary file such as `sys.stdin.buffer`; reads never wait for more than is available.
        rate: hertz of raw samples; None: the stream is WAV.
        sample_format: of raw samples.
        channels: of raw samples.
        hop: seconds from one window to the next.
        window: seconds; None: the model's.
        short: what is done with a stream shorter than a window; None: the model's.

    Yields:
        an embedding as soon as its window is full; when the stream ends, one of the tail that no window covers.

    Raises:
        AudioError: no audio arrived, or the header is broken or of an unknown codec.
        OptionError: a rate, number of channels, hop or window out of range, or neither WAV nor a rate.
        EncoderError: the model gave NaN.

    Examples:
        >>> import io
        >>> silence = io.BytesIO(bytes(3 * 2 * 16000))  # 3 s of 16-bit samples at 16 kHz
        >>> model = sondino.load("run/bundle")
        >>> [found.start for found in sondino.embed_stream(model, silence, rate=16000, hop=1.0)]
        [0.0, 1.0, 2.0]
    """
    if not (math.isfinite(hop) and hop > 0):
        raise OptionError(f"hop is {hop}: give seconds above 0")
    windowing = resolve_windowing(model, window, hop, short)
    if windowing.window is None:
        raise OptionError(f"{model.name} takes audio of any length: give the seconds of a window, --window")
    pipe = Pipe(source)
    stream = open_wav(pipe) if rate is None else open_raw(pipe, rate, sample_format, channels)
    # Whether channels cancel is tested on the first block: as long as the first window, which must arrive anyway.
    first = math.ceil(windowing.window * stream.rate) if stream.channels > 1 else 1
    sound = Decoded(stream.rate, stream.channels, None, lambda *_: stream.blocks(first), stream.floats)
    encoder = resolve(model)
    taken = rate_of(encoder, stream.rate, windowing)
    blocks = resampled_blocks(mono_blocks(sound, pipe.name, 0, None), stream.rate, taken)
    delay = resampler_delay(stream.rate, taken)
    for prepared, start, real, _ in prepared_windows(blocks, taken, encoder, windowing):
        embedding = encoder.embed_prepared(prepared[None])[0]
        if not np.isfinite(embedding).all():
            raise EncoderError(f"{model.name} gave NaN or infinite values at {start:g} s")
        yield StreamEmbedding(start, start + real / model.sample_rate, embedding, pipe.read_at, delay)


def write_stream(embeddings: Iterable[StreamEmbedding], out: BinaryIO, form: LineFormat = "jsonl") -> StreamReport:
    """Write embeddings as they come, flushed line by line.

    Ends with the stream, with the program that reads `out`, or by Ctrl-C; what was written stays.

    Args:
        embeddings: from `embed_stream`.
        out: open for writing in binary.
        form: "jsonl": start, end and latency in seconds, and embedding; or "csv": the table that
            `sondino embed --per-window` writes.
    """
    report = StreamReport()
    with suppress(KeyboardInterrupt, BrokenPipeError):
        for found in embeddings:
            numbers = [f"{value:.9g}" for value in found.embedding.tolist()]  # nine digits give back the same float32
            if form == "jsonl":
                latency = time.perf_counter() - found.read_at
                facts = f'"start": {found.start:.9g}, "end": {found.end:.9g}, "latency": {latency:.4f}'
                line = f'{{{facts}, "vector": [{", ".join(numbers)}]}}\n'
            else:
                line = ",".join([STREAM_ID, f"{found.start:.9g}", *numbers]) + "\n"
                if report.embeddings == 0:
                    line = ",".join(["id", "start", *(f"v{i}" for i in range(len(numbers)))]) + "\n" + line
            out.write(line.encode())
            out.flush()
            report.latencies[float(f"{time.perf_counter() - found.read_at:.2g}")] += 1
            report.embeddings += 1
            report.seconds, report.delay = found.end, found.delay
    return report


def embed_stdin(
    model: Encoder,
    output: Path | None = None,
    rate: int | None = None,
    sample_format: SampleFormat = "s16le",
    channels: int = 1,
    *,
    hop: float = 0.5,
    window: float | None = None,
    short: ShortPolicy | None = None,
    form: LineFormat = "jsonl",
) -> StreamReport:
    """`embed_stream` of standard input, written to a file or to standard output.

    Args:
        model: as in `embed_stream`.
        output: .jsonl or .csv; None: standard output.
        rate: as in `embed_stream`.
        sample_format: as in `embed_stream`.
        channels: as in `embed_stream`.
        hop: as in `embed_stream`.
        window: as in `embed_stream`.
        short: as in `embed_stream`.
        form: of the lines on standard output.

    Raises:
        AudioError, OptionError: as in `embed_stream`, or nothing is piped in, or the output's suffix is another.
        RunError: the output cannot be written.
    """
    forms: dict[str, LineFormat] = {".jsonl": "jsonl", ".csv": "csv"}
    if output is not None and output.suffix.lower() not in forms:
        raise OptionError(f"output {output} of a stream must end in {' or '.join(forms)}")
    embeddings = embed_stream(
        model,
        standard_input("embed - --model BUNDLE"),
        rate,
        sample_format,
        channels,
        hop=hop,
        window=window,
        short=short,
    )
    if output is None:
        report = write_stream(embeddings, sys.stdout.buffer, form)
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more at exit, and would report the broken pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return report
    try:
        file = open_locked(output)
        if file is None:
            raise RunError(f"another process is writing {output}: wait for it to end, or name another output")
        with file:
            return write_stream(embeddings, file, forms[output.suffix.lower()])
    except OSError as error:
        raise disk_error(output, error) from error


def standard_input(command: str) -> BinaryIO:
    """Standard input as a binary file.

    Args:
        command: of ours that reads it, for the message.

    Raises:
        OptionError: nothing is piped in.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise OptionError(f"nothing is piped in: `arecord -f S16_LE -r 16000 | sondino {command}`")
    # A non-blocking pipe, as some programs pass on, would seem to have ended.
    with suppress(OSError, AttributeError):
        os.set_blocking(sys.stdin.fileno(), True)
    return sys.stdin.buffer


def resampler_delay(rate: int, sample_rate: int) -> float:
    """The largest delay of soxr, in seconds, from one rate to another."""
    if rate == sample_rate:
        return 0.0
    resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
    piece = np.zeros(max(1, rate // 50), np.float32)
    resampled, most = 0, 0.0
    for count in range(1, 51):
        resampled += len(resampler.resample_chunk(piece))
        most = max(most, count * len(piece) / rate - resampled / sample_rate)
    return most
