"""Decoders: libsndfile first, PyAV for what it cannot open. Both yield blocks (frames, channels)."""

import io
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from sondino.audio.mpeg import mpeg_frames
from sondino.errors import AudioError, MissingExtra, require

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a binary file open for reading (such as a member of a tar file)."""

BLOCK_SAMPLES = 1 << 16  # samples of all channels together in one decoded block: what a processor's cache holds
UNKNOWN_FRAMES = 1 << 62  # libsndfile's stand-in for a length that the header leaves open
STREAM_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF}  # data sizes written where the length was not known
MPEG_PREROLL = 10 * 1152  # samples of an mp3 decoded before the requested ones: up to 4,161 are wrong after a seek
MPEG_SLACK = 4 * 1152  # samples of the tag's own frame, encoder delay and padding, which no decoder gives
SOUNDFILE_ERRORS = (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError)


@dataclass(frozen=True)
class Decoded:
    """An open audio file.

    Attributes:
        rate: hertz.
        channels: number of channels.
        frames: length as the header has it; None where it has none.
        blocks: (first frame, number of frames or None for all) -> blocks (frames, channels) float32. Warns if
            fewer samples can be decoded than the header states.
    """

    rate: int
    channels: int
    frames: int | None
    blocks: Callable[[int, int | None], Iterator[NDArray[np.float32]]]


def source_name(source: Source) -> str:
    """A source in messages: its path, or the name of the open file."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "name", "") or "an open file")


@contextmanager
def open_sound(source: Source) -> Iterator[Decoded]:
    """Open an audio file with the first decoder that can read it.

    Raises:
        AudioError: missing, unreadable, empty, or no decoder can read it.
        MissingExtra: a container that only PyAV reads, and the `av` extra is not installed.
    """
    name = source_name(source)
    handle, owned = _open_binary(source, name)
    try:
        head = handle.read(4096)
        handle.seek(0)
        if not head:
            raise AudioError(f"{name}: holds no sound, the file is empty")
        # libsndfile reads a path itself, without coming back to Python for every piece of it.
        target: Any = os.fspath(source) if isinstance(source, (str, os.PathLike)) else handle
        hidden = 0  # frames of an MPEG stream that libsndfile would not reach
        try:
            sound = soundfile.SoundFile(target)
        except SOUNDFILE_ERRORS as error:
            reason = str(error).rpartition(": ")[2].strip(" .")
        else:
            with sound:
                # An open file is shared with libsndfile, whose place in it must stay.
                place = handle.tell()
                handle.seek(0)
                counted = mpeg_frames(handle) if sound.format == "MP3" else None
                short = _ogg_cut(handle) if sound.format == "OGG" else _header_cut(sound.extra_info)
                handle.seek(place)
                if counted is not None:
                    hidden = counted - sound.frames
                if hidden <= MPEG_SLACK or not _has_av():
                    if hidden > MPEG_SLACK:
                        seconds = hidden / sound.samplerate
                        warnings.warn(
                            f"{name}: its header leaves out {seconds:.1f} s at the end, which are not read; "
                            "pip install 'sondino[av]' to read them",
                            stacklevel=2,
                        )
                    frames = sound.frames if counted is None else min(sound.frames, counted)
                    yield _from_soundfile(sound, name, frames, short)
                    return
        handle.seek(0)
        if not hidden and not _has_av():
            if _needs_av(head):
                raise MissingExtra(f"{name}: this container is read by PyAV: pip install 'sondino[av]'")
            raise AudioError(f"{name}: not a sound that can be decoded ({reason})")
        with _open_av(handle, name, exact=hidden > 0) as decoded:
            yield decoded
    finally:
        if owned:
            handle.close()


