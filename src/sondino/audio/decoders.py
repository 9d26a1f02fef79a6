"""Open a file with the decoder that reads it: libsndfile first, PyAV for what it cannot open.

Headers are not believed: what a file holds is read (`wav`, `aiff`, `links`, `mpeg`).
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from sondino.audio import sndfile
from sondino.audio.crashes import marked
from sondino.audio.decoded import BLOCK_SAMPLES, Decoded, FilePart, Section, Source, check_file_rate, source_name
from sondino.audio.fragment import why_no_stretch
from sondino.audio.links import find_links, joined
from sondino.audio.mpeg import mpeg_frames, mpeg_held
from sondino.audio.pyav import has_av, open_av
from sondino.audio.sizes import corrected_file, flac_held
from sondino.audio.walk import GONE, why_unusable
from sondino.audio.wav import (
    FLOAT,
    FOLLOW,
    PCM,
    WavSound,
    byte_order,
    is_wav,
    wav_format,
    wav_header,
    wav_samples,
    wav_sounds,
)
from sondino.errors import AudioError, MissingExtra, SondinoError
from sondino.text import first_line, format_error

FREED_BYTES = 8 << 20  # more than windows and blocks of samples usually have
MPEG_SLACK = 4 * 1152  # samples of the tag's own frame, encoder delay and padding, which no decoder gives


@contextmanager
def open_sound(source: Source) -> Iterator[Decoded]:
    """Open an audio file.

    Raises:
        AudioError: missing, unreadable, empty, or no decoder can read it; also where a disk or a store fails.
        MissingExtra: a container that only PyAV reads, and the `av` extra is not installed.
    """
    if isinstance(source, FilePart):
        with source.opened() as opened, _opened(opened, source.name) as sound:
            yield sound
        return
    with _opened(source, source_name(source)) as sound:
        yield sound


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next block of samples; another C library ignores this.

    Large blocks are given back to the system and taken again, page by page: a sixth of the time to embed a WAV of 10 s.
    Once a larger block was freed they are not (malloc(3), M_MMAP_THRESHOLD). This one is never written to.
    """
    np.empty(FREED_BYTES, np.uint8)


@contextmanager
def _opened(source: str | os.PathLike[str] | BinaryIO, name: str) -> Iterator[Decoded]:
    _keep_freed_memory()
    path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    handle, owned = _open_binary(source, name)
    try:
        with marked(path), ExitStack() as stack:
            sound = _open_decoder(stack, handle, path, name)
            check_file_rate(name, sound.rate)
            yield replace(sound, blocks=lambda *part: _blocks(sound, name, *part))
    finally:
        if owned:
            handle.close()


def _open_decoder(stack: ExitStack, handle: BinaryIO, path: str | None, name: str) -> Decoded:
    """The decoder of an open file; whatever fails in it is this file's AudioError, but for a missing extra."""
    try:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(0)
        head = handle.read(4096)
        if not head:
            raise AudioError(f"{name}: holds no sound, the file is empty")
        open_file = _open_wav if is_wav(head) else _open_links
        return open_file(stack, handle, path, name, size)
    except (SondinoError, Warning):
        raise
    except OSError as error:  # of a disk that fails, or of a store
        raise AudioError(f"{name}: cannot be read ({error.strerror or first_line(error)})") from error
    except Exception as error:
        raise AudioError(f"{name}: not a sound that can be decoded ({format_error(error)})") from error


def _blocks(sound: Decoded, name: str, first: int, count: int | None) -> Iterator[NDArray[np.float32]]:
    """The blocks of a sound, at most `count` frames."""
    try:
        yield from sound.blocks(first, count)
    except (SondinoError, Warning):
        raise
    except Exception as error:
        raise AudioError(f"{name}: no sound can be decoded ({format_error(error)})") from error


