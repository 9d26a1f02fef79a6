"""Fetching one file: it goes on after a break, and is checked against what is published."""

import hashlib
import http.client
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sondino.errors import SondinoError
from sondino.version import __version__

BLOCK = 1 << 20
TIMEOUT = 30.0  # seconds without an answer

Bytes = Callable[[int, int | None], None]
"""Called with (bytes so far, bytes in all or None)."""


@dataclass(frozen=True)
class Remote:
    """A file somewhere else.

    Attributes:
        what: it is, for messages, such as "the weights of matpac".
        url: where it is published.
        by_hand: what to do where it cannot be fetched, an imperative.
        checksum: "sha256:..." or "md5:..."; "" where none is published.
        size: bytes; None where not known.
    """

    what: str
    url: str
    by_hand: str
    checksum: str = ""
    size: int | None = None


def download(remote: Remote, target: Path, progress: Bytes | None = None) -> None:
    """Fetch a file to `target`, where it is not there yet. `verify` says whether it is the one that was meant.

    Until it is whole it lies in a .part file beside, from whose end a later call goes on.

    Args:
        remote: what to fetch.
        target: where to put it; its folder exists.
        progress: told of the bytes that came.

    Raises:
        SondinoError: it cannot be fetched.
        OSError: it cannot be written.
    """
    if target.exists():
        return
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    if remote.size is not None and have > remote.size:
        have = 0
    if have == 0 or have != remote.size:
        have, total = _fill(remote, part, have, progress)
        if total is not None and have < total:
            raise _cannot(
                remote, f"the connection broke after {have} of {total} bytes; the same command goes on from there"
            )
    part.replace(target)


def verify(remote: Remote, file: Path, progress: Bytes | None = None) -> None:
    """Delete a file that was fetched where its size or checksum is not what is published, and say so.

    Raises:
        SondinoError: it is not the file that was meant.
    """
    fault = _fault(remote, file, progress)
    if fault:
        file.unlink()
        raise SondinoError(f"{remote.url} gave a file of {fault}, and it was deleted: try again, or {remote.by_hand}")


def _fill(remote: Remote, part: Path, have: int, progress: Bytes | None) -> tuple[int, int | None]:
    """Fetch what is still missing; how many bytes there are then, and how many there should be."""
    import urllib.error
    import urllib.request

    headers = {"User-Agent": f"sondino/{__version__}"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: another file lies there now
            part.unlink()
        raise _cannot(remote, f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _cannot(remote, str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _cannot(remote, str(error) or "no answer") from error
    with answer:
        goes_on = answer.status == 206  # a server without ranges sends it all again
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else remote.size
        if remote.size is not None and total != remote.size:
            raise _cannot(remote, f"the server has {total} bytes, and the file that is meant has {remote.size}")
        with part.open("ab" if goes_on else "wb") as file:
            for block in _blocks(remote, answer):
                file.write(block)
                have += len(block)
                if remote.size is not None and have > remote.size:
                    break  # not the file that was meant, and maybe without end
                if progress:
                    progress(have, total)
            file.flush()
            os.fsync(file.fileno())
    return have, total


def _blocks(remote: Remote, answer: Any) -> Iterator[bytes]:
    """What the server sends. Where it has said how long that is, a break is just an end."""
    try:
        while block := answer.read(BLOCK):
            yield block
    except http.client.IncompleteRead as error:
        raise _cannot(remote, "the connection broke; the same command goes on from there") from error
    except TimeoutError as error:
        raise _cannot(remote, f"no answer for {TIMEOUT:.0f} s; the same command goes on from there") from error
    except OSError as error:
        raise _cannot(remote, f"{error.strerror or error}; the same command goes on from there") from error


def _fault(remote: Remote, file: Path, progress: Bytes | None) -> str:
    """In what a file is not the one that was meant, such as "md5 1234, not 5678"; "" where it is."""
    size = file.stat().st_size
    if remote.size is not None and size != remote.size:
        return f"{size} bytes, not {remote.size}"
    if not remote.checksum:
        return ""
    kind, _, wanted = remote.checksum.partition(":")
    digest, done = hashlib.new(kind, usedforsecurity=False), 0
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            digest.update(block)
            done += len(block)
            if progress:
                progress(done, size)
    return "" if digest.hexdigest() == wanted else f"{kind} {digest.hexdigest()}, not {wanted}"


def _cannot(remote: Remote, reason: str) -> SondinoError:
    return SondinoError(f"cannot fetch {remote.what} ({reason}): {remote.by_hand}")