def _open_binary(source: Source, name: str) -> tuple[BinaryIO, bool]:
    """The source as a seekable binary file, and whether it is ours to close."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            raise AudioError(f"{name}: is a folder, not a file")
        try:
            return path.open("rb"), True
        except FileNotFoundError as error:
            raise AudioError(f"{name}: no such file; check the path") from error
        except OSError as error:
            raise AudioError(f"{name}: cannot be read ({error.strerror}); check its permissions") from error
    try:
        if source.seekable():
            source.seek(0)
            return source, False
        return io.BytesIO(source.read()), True
    except (OSError, AttributeError, ValueError) as error:
        raise AudioError(f"{name}: not a file open for reading in binary ({error})") from error


# ---- libsndfile -----------------------------------------------------------------------------------------------


def _from_soundfile(sound: soundfile.SoundFile, name: str, claimed: int, short: bool) -> Decoded:
    frames = claimed if 0 <= claimed < UNKNOWN_FRAMES else None
    channels = sound.channels
    size = max(1, BLOCK_SAMPLES // channels)
    # soundfile seeks to its own position after every read of a seekable file. That is slow, and breaks an mp3: its
    # frames depend on earlier ones, which the decoder drops.
    sound.seekable = lambda: False

    def blocks(first: int, count: int | None) -> Iterator[NDArray[np.float32]]:
        wanted = count
        if frames is not None:
            left = max(0, frames - first)
            wanted = left if count is None else min(count, left)
        reason = "it is cut short" if short and (count is None or wanted != count) else ""
        done = 0
        preroll = min(first, MPEG_PREROLL) if sound.format == "MP3" else 0
        try:
            # Even to frame 0: the file may have been read before.
            sound.seek(first - preroll)
            if preroll:
                sound.read(out=np.empty((preroll, channels), np.float32))
        except SOUNDFILE_ERRORS:
            if first:
                return
        while wanted is None or done < wanted:
            room = size if wanted is None else min(size, wanted - done)
            out = np.full((room, channels), np.nan, np.float32)
            try:
                block = sound.read(out=out)
            except SOUNDFILE_ERRORS as error:
                # The decoder failed; what it wrote before is in `out`, the rest of it is still NaN.
                block = out[: int(np.argmax(np.isnan(out[:, 0]))) if np.isnan(out[-1, 0]) else room]
                if frames is not None:  # without a length in the header, this is how the end looks
                    reason = str(error).rpartition(": ")[2].strip(" .")
                if len(block):
                    yield block
                    done += len(block)
                break
            if len(block) == 0:
                break
            yield block
            done += len(block)
        if (
            not reason
            and frames is not None
            and wanted is not None
            and wanted - done > max(2 * 1152, sound.samplerate // 20)
        ):
            reason = "it is cut short"
        if reason:
            _damaged(name, reason, first + done, sound.samplerate, done)

    return Decoded(sound.samplerate, channels, frames, blocks)


def _header_cut(log: str) -> bool:
    """Whether libsndfile's log of the header reports a file shorter than it should be."""
    sizes = re.findall(r"(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", log)
    return any(int(size) > int(real) and int(size) not in STREAM_SIZES for size, real in sizes)


