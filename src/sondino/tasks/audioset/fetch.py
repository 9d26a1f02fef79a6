"""Fetch clips of AudioSet from where they are published, politely: one after another, with pauses, and resumable.

Opt-in: the sound is its uploaders', and YouTube's terms forbid downloads that it does not offer.
"""

from __future__ import annotations

import csv
import datetime
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from sondino.audio.reading import read
from sondino.errors import OptionError, SondinoError, require
from sondino.files import disk_error, make_folder, new_file, write_skipped
from sondino.locks import lock_or_fail
from sondino.progress import Report
from sondino.tasks.audioset.metadata import Segments
from sondino.text import first_line, read_csv

LEGAL = (
    "AudioSet's lists are CC BY 4.0 and its ontology CC BY-SA 4.0. Neither covers the sound, which belongs to its "
    "uploaders, and YouTube's terms forbid downloads that it does not offer. This is our reading and no legal advice: "
    "fetch only what you have the right to."
)
SHORTER = 0.05
"""Seconds by which a clip may be shorter than its segment: codecs have frames."""
GONE_FILE = "gone.csv"
_SIGN_IN = re.compile(
    r"confirm you.{0,3}re not a bot|HTTP Error 429|too many requests|rate.?limit|sign in to continue", re.I
)
_GONE = re.compile(
    r"unavailable|private video|removed|terminated|not available|no longer available|copyright|confirm your age|"
    r"members.only|does not exist|has been deleted|blocked|HTTP Error 404|HTTP Error 410|join this channel",
    re.I,
)

Download = Callable[[str, float, float, Path], Path]
"""Gets seconds `start` to `end` of the sound of a URL into a folder; returns the file. Whatever it raises is read."""


@dataclass
class Fetched:
    """What a call of `fetch_clips` did.

    Attributes:
        new: clips that were fetched.
        there: clips that were there already.
        gone: clips that are gone, those of earlier calls included.
        failed: (id, reason) of clips that may come another time.
        stopped: why it ended early; "" where it did not.
    """

    new: int = 0
    there: int = 0
    gone: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    stopped: str = ""


def check_allowed(allowed: bool) -> None:
    """Raises OptionError, with what is to be known, where the caller has not said that fetching is allowed."""
    if not allowed:
        raise OptionError(f"nothing is fetched without --i-have-the-rights. {LEGAL}")


def clip_name(segments: Segments, row: int) -> str:
    """Where a clip is kept: set/first character/ID_30.000_40.000.flac, as the published S-SONDO code does.

    No folder gets a name that programs take for an option or hide: `-`, `_` and `.` share the folder `-`.
    """
    name = segments.ids[row].decode()
    folder = "-" if name[0] in "-_." else name[0]
    start, end = segments.start[row] / 1000, segments.end[row] / 1000
    return f"{segments.sets[segments.set_of[row]]}/{folder}/{name}_{start:.3f}_{end:.3f}.flac"


def fetch_clips(
    segments: Segments,
    out: Path,
    allowed: bool,
    sample_rate: int = 32_000,
    pause: float = 5.0,
    ask_again: bool = False,
    most: int | None = None,
    download: Download | None = None,
    wait: Callable[[float], None] = time.sleep,
    progress: Report = lambda done, total: None,
) -> Fetched:
    """Fetch clips into a folder, as mono FLAC of 16 bits. The same call resumes.

    A clip has its name only when it is whole and as long as its segment. It ends at the first demand to sign in, and
    at the first answer that says too many requests. Clips that are gone are listed in gone.csv (id, reason, day), and
    not asked for again. Others that failed are in skipped.csv, and are.

    Args:
        segments: to fetch.
        out: folder for them.
        allowed: that the caller has the right to; without it nothing is fetched.
        sample_rate: of the files, Hz.
        pause: seconds between two requests.
        ask_again: ask for clips again that were gone.
        most: requests of this call. None: no limit.
        download: gets a part of a sound; None: yt-dlp.
        wait: sleeps so many seconds.
        progress: called with (clips looked at, clips).

    Raises:
        OptionError: not allowed, a bad pause, or ffmpeg is missing.
        MissingExtra: yt-dlp is not installed.
        RunError: the folder cannot be written, or another process is fetching into it.
    """
    check_allowed(allowed)
    if pause < 0:
        raise OptionError(f"pause is {pause:g}: give seconds, 0 or more")
    if sample_rate < 100:
        raise OptionError(f"rate is {sample_rate}: give Hz, such as 32000")
    download = download or by_yt_dlp()
    make_folder(out)
    report = Fetched()
    with lock_or_fail(out, "fetch", "fetching into"):
        gone = read_gone(out / GONE_FILE)
        asked = 0
        for row in range(len(segments)):
            progress(row, len(segments))
            name, file = segments.ids[row].decode(), out / clip_name(segments, row)
            if file.exists():
                report.there += 1
                continue
            if name in gone and not ask_again:
                report.gone += 1
                continue
            if most is not None and asked >= most:
                report.stopped = f"{most} requests were made: the same command goes on"
                break
            if asked:
                wait(pause)
            asked += 1
            reason = _fetch_one(segments, row, file, sample_rate, download)
            if not reason:
                report.new += 1
            elif _SIGN_IN.search(reason):
                report.stopped = f"{name}: {reason}"
                break
            elif _GONE.search(reason):
                report.gone += 1
                _remember(out / GONE_FILE, name, reason)
            else:
                report.failed.append((name, reason))
        else:
            progress(len(segments), len(segments))
        write_skipped(out / "skipped.csv", report.failed)
    return report


