"""When a field recording was made: by what its recorder wrote into the file, else by the file's name.

Sources in their order, the first that has a time:

1. "guano": `Timestamp` in the `guan` chunk of a WAV (github.com/riggsd/guano-spec). Recorders also write a space for
   the T, "+0100", "-3:00" and seven digits of a second.
2. "wamd": entry 5 of the `wamd` chunk of Wildlife Acoustics (`wamd2guano.py` of github.com/riggsd/guano-py).
3. "comment": AudioMoth's comment, "Recorded at 05:30:00 01/05/2024 (UTC+2) ...", in the LIST chunk.
4. "name": a date with a time of day in the name, as `20240501_053000`, `20240501T053000+0200`,
   `2024-05-01T05-30-00Z`, `2024-05-01 05.30.00` or `20240501_053000_-0400`; SoundTrap's `5783.240501053000.wav`; old
   AudioMoths' hexadecimal seconds since 1970, in UTC, `5CC92A18.WAV`.

Where no offset from UTC is given, none is assumed. A date without a time of day is no time: `20240501_0001` is mostly a
date and a number. Years other than 1900 to 2099 are none, and neither is 1970, which is what a clock shows that was
never set. Digits behind the time (`_053000_010`) may be milliseconds or a number and are left out.
"""

import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO

from sondino.audio.wav import UNKNOWN, byte_order, chunk_size, declared_size, is_chunk, is_wav

MAX_BYTES = 8192  # that are read of a chunk
MAX_CHUNKS = 1000  # that are looked at
HEX_YEARS = range(2015, 2035)  # hexadecimal names were written until 2019; other such names are mostly hashes
WAMD_TIMESTAMP = 5
_MAX_OFFSET = timedelta(hours=14)


@dataclass(frozen=True)
class RecordingTime:
    """When a recording began.

    Attributes:
        start: with the offset from UTC where it is known, else without any (naive).
        source: "guano", "wamd", "comment" or "name", see the module.
    """

    start: datetime
    source: str


def recorded_at(path: str | os.PathLike[str]) -> RecordingTime | None:
    """When a recording began; None where neither the file nor its name has a time.

    Of a WAV (RIFF, RIFX, RF64, BW64), the headers of its chunks are read and up to 8 kB of those with metadata, no
    samples. Of other files, and of those that do not exist or cannot be read, the name is used. Damaged files raise
    nothing.
    """
    path = Path(path)
    found: dict[str, datetime] = {}
    try:
        if path.is_file():  # a named pipe would wait for its writer
            with path.open("rb") as handle:
                for source, moment in _times_in_wav(handle):
                    found.setdefault(source, moment)
    except (OSError, ValueError):
        pass
    if (named := time_in_name(path.name)) is not None:
        found["name"] = named
    for source in ("guano", "wamd", "comment", "name"):
        if source in found:
            return RecordingTime(found[source], source)
    return None


def time_of(recorded: RecordingTime, seconds: float) -> str:
    """The time of day `seconds` into a recording, in ISO 8601: "2024-05-01T05:30:02.500+02:00".

    Always with milliseconds, so that the cells of a column have one form; with "Z" for UTC; without an offset where
    none is known.
    """
    moment = recorded.start + timedelta(seconds=seconds, microseconds=500)  # isoformat cuts off, this rounds
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ---- names ----------------------------------------------------------------------------------------------------

_NAMED = re.compile(
    r"""
    (?<!\d)
    (?P<year>(?:19|20)\d\d) (?P<dash>[-_.]?) (?P<month>\d\d) (?P=dash) (?P<day>\d\d)
    (?P<gap>_?T|__?|[-$ ]|[ ]at[ ]|-birdnet-(?:RTSP_\d+-)?|)       # $: a Song Meter set by GPS
    (?P<hour>\d\d) (?P<colon>[-_.:]?) (?P<minute>\d\d)
    (?:
        (?P=colon) (?P<second>\d\d) (?!\d) (?:[.,](?P<fraction>\d{3,9})(?![0-9a-y]))?
        | (?![-_.:]?\d)
    )
    (?![ \u00a0\u202f]?[ap]m(?![0-9a-z]))                          # a clock of 12 hours
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_NAMED_ZONE = re.compile(
    r"""
    (?P<utc>Z)(?![0-9a-z])
    | [-_ ]?(?:UTC|GMT)(?P<from_utc>[+-]\d{1,2}(?::?\d\d)?)?(?![0-9a-z])
    | [_ ]?(?P<minutes>[+-]\d\d:?\d\d)(?![0-9a-z]|[.+-]\d)         # not a latitude
    | (?P<hours>\+\d\d)(?![a-z]|[-_.:+]?\d)                        # "-02" may be a number
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_SOUNDTRAP = re.compile(
    r"\d{3,10}\.(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)\.\D.*",
    re.ASCII,
)
_HEXADECIMAL = re.compile(r"(?=\d*[A-F])([0-9A-F]{8})(?:\.\w+)?", re.ASCII)  # digits alone are a number


def time_in_name(name: str) -> datetime | None:
    """The time in the name of a file; None where it has none.

    Of two times, the first where the second is at most a day later (a beginning and an end), else the last.
    """
    if hexadecimal := _HEXADECIMAL.fullmatch(name):
        moment = datetime.fromtimestamp(int(hexadecimal[1], 16), UTC)
        return moment if moment.year in HEX_YEARS else None
    if soundtrap := _SOUNDTRAP.fullmatch(name):
        return _moment({**soundtrap.groupdict(), "year": f"20{soundtrap['year']}"}, None)
    moments = []
    for found in _NAMED.finditer(name):
        # "20240501_0001" and "2024-05-01_01-02" are a date and numbers.
        as_time = found["gap"].strip("_").upper() == "T" or (found["gap"] == " " and found["dash"] and found["colon"])
        if found["second"] or as_time:
            moments.append(_moment(found.groupdict(), _offset_in_name(name, found.end())))
    times = [moment for moment in moments if moment is not None]
    if len(times) > 1:
        began, ended = (moment.replace(tzinfo=None) for moment in times[-2:])
        return times[-2] if timedelta(0) <= ended - began <= timedelta(days=1) else times[-1]
    return times[0] if times else None


def _offset_in_name(name: str, at: int) -> timedelta | None:
    """The offset from UTC that stands at a place of a name; what is no time zone's is a number."""
    found = _NAMED_ZONE.match(name, at)
    if found is None:
        return None
    offset = _offset(found["from_utc"] or found["minutes"] or found["hours"] or "Z")
    if offset is None:
        return None
    minutes = abs(offset) // timedelta(minutes=1)
    return None if minutes % 60 not in (0, 30, 45) or 0 < minutes < 60 else offset


# ---- what recorders write ---------------------------------------------------------------------------------------

_STAMP = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?\s*(?P<zone>Z|[+-]\d{1,2}(?::?\d\d)?)?",
    re.IGNORECASE | re.ASCII,
)
_AUDIOMOTH = re.compile(
    r"Recorded at (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d+))? "
    r"(?P<day>\d\d)/(?P<month>\d\d)/(?P<year>\d{4})(?: \(UTC(?P<zone>[+-]\d{1,2}(?::[ \d]\d)?)?(?P<utc>\)))?",
    re.ASCII,
)
_OFFSET = re.compile(r"([+-])(\d{1,2})(?::?([ \d]\d))?", re.ASCII)


