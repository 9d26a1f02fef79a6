"""Published weights by name: where they lie, their hashes, and fetching them so that it can go on after a break."""

import os
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from sondino.errors import SondinoError, unknown_name
from sondino.files import sha256

BLOCK = 1 << 20
TIMEOUT = 30.0  # seconds without an answer


@dataclass(frozen=True)
class Weights:
    """One published file of weights.

    Attributes:
        name: what it is asked for by.
        url: where it is published.
        path: where it goes under the cache, folders included (they may carry meaning).
        by_hand: how to name the file once it has been downloaded by hand.
        sha256: of what the URL gives; None where the publisher states none: then the hash of the first
            download is kept beside the file and later uses are compared with it.
        member: the end of the name of the file wanted inside a zip; None when the URL gives the file itself.
    """

    name: str
    url: str
    path: str
    by_hand: str
    sha256: str | None = None
    member: str | None = None


_M2D = "m2d_vit_base-80x608p16x16-221006-mr7_enconly"

WEIGHTS: dict[str, Weights] = {
    w.name: w
    for w in (
        Weights(
            name="matpac",
            url="https://github.com/aurianworld/matpac/releases/download/MATPAC%2B%2B/matpac_plus_6s_2048_enconly.pt",
            path="matpac/matpac_plus_6s_2048_enconly.pt",
            by_hand="matpac:matpac_plus_6s_2048_enconly.pt",
        ),
        Weights(
            name="m2d",
            url=f"https://github.com/nttcslab/m2d/releases/download/v0.1.0/{_M2D}.zip",
            path=f"m2d/{_M2D}/checkpoint.pth",
            by_hand=f"m2d:{_M2D}/checkpoint-300.pth (unpacked from the zip)",
            member=".pth",
        ),
    )
}
"""The teachers' weights by name."""


def cache_folder() -> Path:
    """Where fetched weights are kept: $SONDINO_CACHE, else sondino/ under the user's cache folder."""
    own = os.environ.get("SONDINO_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "sondino"


def fetch(name: str, progress: Callable[[int, int | None], None] | None = None) -> Path:
    """The local path of published weights, downloaded on first use.

    A download that breaks off goes on where it stopped; a file counts only once it is whole and its hash holds.

    Args:
        name: a key of `WEIGHTS`.
        progress: called with (bytes so far, bytes in all or None).

    Raises:
        OptionError: unknown name.
        SondinoError: it cannot be fetched (the sentence says how to get it by hand), or its hash is wrong.
    """
    if name not in WEIGHTS:
        raise unknown_name("weights", name, WEIGHTS)
    weights = WEIGHTS[name]
    target = cache_folder() / weights.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.exists():
                _check_kept(target)
                return target
            archive = target.with_name(target.name + ".download")
            _download(weights, archive, progress)
            if weights.sha256 is not None and (found := sha256(archive)) != weights.sha256:
                archive.unlink()
                raise SondinoError(
                    f"{weights.url} gave a file of sha256 {found}, not {weights.sha256}: try again, {_by_hand(weights)}"
                )
            _unpack(weights, archive, target)
    except OSError as error:
        raise SondinoError(f"cannot keep the weights of {name} in {target.parent}: {error}") from error
    return target


def _download(weights: Weights, target: Path, progress: Callable[[int, int | None], None] | None) -> None:
    part = target.with_name(target.name + ".part")
    if target.exists():
        return
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(weights.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            goes_on = answer.status == 206  # a server without ranges sends it all again
            have = have if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with part.open("ab" if goes_on else "wb") as file:
                while block := answer.read(BLOCK):
                    file.write(block)
                    have += len(block)
                    if progress:
                        progress(have, total)
                file.flush()
                os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: another file lies there now
            part.unlink()
        raise _cannot(weights, f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _cannot(weights, str(error.reason)) from error
    except (TimeoutError, ConnectionError) as error:
        raise _cannot(weights, str(error) or "no answer") from error
    if total is not None and have < total:
        raise _cannot(
            weights, f"the connection broke after {have} of {total} bytes; the same command goes on from there"
        )
    part.replace(target)


def _unpack(weights: Weights, archive: Path, target: Path) -> None:
    """Put the wanted file in place, its hash beside it, both renamed only when whole."""
    if weights.member is None:
        whole = archive
    else:
        whole = target.with_name(target.name + ".unpacked")
        try:
            with zipfile.ZipFile(archive) as pack:
                inside = [n for n in pack.namelist() if n.endswith(weights.member) and not n.startswith("__MACOSX")]
                if not inside:
                    raise SondinoError(f"{weights.url} holds no {weights.member} file: {_by_hand(weights)}")
                with pack.open(inside[0]) as source, whole.open("wb") as file:
                    shutil.copyfileobj(source, file, BLOCK)
        except zipfile.BadZipFile as error:
            archive.unlink()
            raise SondinoError(f"{weights.url} gave no zip file: try again, {_by_hand(weights)}") from error
    _hash_file(target).write_text(sha256(whole) + "\n")
    whole.replace(target)
    archive.unlink(missing_ok=True)


def _check_kept(target: Path) -> None:
    kept = _hash_file(target)
    if kept.exists() and kept.read_text().strip() != sha256(target):
        raise SondinoError(
            f"{target} is not the file that was fetched (its sha256 changed): delete it to fetch it again"
        )


def _hash_file(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _cannot(weights: Weights, reason: str) -> SondinoError:
    return SondinoError(f"cannot fetch the weights of {weights.name} ({reason}): {_by_hand(weights)}")


def _by_hand(weights: Weights) -> str:
    return f"download {weights.url} by hand and name the file, --teacher {weights.by_hand}"
