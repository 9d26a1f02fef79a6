"""Decoding by PyAV (FFmpeg), the extra `av`: what libsndfile cannot open."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from sondino.audio.decoded import BLOCK_SAMPLES, Decoded, Section
from sondino.audio.sndfile import damaged
from sondino.errors import AudioError, MissingExtra, require

TIMED = ("mov", "matroska")  # containers whose every packet has a time, so that a seek ends at a known sample
SEEKING = ("opus", "libopus", "aac", "mp3", "mp3float", "flac", "alac")
"""Codecs that give after a seek what they give in a whole read, to within noise that AAC fills gaps with. Their frames
have one length, so that their place is known where the container's clock is coarse."""


def has_av() -> bool:
    """Whether the extra is installed."""
    try:
        require("av", "av")
    except MissingExtra:
        return False
    return True


@contextmanager
def open_av(handle: BinaryIO, name: str) -> Iterator[Decoded]:
    """Open a file with PyAV.

    Args:
        handle: binary file; its position is moved.
        name: in messages.

    Raises:
        AudioError: FFmpeg cannot read it, or it has no audio track.
    """
    av = cast(Any, require("av", "av"))
    with _container(av, handle, name) as container:
        if not container.streams.audio:
            raise AudioError(f"{name}: holds no sound, it has no audio track")
        track = container.streams.audio[0]
        rate, channels = (getattr(track, fact, None) for fact in ("rate", "channels"))  # unset without a decoder
        if not rate or not channels:
            raise AudioError(f"{name}: not a sound that can be decoded (no rate or channels, or an unknown codec)")
        form = container.format.name
        frames = expected = None
        # Elsewhere FFmpeg guesses a length from the bit rate.
        if form.startswith("mov") and track.duration is not None:
            frames = expected = round(float(track.duration * track.time_base) * rate)
        # The length of the whole file, to within a codec's frame; with a picture, it may be the picture's.
        elif form.startswith(("matroska", "asf")) and container.duration and len(container.streams) == 1:
            expected = round(container.duration / 1e6 * rate)
        codec = track.codec_context.name if track.codec_context else ""
        seeks = form.startswith(TIMED) and (codec in SEEKING or codec.startswith("pcm_"))
        floats = codec.startswith("pcm_f")

    def blocks(first: int, count: int | None) -> Iterator[NDArray[np.float32]]:
        wanted = count
        if frames is not None:
            left = max(0, frames - first)
            wanted = left if count is None else min(count, left)
        done = 0
        reason = ""
        try:
            for piece in _collected(_samples(av, handle, name, first, seeks), wanted, channels):
                yield piece
                done += len(piece)
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = str(getattr(error, "strerror", None) or error)
        if not reason and expected is not None:
            left = max(0, expected - first)
            if (left if count is None else min(count, left)) - done > rate // 5:
                reason = "it is cut short"
        if reason:
            damaged(name, reason, first + done, rate, done)

    yield Decoded(rate, channels, frames, blocks, floats)


@contextmanager
def _container(av: Any, handle: BinaryIO, name: str) -> Iterator[Any]:
    # A section takes any place that a damaged file asks for: PyAV prints the traceback of a failed seek.
    file = Section(handle, [(0, handle.seek(0, os.SEEK_END))])
    try:
        container = av.open(file, metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: not a sound that can be decoded ({reason})") from error
    for track in container.streams.audio:
        # PyAV 18 may end the process where speakers stand in an order of the file's own. Which speaker a channel is for
        # does not matter here.
        if track.codec_context is None:  # no decoder of its codec
            continue
        layout = track.codec_context.layout.name
        if " (" in layout:
            track.codec_context.layout = layout.partition(" (")[0]
    with container:
        yield container


def _collected(
    pieces: Iterator[NDArray[np.float32]], wanted: int | None, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Pieces put together to blocks, `wanted` frames at most; what came before an error is given first."""
    size = max(1, BLOCK_SAMPLES // channels)
    held: list[NDArray[np.float32]] = []
    length = done = 0
    failed: Exception | None = None
    while wanted is None or done + length < wanted:
        try:
            piece = next(pieces, None)
        except Exception as error:  # raised below
            failed = error
            break
        if piece is None:
            break
        if wanted is not None:
            piece = piece[: wanted - done - length]
        held.append(piece)
        length += len(piece)
        if length >= size:
            yield np.concatenate(held)
            done, length, held = done + length, 0, []
    if length:
        yield np.concatenate(held)
    if failed is not None:
        raise failed


def _samples(av: Any, handle: BinaryIO, name: str, first: int, seeks: bool) -> Iterator[NDArray[np.float32]]:
    """Decoded pieces (frames, channels) from frame `first` on.

    A frame is counted from the first sample that is decoded, not from time 0: some containers begin later, or before.
    """
    # A file opened afresh: seeking to 0 leaves out the first packet where it has a time before 0.
    with _container(av, handle, name) as container:
        track = container.streams.audio[0]
        to_float = av.AudioResampler(format="flt", layout=track.codec_context.layout, rate=track.rate)
        decoded = container.decode(track)
        at = 0
        early = track.rate // 4  # some codecs use earlier packets
        if seeks and first > 4 * early:
            opening = next(decoded, None)
            if opening is None:
                return
            origin, length = opening.pts or 0, opening.samples
            container.seek(origin + int((first - early) / track.rate / track.time_base), stream=track)
            decoded = container.decode(track)
            found = next(decoded, None)
            even = track.codec_context.name in SEEKING
            place = None if found is None or found.pts is None else _place(found, origin, length, even)
            if place is None or place > first:
                yield from _samples(av, handle, name, first, False)
                return
            at = place
            decoded = _with(found, decoded)
        for frame in decoded:
            for piece in to_float.resample(frame):
                # Packed samples: PyAV gives one plane, however many channels there are.
                x = np.asarray(piece.to_ndarray(), np.float32).reshape(-1, len(piece.layout.channels))
                if at + len(x) > first:
                    yield x[max(0, first - at) :]
                at += len(x)
        with suppress(av.FFmpegError):
            for piece in to_float.resample(None):
                yield np.asarray(piece.to_ndarray(), np.float32).reshape(-1, len(piece.layout.channels))


def _with(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _place(frame: Any, origin: int, length: int, even: bool) -> int | None:
    """The sample that a frame begins at; None where its time is too coarse to say.

    Args:
        frame: decoded after a seek.
        origin: time of the first frame of the file.
        length: samples of that frame.
        even: frames have one length, all but the first, which may lack what a decoder skips.
    """
    tick = float(frame.time_base) * frame.sample_rate  # samples
    near = (frame.pts - origin) * tick
    if tick <= 1:
        return round(near)
    if not even:
        return None
    size = frame.samples
    place = length + round((near - length) / size) * size
    return place if abs(place - near) <= 1.5 * tick < size / 2 else None