def _fetch_one(segments: Segments, row: int, file: Path, sample_rate: int, download: Download) -> str:
    """Fetch one clip; the reason where it did not come."""
    start, end = float(segments.start[row]) / 1000, float(segments.end[row]) / 1000
    url = f"https://www.youtube.com/watch?v={segments.ids[row].decode()}"  # a bare id may begin with a hyphen
    with tempfile.TemporaryDirectory(prefix="sondino-fetch-") as folder:
        try:
            source = download(url, start, end, Path(folder))
            return write_clip(source, file, end - start, sample_rate)
        except SondinoError as error:
            return str(error)
        except OSError as error:
            if error.filename is not None and str(error.filename).startswith(str(file.parent)):
                raise disk_error(file, error) from error
            return first_line(error)
        except Exception as error:  # yt-dlp's own errors, and what it lets through
            return first_line(error)


def write_clip(source: Path, file: Path, seconds: float, sample_rate: int) -> str:
    """Write the first seconds of a sound under a name that it gets when it is whole; why not, where it is too short."""
    waveform = read(source, sample_rate)
    samples = round(seconds * sample_rate)
    if len(waveform) < samples - round(SHORTER * sample_rate):
        return f"{len(waveform) / sample_rate:.2f} s came of {seconds:g} s"
    make_folder(file.parent)
    with new_file(file) as opened:
        soundfile.write(opened, waveform[:samples], sample_rate, format="FLAC", subtype="PCM_16")
    return ""


def read_gone(file: Path) -> dict[str, tuple[str, str]]:
    """Clips that are gone: id -> reason and day. A line that a kill cut short is left out."""
    if not file.exists():
        return {}
    with file.open(newline="", encoding="utf-8") as lines:
        return {row["id"]: (row["reason"], row["day"]) for row in read_csv(lines) if row.get("day")}


def _remember(file: Path, name: str, reason: str) -> None:
    """Add a clip to those that are gone; on disk before the next is asked for."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        new = not file.exists()
        whole = new or file.read_bytes().endswith(b"\n")
        with file.open("a", newline="", encoding="utf-8") as lines:
            if not whole:
                lines.write("\n")
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerows([("id", "reason", "day")] * new + [(name, reason, day)])
            lines.flush()
            os.fsync(lines.fileno())
    except OSError as error:
        raise disk_error(file, error) from error


class _Silent:
    """Takes what yt-dlp logs: even when it is quiet it prints the errors that it raises, and they are ours to list."""

    def debug(self, message: str) -> None:
        """Drop it."""

    warning = error = debug


def by_yt_dlp() -> Download:
    """Download by yt-dlp: the best sound of a part of a video, as FLAC.

    Raises:
        MissingExtra: it is not installed.
        OptionError: ffmpeg, which it cuts with, is missing.
    """
    yt_dlp: Any = require("yt_dlp", "audioset")
    lacking = [program for program in ("ffmpeg", "ffprobe") if shutil.which(program) is None]
    if lacking:
        raise OptionError(
            f"{' and '.join(lacking)} cannot be found, with which yt-dlp cuts sound: install ffmpeg, such as by "
            "apt install ffmpeg, brew install ffmpeg or winget install ffmpeg"
        )

    def download(url: str, start: float, end: float, folder: Path) -> Path:
        options = {
            "format": "bestaudio/best",
            "outtmpl": str(folder / "clip.%(ext)s"),
            "download_ranges": yt_dlp.utils.download_range_func(None, [(start, end)]),
            "force_keyframes_at_cuts": True,
            "postprocessors": [{"key": "FFmpegExtractAudio", "preferredcodec": "flac"}],
            "noplaylist": True,
            "quiet": True,
            "noprogress": True,
            "logger": _Silent(),
            "cachedir": False,
        }
        with yt_dlp.YoutubeDL(options) as downloader:
            downloader.download([url])
        return folder / "clip.flac"

    return download
