"""Detections of a stream as it arrives: standard input, a microphone, or an address that FFmpeg opens."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import BinaryIO, cast

import numpy as np

from sondino.audio.pipe import SampleFormat
from sondino.embedding.detect import MIN_CONFIDENCE
from sondino.embedding.detections import Detection, Wanted, find_detections, unlike_scores, wanted_labels
from sondino.embedding.labelling import head_of
from sondino.embedding.streams import embed_stream
from sondino.errors import AudioError, OptionError
from sondino.model.model import Model
from sondino.text import escape

PATIENCE = 5.0
"""Seconds that a program whose sound has ended may take to end itself."""
LAST_BYTES = 4096

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class StreamDetection:
    """A detection in a stream, and when its window began, by this machine's clock."""

    detection: Detection
    time: datetime


@dataclass
class ListenReport:
    """Counts of a stream.

    Attributes:
        detections: how many there were.
        seconds: of sound that was classified.
    """

    detections: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.detections} detections in {self.seconds:.1f} s of sound"


def detect_stream(
    model: Model,
    source: BinaryIO,
    rate: int | None = None,
    sample_format: SampleFormat = "s16le",
    channels: int = 1,
    *,
    min_confidence: float = MIN_CONFIDENCE,
    top: int = 3,
    hop: float | None = None,
    labels: Path | None = None,
    max_unlike: float | None = None,
    report: ListenReport | None = None,
) -> Iterator[StreamDetection]:
    """Find labels in a stream as it arrives: each window's detections as soon as it is full.

    Args:
        model: has a head and a window.
        source: as in `embed_stream`.
        rate: as in `embed_stream`.
        sample_format: as in `embed_stream`.
        channels: as in `embed_stream`.
        min_confidence: as in `detect_files`.
        top: as in `detect_files`.
        hop: seconds from one window to the next; None: the model's.
        labels: as in `detect_files`.
        max_unlike: as in `detect_files`.
        report: is counted up.

    Raises:
        OptionError: the model has no head or no window, or an option is out of range.
        AudioError: as in `embed_stream`.
    """
    counts = ListenReport() if report is None else report
    head = head_of(model)
    wanted = Wanted(min_confidence, top, wanted_labels(head, labels), max_unlike=max_unlike)
    unlike_scores(head, np.zeros((0, head.dim), np.float32), max_unlike)  # raises where the head has none
    hop = hop if hop is not None else model.hop or model.window
    if hop is None:
        raise OptionError(f"{model.name} takes audio of any length, and a stream has windows: name another model")
    for found in embed_stream(model, source, rate, sample_format, channels, hop=hop):
        counts.seconds = found.end
        arrived = datetime.now(UTC) - timedelta(seconds=perf_counter() - found.read_at)
        began = arrived - timedelta(seconds=found.end - found.start + found.delay)
        probabilities = head.probabilities(found.embedding[None])
        times = np.array([found.start]), np.array([found.end])
        unlike = unlike_scores(head, found.embedding[None], max_unlike)
        for detection in find_detections(head, probabilities, *times, wanted, unlike):
            counts.detections += 1
            yield StreamDetection(detection, began)


def as_line(arrived: StreamDetection) -> str:
    """A detection of a stream as a line of JSON: time (UTC), start and end (s), label, probability, unlike."""
    found = arrived.detection
    facts = {
        "time": arrived.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "start": round(found.start, 6),
        "end": round(found.end, 6),
        "label": escape(found.label),
        "probability": round(found.probability, 6),
        "unlike": None if found.unlike is None else round(found.unlike, 6),
    }
    return json.dumps(facts, ensure_ascii=False)


def recorder(source: str | None, rate: int) -> list[str]:
    """The command that writes a source's sound to its standard output, 16-bit samples of one channel at a rate.

    Args:
        source: an address (rtsp://, http://, ...); None: this machine's microphone, by the first program of arecord,
            rec (SoX) and ffmpeg that is installed.
        rate: hertz.

    Raises:
        OptionError: no program for it is installed.
    """
    raw = ["-ac", "1", "-ar", str(rate), "-f", "s16le", "-"]
    ffmpeg = ["ffmpeg", "-nostdin", "-loglevel", "error"]
    if source is not None:
        if shutil.which("ffmpeg") is None:
            raise OptionError(f"{source} is opened by ffmpeg, which is not installed: install it, or pipe the sound in")
        transport = ["-rtsp_transport", "tcp"] if source.lower().startswith("rtsp") else []
        return [*ffmpeg, *transport, "-i", source, "-vn", *raw]
    microphones = {
        "arecord": ["arecord", "-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(rate)],
        "rec": ["rec", "-q", "-t", "raw", "-e", "signed", "-b", "16", "-L", "-c", "1", "-r", str(rate), "-"],
    }
    devices = {"linux": ["-f", "pulse", "-i", "default"], "darwin": ["-f", "avfoundation", "-i", ":0"]}
    if sys.platform in devices:
        microphones["ffmpeg"] = [*ffmpeg, *devices[sys.platform], *raw]
    for program, command in microphones.items():
        if shutil.which(program) is not None:
            return command
    raise OptionError(
        f"no program that records is installed: install {' or '.join(microphones)}, or pipe WAV in: "
        "RECORDER | sondino listen -"
    )


@contextmanager
def recorded(command: list[str]) -> Iterator[BinaryIO]:
    """The sound that a command writes, which ends with the block.

    Raises:
        AudioError: the command ended with an error, at once or later; its last line says why.
    """
    # What it says goes to a file: a pipe that nobody reads would stop it once it is full.
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        code: int | None = None
        try:
            try:
                yield cast(BinaryIO, process.stdout)
            except AudioError:  # nothing arrived: the program says why
                code = process.wait(PATIENCE) or 1
            else:
                code = process.wait(PATIENCE)  # its sound has ended
        except subprocess.TimeoutExpired:
            code = 0
        finally:
            process.terminate()
            process.stdout.close()
        if code:
            errors.seek(0)
            lines = errors.read()[-LAST_BYTES:].decode("utf-8", "replace").strip().splitlines()
            raise AudioError(f"{command[0]} ended with an error: {lines[-1] if lines else f'code {code}'}")
