"""Objects of S3, Google Cloud, the Hugging Face hub and web servers, through fsspec, in blocks of a stated size.

fsspec's own files read ahead: s3fs 50 MiB at the first byte. Here each read asks for whole blocks and nothing more, and
the length comes from the listing.
"""

import importlib.util
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from sondino.errors import AudioError, MissingExtra, OptionError, SondinoError, require
from sondino.text import first_line

HEADER_BLOCK, WINDOW_BLOCK, INDEX_BLOCK = 1 << 16, 1 << 20, 1 << 12
"""Bytes asked for at a time: to read a header, to read a window, to find the members of a tar."""
SMALL = 1 << 20
"""Objects of at most this many bytes are read whole, in one request."""
KEPT = 1 << 24
"""Bytes of blocks that are kept of an object, at most."""
READ_WHOLE = 1 << 26
"""Bytes of an object that is read whole from a web server which gives no parts, at most."""
AT_ONCE = 32
"""Requests at once, to ask for the sizes of objects."""
_EXTRAS = {"s3fs": "remote", "aiohttp": "remote", "fsspec": "remote", "huggingface_hub": "hub"}
_TAGS = ("ETag", "etag", "blob_id", "md5Hash", "Content-MD5", "Digest", "Last-Modified")
"""What stores call the mark that changes with an object's content, the first that is there."""
_LOGIN = (
    "Forbidden", "AccessDenied", "NoCredentials", "PartialCredentials", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "Unable to locate credentials", "ExpiredToken", "Unauthorized", "GatedRepo", "Anonymous caller", "credentials",
)  # fmt: skip
_ADVICE = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; for a public bucket FSSPEC_S3_ANON=true",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket FSSPEC_GS_TOKEN=anon",
    "hf": "set HF_TOKEN, and accept the data set's terms on its page",
}


@dataclass(frozen=True)
class Remote:
    """An object of a store.

    Attributes:
        url: its address.
        size: bytes; None: not known yet.
        identity: size and ETag; None: the store gives no ETag, or it is not known yet.
    """

    url: str
    size: int | None = None
    identity: str | None = None


def is_web(url: str) -> bool:
    """Whether a URL is one of a web server."""
    return url.startswith(("http://", "https://"))


# --- the store ----------------------------------------------------------------------------------------------------


def open_store(url: str) -> Any:
    """The fsspec file system of a URL.

    Raises:
        MissingExtra: its package is not installed.
        OptionError: fsspec knows no such store.
    """
    fsspec = require("fsspec", "remote")
    protocol = url.partition("://")[0]
    known = require("fsspec.registry", "remote").known_implementations.get(protocol, {}).get("class", "")
    package = "aiohttp" if protocol in ("http", "https") else known.partition(".")[0]
    if package and importlib.util.find_spec(package) is None:
        if package in _EXTRAS:
            require(package, _EXTRAS[package])
        raise MissingExtra(f"{package} is not installed, which reads {protocol}://: pip install {package}")
    try:
        return fsspec.filesystem(protocol)
    except ValueError as error:
        raise OptionError(
            f"{url}: fsspec knows no store {protocol}:// ({first_line(error)}): give s3://, gs://, hf:// or https://"
        ) from error


def find_objects(url: str) -> list[Remote]:
    """Every object below a URL, or the one that it is, sorted by address, with sizes and ETags.

    Raises:
        AudioError: there is nothing there, or the store cannot be reached or refuses.
        MissingExtra: its package is not installed.
    """
    store = open_store(url)
    web = is_web(url)
    try:
        store.invalidate_cache()
        found = store.find(url, detail=True)
        if web and not found:
            store.info(url)  # `find` keeps what went wrong to itself
    except Exception as error:  # each store has errors of its own
        raise store_error(url, error) from error
    protocol = url.partition("://")[0]
    remotes = []
    for name, facts in found.items():
        address = name if web else f"{protocol}://{store._strip_protocol(name).lstrip('/')}"
        if facts.get("type") == "directory" or address.endswith("/"):
            continue
        remotes.append(_described(address, facts))
    if web:
        # A server's page of links may have others: of sorting, of the folder above.
        inside = urlsplit(url).path.rstrip("/") + "/"
        remotes = [one for one in remotes if one.url == url or urlsplit(one.url).path.startswith(inside)]
        remotes = [one for one in remotes if not urlsplit(one.url).query or one.url == url]
    if not remotes:
        raise AudioError(f"{url}: there is nothing below this address: check the bucket and the folder's name")
    return sorted(remotes, key=lambda one: one.url)


