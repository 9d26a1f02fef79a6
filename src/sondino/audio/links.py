"""Files that hold several sounds one after the other: chained Ogg; FLAC, AU, AIFF and MP3 put together."""

import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sondino.audio.decoded import Decoded, mapped, once_a_file
from sondino.audio.mpeg import frame_header, mpeg_starts
from sondino.audio.signal import resampled_blocks, to_mono
from sondino.audio.sizes import flac_is_whole

_Bytes = bytes | mmap.mmap
OGG_PAGE = 65307  # bytes of a page of Ogg, at most


@once_a_file
def find_links(handle: BinaryIO) -> list[tuple[int, int]]:
    """First and last byte + 1 of each sound of a file; one where there is one, or where its kind is another.

    Args:
        handle: binary file; its position is moved.
    """
    handle.seek(0)
    head = handle.read(4)
    finders: dict[bytes, Callable[[_Bytes], list[int]]] = {
        b"OggS": _ogg_starts, b"fLaC": _flac_starts, b".snd": _au_starts, b"FORM": _aiff_starts,
    }  # fmt: skip
    is_mpeg = head[:3] == b"ID3" or frame_header(head[:3])[1] > 0
    finder = mpeg_starts if is_mpeg else finders.get(head)
    if finder is None or (getattr(handle, "costly", False) and _is_one(handle, head)):
        return [(0, handle.seek(0, os.SEEK_END))]
    with mapped(handle) as data:
        starts, size = finder(data), len(data)
    return list(zip(starts, [*starts[1:], size], strict=True))


def _is_one(handle: BinaryIO, head: bytes) -> bool:
    """Whether a file of a store holds one sound, by its two ends: to search all of it would transfer all of it."""
    if head == b"fLaC":
        return flac_is_whole(handle)
    if head != b"OggS":
        return False
    size = handle.seek(0, os.SEEK_END)
    handle.seek(0)
    begin = handle.read(OGG_PAGE)
    handle.seek(max(0, size - 2 * OGG_PAGE))
    end = handle.read()
    streams, at = set(), 0
    while begin[at : at + 4] == b"OggS" and at + 27 <= len(begin) and begin[at + 5] & 2:  # the first pages of each
        streams.add(begin[at + 14 : at + 18])
        segments = begin[at + 27 : at + 27 + begin[at + 26]]
        at += 27 + len(segments) + sum(segments)
    last = end.rfind(b"OggS")
    return last >= 0 and end[last + 14 : last + 18] in streams


def _ogg_starts(data: _Bytes) -> list[int]:
    """Where a page begins a stream, unless it follows one that does: picture and sound begin together."""
    starts, at, behind = [0], 0, 0
    while at >= 0 and at + 27 <= len(data):
        if at > behind:
            starts.append(at)
        segments = data[at + 27 : at + 27 + data[at + 26]]
        behind = at + 27 + len(segments) + sum(segments)
        places = [data.find(b"OggS\0" + flags, behind) for flags in (b"\2", b"\6")]
        at = min((place for place in places if place >= 0), default=-1)
    return starts


def _flac_starts(data: _Bytes) -> list[int]:
    """Where a FLAC marker stands with a STREAMINFO block, which has 34 bytes."""
    starts, at = [0], 4
    while (at := data.find(b"fLaC", at)) >= 0:
        if data[at + 4 : at + 8] in (b"\0\0\0\x22", b"\x80\0\0\x22"):
            starts.append(at)
        at += 4
    return starts


def _au_starts(data: _Bytes) -> list[int]:
    starts = [0]
    while len(head := data[starts[-1] : starts[-1] + 12]) == 12:
        start, size = struct.unpack(">II", head[4:])
        at = starts[-1] + start + size
        if start < 24 or data[at : at + 4] != b".snd":
            break
        starts.append(at)
    return starts


def _aiff_starts(data: _Bytes) -> list[int]:
    starts = [0]
    while len(head := data[starts[-1] : starts[-1] + 8]) == 8:
        size = struct.unpack(">I", head[4:])[0]
        at = starts[-1] + 8 + size + size % 2
        if data[at : at + 4] != b"FORM" or data[at + 8 : at + 11] != b"AIF":
            break
        starts.append(at)
    return starts


def joined(sounds: Sequence[Decoded]) -> Decoded:
    """Several sounds as one, at the rate of the first; mono where their rates or channels differ."""
    rate, channels = sounds[0].rate, sounds[0].channels
    same_rate = all(sound.rate == rate for sound in sounds)
    mono = not same_rate or any(sound.channels != channels for sound in sounds)
    lengths = [sound.length for sound in sounds]
    known = same_rate and None not in lengths
    frames = sum(length for length in lengths if length is not None) if known else None

    def of(sound: Decoded, first: int) -> Iterator[NDArray[np.float32]]:
        if not mono:
            yield from sound.blocks(first, None)
            return
        for piece in resampled_blocks((to_mono(block) for block in sound.blocks(first, None)), sound.rate, rate):
            yield piece[:, None]

    def pieces(first: int) -> Iterator[NDArray[np.float32]]:
        """All from frame `first` on."""
        at = 0
        for sound in sounds:
            if same_rate and sound.length is not None:  # its place is known without decoding
                if first < at + sound.length:
                    yield from of(sound, max(0, first - at))
                at += sound.length
                continue
            for block in of(sound, 0):
                if at + len(block) > first:
                    yield block[max(0, first - at) :]
                at += len(block)

    def blocks(first: int, count: int | None) -> Iterator[NDArray[np.float32]]:
        left = count
        for piece in pieces(first):
            yield piece[:left]
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    return

    return Decoded(rate, 1 if mono else channels, frames, blocks, any(sound.floats for sound in sounds))
