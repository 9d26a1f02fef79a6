"""Files from the Hugging Face Hub, by commit, their hashes checked; every failure becomes an error message.

huggingface_hub does the work and reads HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE; it is imported only here,
and installed by the extras `hub` and `train` only.
"""

import errno
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sondino.errors import OptionError, SondinoError, require
from sondino.files import sha256
from sondino.hub.cache import print_message
from sondino.hub.catalogue import HubFile
from sondino.schema import load_json
from sondino.text import first_line

TIMEOUT = 10.0  # seconds without an answer; huggingface_hub's own for files
MAIN = "main"

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NotThere(SondinoError):
    """The hub answers that it does not have it."""


class OutOfReach(SondinoError):
    """The hub does not answer, or may not be asked."""


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit.

    Attributes:
        repo: owner/name.
        commit: its full hash.
        files: the hash that the hub reports, by path: sha256, or git's sha1 of a small file; None if it reports none.
    """

    repo: str
    commit: str
    files: Mapping[str, str | None]

    def some(self) -> str:
        """The first few of its files, and how many more, for a message."""
        names = sorted(self.files)
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return (", ".join(names[:8]) or "nothing") + more


@dataclass(frozen=True)
class Fetched:
    """A file of a commit on this machine, its hash checked if one is known."""

    path: Path
    commit: str


def parse_repo(text: str) -> tuple[str, str | None]:
    """Owner/name and the revision of "owner/name" or "owner/name@revision".

    Raises:
        OptionError: it is not of that form, or has parts such as "..".
    """
    repo, at, revision = text.partition("@")
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or (at and not is_revision(revision)):
        raise OptionError(f"'hf:{text}' names no repository: write hf:owner/name or hf:owner/name@revision")
    return repo, revision or None


def is_revision(text: str) -> bool:
    """Whether it can be a branch, a tag or a commit."""
    return _REVISION.fullmatch(text) is not None and ".." not in text


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit hash."""
    return _COMMIT.fullmatch(revision) is not None


def list_repo(repo: str, revision: str, by_hand: str) -> Listing:
    """What a repository holds, and which commit a revision means now.

    Args:
        repo: owner/name.
        revision: branch, tag or commit.
        by_hand: ends the message if the hub is out of reach.

    Raises:
        NotThere: no such repository or revision, or none that may be seen.
        OutOfReach: no answer.
    """
    hub = _library()
    try:
        info = hub.HfApi(library_name="sondino").model_info(
            repo, revision=revision, files_metadata=True, timeout=TIMEOUT
        )
        stated = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings or ()}
    except Exception as error:  # huggingface_hub's errors and those of its HTTP client have no common base
        raise _explain(error, repo, revision, by_hand) from error
    if info.sha is None or not is_commit(info.sha):
        raise OutOfReach(f"{_endpoint()} gave no commit for {repo}: is it a Hugging Face hub? {by_hand}")
    return Listing(repo, info.sha, stated)


def download(listing: Listing, path: str, by_hand: str, digest: str | None = None) -> Path:
    """One file of a commit, from huggingface_hub's cache or through it. A wrong file does not stay in that cache.

    Args:
        listing: of the commit.
        path: of the file in it.
        by_hand: ends the message if the hub is out of reach.
        digest: sha256 that the file must have; None: the hash that the hub states.

    Raises:
        NotThere: it may not be had.
        OutOfReach: no answer.
        SondinoError: its hash is wrong.
    """
    expected = digest or listing.files[path]
    kept = _in_cache(listing.repo, path, listing.commit)
    if kept is not None:
        if _has_hash(kept, expected):
            return kept
        _forget(kept)
    try:
        file = Path(_library().hf_hub_download(listing.repo, path, revision=listing.commit, library_name="sondino"))
    except Exception as error:
        raise _explain(error, listing.repo, listing.commit, by_hand, path) from error
    if not _has_hash(file, expected):
        found = sha256(file)
        _forget(file)
        raise SondinoError(
            f"{path} of {listing.repo} came with sha256 {found}, not as stated ({expected}), and was thrown away: "
            f"try again, or {by_hand}"
        )
    return file


def fetch_file(file: HubFile, by_hand: str, revision: str | None = None, pinned: str | None = None) -> Fetched:
    """A published file; nothing is asked of the hub where its cache on this machine has the commit.

    Args:
        file: where it lies.
        by_hand: ends the message if it cannot be fetched.
        revision: asked for by the user; what is known of the file then does not count.
        pinned: the commit that was taken earlier; None: the catalogue's.

    Raises:
        NotThere: no such file, or none that may be seen.
        OutOfReach: no answer, and it is not in the cache.
        SondinoError: its hash is wrong.
    """
    digest = file.sha256 if revision is None else None
    wanted = revision or pinned or file.revision
    if is_commit(wanted) and (kept := _right_in_cache(file, wanted, digest)):
        return kept
    try:
        listing = _listing_with(file, wanted, by_hand)
    except OutOfReach:
        if kept := _right_in_cache(file, wanted, digest) or (
            None if revision or pinned else _right_in_cache(file, MAIN, digest)
        ):
            return kept
        raise
    except NotThere:
        if wanted != file.revision or revision is not None:
            raise
        listing = _listing_with(file, MAIN, by_hand)
        print_message(f"{file.repo} has no {file.path} at {wanted[:12]} any more: taking that of {listing.commit[:12]}")
    stated = listing.files[file.path]
    if digest and stated and digest != stated:
        raise SondinoError(
            f"{file.repo} holds another {file.path} (sha256 {stated}) than the known one ({digest}); "
            f"add @{listing.commit} to its name to take it all the same"
        )
    return Fetched(download(listing, file.path, by_hand, digest), listing.commit)