def _open_binary(source: str | os.PathLike[str] | BinaryIO, name: str) -> tuple[BinaryIO, bool]:
    """The source as a seekable binary file, and whether it is ours to close."""
    if isinstance(source, (str, os.PathLike)):
        reason = why_unusable(source)
        if reason and reason != GONE:
            raise AudioError(f"{name}: {reason}")
        try:
            return Path(source).open("rb"), True
        except (FileNotFoundError, ValueError) as error:  # ValueError: a NUL in the name
            raise AudioError(f"{name}: {why_no_stretch(str(source)) or 'no such file; check the path'}") from error
        except OSError as error:
            raise AudioError(f"{name}: cannot be read ({error.strerror}); check its permissions") from error
    try:
        if source.seekable():
            source.seek(0)
            return source, False
        return io.BytesIO(source.read()), True
    except (OSError, AttributeError, ValueError) as error:
        raise AudioError(f"{name}: not a file open for reading in binary ({error})") from error


def _open_wav(stack: ExitStack, handle: BinaryIO, path: str | None, name: str, size: int) -> Decoded:
    sounds = wav_sounds(handle, size)
    held = [sound for sound in sounds if sound.stop > sound.start]
    if sounds and not held:
        layout = sounds[0].format
        return Decoded(layout.rate, layout.channels, 0, lambda *_: iter(()))
    if not sounds:
        return _open_one(stack, handle, path, name)
    if len(sounds) == 1 and sounds[0].as_declared:
        # NumPy reads plain samples several times as fast as libsndfile.
        return _plain_wav(handle, sounds[0], name) or _open_one(stack, handle, path, name)
    for sound in sounds:
        check_file_rate(name, sound.format.rate)
        if sound.note:
            warnings.warn(f"{name}: {sound.note}", stacklevel=4)
    if len(sounds) > 1:
        warnings.warn(f"{name}: {FOLLOW.format(count=len(sounds))}", stacklevel=4)
    return joined([_open_one(stack, _corrected_wav(handle, sound), None, name, cut=sound.cut) for sound in held])