def describe(urls: Sequence[str]) -> list[Remote | str]:
    """Size and ETag of each URL, or the reason why they cannot be had; many are asked for at once."""

    def attempt(url: str) -> Remote | str:
        try:
            return _described(url, open_store(url).info(url))
        except (MissingExtra, OptionError):
            raise
        except Exception as error:
            absent = isinstance(_first_cause(error), FileNotFoundError)
            return "there is no such file" if absent else str(store_error(url, error))

    for store in {url.partition("://")[0]: url for url in urls}.values():
        open_store(store).invalidate_cache()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(attempt, urls))


def _described(url: str, facts: dict[str, Any]) -> Remote:
    size = facts.get("size")
    tag = next((facts[name] for name in _TAGS if facts.get(name)), None)
    if isinstance(facts.get("lfs"), dict):
        tag = facts["lfs"].get("sha256") or tag
    known = size is not None and tag is not None
    return Remote(url, None if size is None else int(size), f"{size} {tag}" if known else None)


def name_in(url: str, remote: str) -> str:
    """An object's name below a URL, as a local file would have it."""
    name = remote.removeprefix(url.rstrip("/") + "/")
    return unquote(name) if is_web(url) else name


def store_error(url: str, error: BaseException) -> SondinoError:
    """What went wrong at a store, as a message that names the address and what to do."""
    if isinstance(error, SondinoError):
        return error
    error = _first_cause(error)
    protocol = url.partition("://")[0]
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = f"{type(error).__name__}: {first_line(error)}"
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, FileNotFoundError) or status == 404 or "NoSuchBucket" in text:
        return AudioError(f"{url}: there is no such bucket, folder or file: check the address ({first_line(error)})")
    if isinstance(error, PermissionError) or status in (401, 403) or any(word in text for word in _LOGIN):
        advice = _ADVICE.get(protocol, "check the address and the login")
        return AudioError(f"{url}: the store refuses access ({first_line(error)}): {advice}")
    if isinstance(error, (ConnectionError, TimeoutError)) or kinds & {
        "ClientConnectionError", "EndpointConnectionError", "HTTPClientError", "TransportError", "ConnectError",
    }:  # fmt: skip
        return AudioError(
            f"{url}: the store cannot be reached ({first_line(error)}): check the address and the network"
            + (", and AWS_ENDPOINT_URL" if protocol == "s3" else "")
        )
    return AudioError(f"{url}: cannot be read ({text}): try again, or copy it to this machine")


def _first_cause(error: BaseException) -> BaseException:
    """Fsspec says of a web server that is down, or refuses, that the file is not there; what lies behind it."""
    cause = error.__cause__
    absent = cause is None or getattr(cause, "status", None) == 404
    return error if absent or not isinstance(error, FileNotFoundError) or cause is None else cause


# --- an object ----------------------------------------------------------------------------------------------------


def read_span(remote: Remote, start: int, stop: int) -> bytes:
    """Bytes of an object, from `start` to before `stop`, by one request.

    Raises:
        AudioError: they cannot be had.
        FileNotFoundError: the object is not there.
    """
    try:
        return _span(remote, start, stop)
    except _NoParts:
        return _read_whole(remote)[start:stop]


class _NoParts(Exception):
    """A web server that gives whole files only."""


def _span(remote: Remote, start: int, stop: int) -> bytes:
    if start >= stop:
        return b""
    store = open_store(remote.url)
    web = is_web(remote.url)
    try:
        if getattr(store, "async_impl", False) and not web:
            return bytes(store.cat_file(remote.url, start=start, end=stop))
        if web:
            remote = sized(remote)
            if start == 0 and stop == remote.size:
                return bytes(store.cat_file(remote.url))
        given = {"size": remote.size} if web else {}
        with store.open(remote.url, "rb", block_size=WINDOW_BLOCK, cache_type="none", **given) as opened:
            opened.seek(start)
            return bytes(opened.read(stop - start))
    except FileNotFoundError:
        raise
    except ValueError as error:
        if web and "range" in str(error):
            raise _NoParts from error
        raise store_error(remote.url, error) from error
    except Exception as error:  # each store has errors of its own
        raise store_error(remote.url, error) from error