def read_config(file: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None where it holds none."""
    try:
        config = load_json(file)
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def upload(repo: str, files: Mapping[str, Path | bytes], private: bool, message: str) -> str:
    """Commit files to the main branch of a repository, which is made where there is none.

    Args:
        repo: owner/name.
        files: what each holds, or where it lies, by its path in the repository.
        private: whether a repository that is made is private; one that is there stays as it is.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        NotThere: the token may not write there, or there is none.
        OutOfReach: no answer.
    """
    hub = _library()
    api = hub.HfApi(library_name="sondino")
    by_hand = "try again, or upload the files by hand"
    if api.token is None and hub.get_token() is None:
        raise NotThere(
            f"there is no token for {_endpoint()}: run `hf auth login`, or set HF_TOKEN to a token that writes"
        )
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        adds = [
            hub.CommitOperationAdd(path, str(file) if isinstance(file, Path) else file) for path, file in files.items()
        ]
        return str(api.create_commit(repo, adds, commit_message=message).commit_url)
    except Exception as error:  # as in list_repo
        if isinstance(error, RuntimeError) and error.__cause__ is not None:  # of one large file
            reason = f"{str(error).rstrip('.')}: {first_line(error.__cause__)}"
            raise OutOfReach(f"{repo} was not changed, since {_endpoint()} took not all files ({reason}): "
                             f"{by_hand}") from error  # fmt: skip
        raise _explain(error, repo, MAIN, by_hand) from error


def url(repo: str, path: str | None = None, revision: str = MAIN) -> str:
    """Where a person finds a repository, or one file of it."""
    return f"{_endpoint()}/{repo}" if path is None else f"{_endpoint()}/{repo}/resolve/{revision}/{path}"


def _library() -> Any:
    """huggingface_hub with the modules of it that are used here."""
    for module in ("constants", "errors"):
        require(f"huggingface_hub.{module}", "hub")
    return require("huggingface_hub", "hub")


def _endpoint() -> str:
    endpoint: str = _library().constants.ENDPOINT
    return endpoint


def _listing_with(file: HubFile, revision: str, by_hand: str) -> Listing:
    listing = list_repo(file.repo, revision, by_hand)
    if file.path not in listing.files:
        raise NotThere(f"{url(file.repo)} has no {file.path} at {revision}: it holds {listing.some()}")
    return listing


def _in_cache(repo: str, path: str, revision: str) -> Path | None:
    found = _library().try_to_load_from_cache(repo, path, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _right_in_cache(file: HubFile, revision: str, digest: str | None) -> Fetched | None:
    """A file that the hub's cache already has, if its hash is right; the hub is not asked."""
    kept = _in_cache(file.repo, file.path, revision)
    if kept is None:
        return None
    if not _has_hash(kept, _blob_name(kept)):
        _forget(kept)
        return None
    commit = kept.parts[-1 - len(file.path.split("/"))]  # snapshots/COMMIT/PATH
    return Fetched(kept, commit) if _has_hash(kept, digest) else None


def _has_hash(file: Path, expected: str | None) -> bool:
    """Whether a file has a sha256, or a hash as git names its content; True where none is expected."""
    if expected is None:
        return True
    if _COMMIT.fullmatch(expected):
        content = file.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == expected
    return sha256(file) == expected


def _blob_name(file: Path) -> str | None:
    """The hash that the hub's cache keeps a file's content under, where it is one."""
    name = file.readlink().name if file.is_symlink() else ""
    return name if _SHA256.fullmatch(name) or _COMMIT.fullmatch(name) else None


def _forget(file: Path) -> None:
    """Take a bad file out of the hub's cache: the name, the blob, and the blob's store where several share one."""
    for place in (file.resolve(), file.parent / file.readlink() if file.is_symlink() else file, file):
        try:
            place.unlink(missing_ok=True)
        except OSError as error:
            raise SondinoError(f"{place} is damaged and cannot be removed ({error.strerror}): remove it") from error


def _explain(error: Exception, repo: str, revision: str, by_hand: str, path: str | None = None) -> SondinoError:
    """The error for what huggingface_hub raised."""
    errors = _library().errors
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # which names the reason
    what = f"{path} of {repo}" if path else repo
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return NotThere(
            f"{url(repo)} is shown only to those who were let in: ask for access there, then set HF_TOKEN to your token"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return NotThere(f"{url(repo)} has no revision {revision}: name a branch, a tag or a commit of it")
    if isinstance(error, errors.EntryNotFoundError) and status == 404:
        return NotThere(f"{url(repo)} has no {path} at {revision}: name another revision")
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403, 404):
        return NotThere(
            f"there is no {url(repo)}, or you may not see it ({status}): check the name; "
            "where it is private, set HF_TOKEN to your token"
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return OutOfReach(f"{what} is not on this machine and HF_HUB_OFFLINE forbids fetching it: {by_hand}")
    if status is not None:
        return OutOfReach(f"{what} cannot be fetched ({_endpoint()} answered {status}): try again later, or {by_hand}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
        return SondinoError(
            f"{what} cannot be kept in the hub's cache ({error.strerror}): make room, or set HF_HOME to another folder"
        )
    # Before huggingface_hub 1.0 it is an error of requests around one of urllib3, which has the reason.
    reason = getattr(error.args[0] if error.args else None, "reason", None) or error
    reason = " ".join(str(reason).split()) or type(error).__name__
    return OutOfReach(f"{what} cannot be fetched from {_endpoint()} ({reason[:200]}): {by_hand}")