def _plain_wav(handle: BinaryIO, sound: WavSound, name: str) -> Decoded | None:
    """A WAV of plain samples, read by NumPy; None where it holds something else."""
    layout, kind = sound.format, sound.format.sample_format
    if kind is None or layout.channels < 1 or layout.bits != 8 * layout.width or sound.cut:
        return None
    frames = (sound.stop - sound.start) // layout.frame

    def blocks(first: int, count: int | None) -> Iterator[NDArray[np.float32]]:
        left = max(0, frames - first)
        left = left if count is None else min(count, left)
        size = max(1, BLOCK_SAMPLES // layout.channels)
        at = sound.start + first * layout.frame
        while left > 0:
            try:
                handle.seek(at)
                data, reason = handle.read(min(size, left) * layout.frame), "it is cut short"
            except OSError as error:  # of a disk that fails in the middle
                data, reason = b"", format_error(error)
            whole = len(data) - len(data) % layout.frame
            if not whole:  # or the file became shorter
                end = (at - sound.start) // layout.frame
                sndfile.damaged(name, reason, end, layout.rate, end - first)
                return
            yield wav_samples(data[:whole], kind, layout.channels, layout.order)
            at += whole
            left -= whole // layout.frame

    return Decoded(layout.rate, layout.channels, frames, blocks, layout.codec == FLOAT)


def _corrected_wav(handle: BinaryIO, sound: WavSound) -> BinaryIO:
    header = wav_header(sound.format, sound.stop - sound.start)
    return Section(handle, [header, (sound.start, sound.stop)])  # type: ignore[return-value]


def _open_links(stack: ExitStack, handle: BinaryIO, path: str | None, name: str, size: int) -> Decoded:
    handle.seek(0)
    head = handle.read(4)
    links = find_links(handle)
    if len(links) > 1 and head != b"OggS":  # a chain is what Ogg calls it, and valid
        warnings.warn(f"{name}: {FOLLOW.format(count=len(links))}", stacklevel=4)
    sounds = []
    for start, stop in links:
        link: BinaryIO = handle if len(links) == 1 else Section(handle, [(start, stop)])  # type: ignore[assignment]
        corrected = corrected_file(link, stop - start)
        if corrected is not None:
            warnings.warn(f"{name}: {corrected.note}", stacklevel=4)
            link = corrected.file  # type: ignore[assignment]
        sounds.append(_open_one(stack, link, path if link is handle else None, name))
    return sounds[0] if len(sounds) == 1 else joined(sounds)


def _open_one(stack: ExitStack, handle: BinaryIO, path: str | None, name: str, cut: bool = False) -> Decoded:
    """Open one sound: by libsndfile from its path where there is one, which is faster than from an open file."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(0)
    head = handle.read(4096)

    def open_again() -> soundfile.SoundFile:
        # An open file has a place of its own for each reader of it.
        file = Section(handle, [(0, size)]) if path is None else path
        return stack.enter_context(soundfile.SoundFile(file))

    hidden = 0  # frames of an MPEG stream that libsndfile would not reach
    try:
        sound = open_again()
    except sndfile.SOUNDFILE_ERRORS as error:
        reason = sndfile.reason_of(error)
    else:
        handle.seek(0)
        counted = mpeg_frames(handle) if sound.subtype.startswith("MPEG") else None  # WAV may hold it
        short = cut or (sndfile.ogg_cut(handle) if sound.format == "OGG" else sndfile.header_cut(sound.extra_info))
        if counted is not None:
            hidden = counted - sound.frames
        if hidden <= MPEG_SLACK or not has_av():
            if hidden > MPEG_SLACK:
                seconds = hidden / sound.samplerate
                warnings.warn(
                    f"{name}: its header leaves out {seconds:.1f} s at the end, which are not read; "
                    "pip install 'sondino[av]' to read them",
                    stacklevel=4,
                )
            frames = sound.frames if counted is None else min(sound.frames, counted)
            held = flac_held(handle) if sound.format == "FLAC" else None
            if counted is None and sound.format == "MP3":
                held = mpeg_held(handle)
            return replace(sndfile.decoded(sound, name, frames, short, open_again), held=held)
    if not hidden and not has_av():
        if _is_container(head):
            raise MissingExtra(f"{name}: libsndfile cannot read it ({reason}), but PyAV may: pip install 'sondino[av]'")
        raise AudioError(f"{name}: not a sound that can be decoded ({reason})")
    return stack.enter_context(open_av(handle, name))


def _is_container(head: bytes) -> bool:
    """Whether the first bytes are those of a container that PyAV reads, of a codec that libsndfile may not have."""
    return (
        head[4:8] == b"ftyp"  # mp4, m4a, mov, 3gp
        or head[:4] == b"\x1aE\xdf\xa3"  # webm, matroska
        or head[:2] == b"\x0bw"  # ac3
        or head[:4] == b"0&\xb2u"  # asf, wma
        or head[:5] == b"#!AMR"
        or head[:4] in (b"OggS", b"caff", b"fLaC", b"FORM", b".snd", b"wvpk", b"TTA1", b"MAC ", b"FLV\1")
        or (head[:4] in (b"RIFF", b"RIFX") and (head[8:12] == b"AVI " or _is_compressed(head)))
        or (len(head) > 376 and head[0] == head[188] == head[376] == 0x47)  # mpeg-ts
        or (head[0] == 0xFF and len(head) > 1 and head[1] & 0xF6 == 0xF0)  # aac in adts
    )


def _is_compressed(head: bytes) -> bool:
    """Whether a WAV's header names a codec that is not plain samples."""
    at = head.find(b"fmt ")
    layout = wav_format(head[at + 8 : at + 48], byte_order(head[:4])) if at > 0 else None
    return layout is not None and layout.codec not in (PCM, FLOAT) and layout.rate > 0 and layout.channels > 0