def _ogg_cut(handle: BinaryIO) -> bool:
    """Whether the last page of an Ogg file is broken off or not marked as the last (libsndfile reports neither)."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - 2 * 65307))  # a page is no longer than 65307 bytes
    tail = handle.read()
    page = tail.rfind(b"OggS")
    if page < 0 or page + 27 > len(tail):
        return True
    segments = tail[page + 27 : page + 27 + tail[page + 26]]
    whole = page + 27 + tail[page + 26] + sum(segments) <= len(tail)
    return not (whole and tail[page + 5] & 4)


def _damaged(name: str, reason: str, end: int, rate: int, done: int) -> None:
    if done == 0:
        raise AudioError(f"{name}: no sound can be decoded ({reason})")
    warnings.warn(f"{name}: truncated or damaged ({reason}); read up to {end / rate:.2f} s", stacklevel=3)


# ---- PyAV -----------------------------------------------------------------------------------------------------


def _has_av() -> bool:
    try:
        require("av", "av")
    except MissingExtra:
        return False
    return True


def _needs_av(head: bytes) -> bool:
    """Whether the first bytes are those of a container that PyAV reads and libsndfile does not."""
    return (
        head[4:8] == b"ftyp"  # mp4, m4a, mov, 3gp
        or head[:4] == b"\x1aE\xdf\xa3"  # webm, matroska
        or head[:2] == b"\x0bw"  # ac3
        or head[:4] == b"0&\xb2u"  # asf, wma
        or head[:5] == b"#!AMR"
        or (head[0] == 0xFF and len(head) > 1 and head[1] & 0xF6 == 0xF0)  # aac in adts
    )


@contextmanager
def _open_av(handle: BinaryIO, name: str, exact: bool) -> Iterator[Decoded]:
    """Open with PyAV; `exact` decodes from the beginning instead of seeking, where the index cannot be trusted."""
    av = cast(Any, require("av", "av"))
    try:
        container = av.open(handle, metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: not a sound that can be decoded ({reason})") from error
    with container:
        if not container.streams.audio:
            raise AudioError(f"{name}: holds no sound, it has no audio track")
        track = container.streams.audio[0]
        rate, channels = track.rate, track.channels
        if not rate or not channels:
            raise AudioError(f"{name}: not a sound that can be decoded (no rate or channels in its header)")
        seconds = None
        if not exact:
            if track.duration is not None:
                seconds = float(track.duration * track.time_base)
            elif container.duration is not None:
                seconds = container.duration / 1e6
        frames = None if seconds is None else round(seconds * rate)
        size = max(1, BLOCK_SAMPLES // channels)

        def blocks(first: int, count: int | None) -> Iterator[NDArray[np.float32]]:
            held: list[NDArray[np.float32]] = []
            length = done = 0
            reason = ""
            origin = track.start_time or 0
            if first and not exact and track.codec_context.name in ("opus", "libopus"):
                origin = _first_time(av, handle)
            pieces = _av_pieces(av, container, track, first, exact, origin)
            while count is None or done + length < count:
                try:
                    piece = next(pieces, None)
                except (av.FFmpegError, OSError, ValueError) as error:
                    reason = str(getattr(error, "strerror", None) or error)
                    break
                if piece is None:
                    break
                if count is not None:
                    piece = piece[: count - done - length]
                held.append(piece)
                length += len(piece)
                if length >= size:
                    yield np.concatenate(held)
                    done, length, held = done + length, 0, []
            if length:
                yield np.concatenate(held)
                done += length
            if not reason and frames is not None:
                left = max(0, frames - first)
                if (left if count is None else min(count, left)) - done > rate // 5:
                    reason = "it is cut short"
            if reason:
                _damaged(name, reason, first + done, rate, done)

        yield Decoded(rate, channels, frames, blocks)


def _first_time(av: Any, handle: BinaryIO) -> int:
    """The timestamp of the first sample that a whole read gives.

    `start_time` leaves out what an Opus decoder skips: in mp4, and in webm before FFmpeg 8 (PyAV 18).
    """
    place = handle.tell()  # the open container resumes there
    handle.seek(0)
    try:
        with av.open(handle, metadata_errors="ignore") as container:
            frame = next(container.decode(audio=0), None)
            return 0 if frame is None else frame.pts or 0
    except (av.FFmpegError, OSError, ValueError):
        return 0
    finally:
        handle.seek(place)


def _av_pieces(
    av: Any, container: Any, track: Any, first: int, exact: bool, origin: int
) -> Iterator[NDArray[np.float32]]:
    """Decoded pieces (frames, channels) from frame `first` on, to within the container's clock (webm: 1 ms)."""
    rate = track.rate
    to_float = av.AudioResampler(format="fltp", layout=track.layout, rate=rate)
    at: int | None = 0  # the frame that the next piece begins at; None = take its timestamp
    # Some codecs use earlier packets: start a quarter of a second early. Seeking to 0 also rewinds a container
    # that was read before.
    target = 0 if exact else max(0, first - rate // 4)
    container.seek(origin + int(target / rate / track.time_base), stream=track)
    if target:
        at = None
    for frame in container.decode(track):
        if at is None:
            at = 0 if frame.pts is None else round(float((frame.pts - origin) * frame.time_base) * rate)
        for piece in to_float.resample(frame):
            x = piece.to_ndarray().T
            if at + len(x) > first:
                yield np.ascontiguousarray(x[max(0, first - at) :], dtype=np.float32)
            at += len(x)
    with suppress(av.FFmpegError):
        for piece in to_float.resample(None):
            yield np.ascontiguousarray(piece.to_ndarray().T, dtype=np.float32)
