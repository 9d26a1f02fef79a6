"""Download one file: resumed after an interruption, and verified against the published size and checksum."""

import hashlib
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
        what: what it is, for messages, such as "the weights of matpac".
        url: where it is published.
        by_hand: what to do if it cannot be fetched, an imperative.
        checksum: "sha256:..." or "md5:..."; "" if none is published.
        size: bytes; None if not known.
        bounded: whether the server must state a size where none is known: a live stream has none, and no end.
    """

    what: str
    url: str
    by_hand: str
    checksum: str = ""
    size: int | None = None
    bounded: bool = False


def download(remote: Remote, target: Path, progress: Bytes | None = None) -> None:
    """Fetch a file to `target`, unless it exists. `verify` checks its size and checksum.

    Until it is complete it is a .part file beside `target`, which a later call resumes.

    Args:
        remote: what to fetch.
        target: where to put it; its folder exists.
        progress: called with (bytes so far, bytes in all or None).

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
            raise _cannot(remote, f"the connection broke after {have} of {total} bytes; the same command resumes there")
    part.replace(target)


def verify(remote: Remote, file: Path, progress: Bytes | None = None) -> None:
    """Check a fetched file's size and checksum against the published ones; a file that fails is deleted.

    Raises:
        SondinoError: size or checksum differ.
    """
    fault = _fault(remote, file, progress)
    if fault:
        file.unlink()
        raise SondinoError(f"{remote.url} gave a file of {fault}, and it was deleted: try again, or {remote.by_hand}")


def _fill(remote: Remote, part: Path, have: int, progress: Bytes | None) -> tuple[int, int | None]:
    """Fetch what is still missing; returns the bytes that there are now, and the bytes expected."""
    import http.client
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
        if total is None and remote.bounded:
            raise _cannot(remote, "the server does not state its size, as of a live stream")
        with part.open("ab" if goes_on else "wb") as file:
            for block in _blocks(remote, answer):
                file.write(block)
                have += len(block)
                if remote.size is not None and have > remote.size:
                    break  # not the expected file, and perhaps endless
                if progress:
                    progress(have, total)
            file.flush()
            os.fsync(file.fileno())
    return have, total


def _blocks(remote: Remote, answer: Any) -> Iterator[bytes]:
    """The body of the response. If the server sent its length, a broken connection merely ends it."""
    import http.client

    try:
        while block := answer.read(BLOCK):
            yield block
    except http.client.IncompleteRead as error:
        raise _cannot(remote, "the connection broke; the same command resumes there") from error
    except TimeoutError as error:
        raise _cannot(remote, f"no answer for {TIMEOUT:.0f} s; the same command resumes there") from error
    except OSError as error:
        raise _cannot(remote, f"{error.strerror or error}; the same command resumes there") from error


def _fault(remote: Remote, file: Path, progress: Bytes | None) -> str:
    """How a file differs from the published one, such as "md5 1234, not 5678"; "" if it does not."""
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