def _times_in_wav(handle: BinaryIO) -> Iterator[tuple[str, datetime]]:
    """Sources and times in the chunks of a WAV; nothing of another file."""
    for kind, body in _metadata(handle):
        moment = None
        if kind == b"guan":
            moment = _guano(body)
        elif kind == b"wamd":
            moment = _wamd(body)
        elif body[:4] == b"INFO":
            moment = _comment(body)
        if moment is not None:
            yield {b"guan": "guano", b"wamd": "wamd", b"LIST": "comment"}[kind], moment


def _metadata(handle: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Ids and the first bytes of a WAV's chunks of metadata, found by the sizes in the chunks' headers."""
    head = handle.read(12)
    if not is_wav(head):
        return
    tag, order, ds64 = head[:4], byte_order(head[:4]), b""
    end, at, padding = handle.seek(0, 2), 12, 0
    for _ in range(MAX_CHUNKS):
        unpadded = _bytes(handle, at - padding, 8)
        head = _bytes(handle, at, 8)
        if padding and not is_chunk(head, end - at, order) and is_chunk(unpadded, end - at, order):
            at, head = at - padding, unpadded
        if not is_chunk(head, UNKNOWN, order):
            return
        kind, size = head[:4], chunk_size(head, order)
        if kind in (b"guan", b"wamd", b"LIST"):
            body = _bytes(handle, at + 8, min(size, MAX_BYTES))
            whole = len(body) == size or kind != b"guan"
            yield kind, body if whole else body[: body.rfind(b"\n") + 1]  # the last line may be cut
        elif kind == b"ds64":
            ds64 = _bytes(handle, at + 8, min(size, 16))
        elif kind == b"data":
            size = declared_size(tag, size, ds64)
        padding = size % 2
        at += 8 + size + padding
        if at > end:
            return


def _bytes(handle: BinaryIO, at: int, count: int) -> bytes:
    handle.seek(at)
    return handle.read(count)


def _guano(body: bytes) -> datetime | None:
    for line in body.decode("utf-8", "replace").split("\n"):
        key, _, value = line.partition(":")
        if key.strip("\0\ufeff \t") == "Timestamp":
            return _stamp(value)
    return None


def _wamd(body: bytes) -> datetime | None:
    at = 0
    while at + 6 <= len(body):
        kind, size = struct.unpack_from("<HI", body, at)
        at += 6
        if kind == WAMD_TIMESTAMP and at + size <= len(body):
            return _stamp(body[at : at + size].decode("utf-8", "replace"))
        at += size
    return None


def _comment(body: bytes) -> datetime | None:
    """The time in an AudioMoth's comment; `body` is that of a LIST chunk."""
    found = _AUDIOMOTH.search(body.decode("utf-8", "replace"))
    if found is None:
        return None
    return _moment(found.groupdict(), _offset(found["zone"] or "Z") if found["utc"] else None)


def _stamp(text: str) -> datetime | None:
    found = _STAMP.fullmatch(text.strip("\0 \t\r\n"))
    return None if found is None else _moment(found.groupdict(), _offset(found["zone"] or ""))


def _offset(text: str) -> timedelta | None:
    """An offset from UTC, as in "Z", "+02:00", "+0200", "-3:30" or "+2"; None where it is none."""
    if text in ("Z", "z"):
        return timedelta(0)
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    if offset > _MAX_OFFSET or int(found[3] or 0) > 59:
        return None
    return -offset if found[1] == "-" else offset


def _moment(fields: Mapping[str, str | None], offset: timedelta | None) -> datetime | None:
    """A time from its digits; None where there is no such time."""
    year, month, day, hour, minute, second = (
        int(fields[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    if not 1900 <= year <= 2099 or year == 1970:
        return None
    micro = int(f"{fields.get('fraction') or ''}000000"[:6])
    try:
        return datetime(year, month, day, hour, minute, second, micro, None if offset is None else timezone(offset))
    except ValueError:
        return None
