"""Decoding by libsndfile: WAV, FLAC, Ogg, Opus, MP3, AIFF, AU, CAF and more."""

import os
import re
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from sondino.audio.decoded import BLOCK_SAMPLES, Decoded
from sondino.errors import AudioError

UNKNOWN_FRAMES = 1 << 62  # libsndfile's stand-in for a length that the header leaves open
STREAM_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF}  # data sizes written where the length was not known
MPEG_PREROLL = 10 * 1152  # samples of an mp3 decoded before the requested ones: up to 4,161 are wrong after a seek
VORBIS_END = 2  # seconds before the end of an Ogg Vorbis file where libsndfile's seek is up to 111 samples off
SOUNDFILE_ERRORS = (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError)

Reopen = Callable[[], soundfile.SoundFile]


def reason_of(error: Exception) -> str:
    """What libsndfile says, without the file's name."""
    return str(error).rpartition(": ")[2].strip(" .")


def decoded(sound: soundfile.SoundFile, name: str, claimed: int, short: bool, reopen: Reopen) -> Decoded:
    """An open file of libsndfile.

    Args:
        sound: it.
        name: in messages.
        claimed: its length in frames, of the header or counted.
        short: its header reports a file that is cut short.
        reopen: opens it once more, for formats that cannot seek back.
    """
    frames = claimed if 0 <= claimed < UNKNOWN_FRAMES else None
    channels = sound.channels
    size = max(1, BLOCK_SAMPLES // channels)
    used = False

    def blocks(first: int, count: int | None) -> Iterator[NDArray[np.float32]]:
        nonlocal used
        wanted = count
        if frames is not None:
            left = max(0, frames - first)
            wanted = left if count is None else min(count, left)
            if not left and first:
                return
        reason = "it is cut short" if short and (count is None or wanted != count) else ""
        done = 0
        opened = _at(sound, first, used, reopen, frames)
        used = True
        while wanted is None or done < wanted:
            room = size if wanted is None else min(size, wanted - done)
            out = np.full((room, channels), np.nan, np.float32)
            try:
                block = opened.read(out=out)
            except SOUNDFILE_ERRORS as error:
                # The decoder failed; what it wrote before is in `out`, the rest of it is still NaN.
                block = out[: int(np.argmax(np.isnan(out[:, 0]))) if np.isnan(out[-1, 0]) else room]
                if frames is not None:  # without a length in the header, this is how the end looks
                    reason = reason_of(error)
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
            and wanted - done > max(2 * 1152, opened.samplerate // 20)
        ):
            reason = "it is cut short"
        if reason:
            damaged(name, reason, first + done, opened.samplerate, done)

    return Decoded(sound.samplerate, channels, frames, blocks, sound.subtype in ("FLOAT", "DOUBLE"))


def _at(sound: soundfile.SoundFile, first: int, used: bool, reopen: Reopen, frames: int | None) -> soundfile.SoundFile:
    """The file where frame `first` is read next: by seeking, or by decoding what comes before where it cannot seek."""
    # soundfile seeks to its own position after every read of a seekable file. That is slow, and breaks an mp3: its
    # frames depend on earlier ones, which the decoder drops.
    sound.seekable = lambda: False
    preroll = min(first, MPEG_PREROLL) if sound.format == "MP3" else 0
    if sound.subtype == "VORBIS" and frames is not None and frames - first < VORBIS_END * sound.samplerate:
        preroll = min(first, VORBIS_END * sound.samplerate)
    try:
        sound.seek(first - preroll)  # even to frame 0: the file may have been read before
    except SOUNDFILE_ERRORS:
        # GSM 6.10, G.721: no seeking.
        if used or first:
            sound = reopen()
            sound.seekable = lambda: False
        preroll = first
    while preroll > 0:
        piece = sound.read(out=np.empty((min(preroll, BLOCK_SAMPLES), sound.channels), np.float32))
        if len(piece) == 0:
            break
        preroll -= len(piece)
    return sound


def header_cut(log: str) -> bool:
    """Whether libsndfile's log of the header reports a file shorter than it should be."""
    sizes = re.findall(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", log)
    return any(int(size) > int(real) and int(size) not in STREAM_SIZES for size, real in sizes)


def ogg_cut(handle: BinaryIO) -> bool:
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


def damaged(name: str, reason: str, end: int, rate: int, done: int) -> None:
    """Warn of a file that could be decoded in part; AudioError where nothing could."""
    if done == 0:
        raise AudioError(f"{name}: no sound can be decoded ({reason})")
    warnings.warn(f"{name}: truncated or damaged ({reason}); read up to {end / rate:.2f} s", stacklevel=3)