def _read_whole(remote: Remote) -> bytes:
    remote = sized(remote)
    if remote.size is None or remote.size > READ_WHOLE:
        raise AudioError(f"{remote.url}: its server gives whole files only: copy it to this machine")
    try:
        return bytes(open_store(remote.url).cat_file(remote.url))
    except Exception as error:
        raise store_error(remote.url, error) from error


def sized(remote: Remote) -> Remote:
    """An object with its size, which is asked for where it is not known."""
    if remote.size is not None:
        return remote
    found = describe([remote.url])[0]
    if isinstance(found, str):
        raise FileNotFoundError(remote.url) if found == "there is no such file" else AudioError(found)
    if found.size is None:
        return replace(found, size=len(open_store(remote.url).cat_file(remote.url)))  # a server that states no length
    return found


class Blocks:
    """The last few blocks of an object, or of some bytes of one, for all that read it; safe in threads."""

    def __init__(
        self, remote: Remote, block: int, offset: int = 0, length: int | None = None, small: int = SMALL
    ) -> None:
        """Ask for nothing yet but an unknown size.

        Args:
            remote: the object.
            block: bytes asked for at a time.
            offset: first byte.
            length: bytes; None: to the object's end.
            small: so many bytes and fewer are asked for at once.
        """
        if length is None:
            remote = sized(remote)
        self.remote, self.offset = remote, offset
        self.size = max(0, (remote.size or 0) - offset) if length is None else length
        self._block = max(1, self.size) if self.size <= small else block
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._most = max(4, KEPT // self._block)
        self._all: bytes | None = None
        self._lock = threading.Lock()

    def read(self, start: int, stop: int) -> bytes:
        """Bytes from `start` to before `stop`, of which as few as can be are asked for."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        with self._lock:
            if self._all is None and start == 0 and stop == self.size > self._block:
                self._all = self._fetch(0, self.size)  # readers that need all need it more than once
            return self._blocks_of(start, stop) if self._all is None else self._all[start:stop]

    def _blocks_of(self, start: int, stop: int) -> bytes:
        first, last = start // self._block, (stop - 1) // self._block
        missing = [number for number in range(first, last + 1) if number not in self._blocks]
        if missing:  # neighbours by one request
            begin = missing[0] * self._block
            data = self._fetch(begin, min(self.size, (missing[-1] + 1) * self._block))
            if self._all is not None:
                return self._all[start:stop]
            for number in range(missing[0], missing[-1] + 1):
                self._blocks[number] = data[number * self._block - begin : (number + 1) * self._block - begin]
        pieces = []
        for number in range(first, last + 1):
            self._blocks.move_to_end(number)
            pieces.append(self._blocks[number])
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
        skip = first * self._block
        return b"".join(pieces)[start - skip : stop - skip]

    def _fetch(self, start: int, stop: int) -> bytes:
        try:
            data = _span(self.remote, self.offset + start, self.offset + stop)
        except _NoParts:
            self._all = _read_whole(self.remote)[self.offset : self.offset + self.size]
            data = self._all[start:stop]
        if len(data) != stop - start:
            raise AudioError(f"{self.remote.url}: is no longer as it was listed: build the corpus again")
        return data


class RangeFile(io.RawIOBase):
    """An object of a store, or some bytes of one, as a binary file."""

    costly = True
    """Bytes are paid for: readers look only at those that they need."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, self._at = blocks, 0
        self.name = blocks.remote.url
        self.identity = (blocks.remote.url, blocks.remote.identity, blocks.offset, blocks.size)

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # noqa: D102
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._blocks.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readall(self) -> bytes:  # noqa: D102 - without it, many small reads
        data = self._blocks.read(self._at, self._blocks.size)
        self._at += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # noqa: D102
        data = self._blocks.read(self._at, self._at + len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
