"""Find a model's bundle: a folder, a checkpoint (converted once), a published name, or a repository of the hub."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sondino.errors import MissingExtra, OptionError, SondinoError, unknown_name
from sondino.files import sha256
from sondino.hub import huggingface, releases
from sondino.hub.cache import lock_and_wait, models_folder, new_folder, print_message, recall, remember
from sondino.hub.catalogue import PUBLISHED, Published
from sondino.hub.huggingface import Listing
from sondino.locks import restore
from sondino.model.bundle import is_bundle
from sondino.model.config import BUNDLE_FORMAT, read_config

CHECKPOINTS = (".ckpt", ".pt", ".pth", ".safetensors")
BUNDLE_FILES = ("config.json", "model.onnx", "body.onnx", "model.safetensors", "head.safetensors", "card.md")

SHIPPED = Path(__file__).parents[1] / "shipped"
"""Bundles that come with the package, each in a folder of its name."""

_SIZES = re.compile(r"\d+x\d+p\d+x\d+")  # in the name of an M2D checkpoint's folder: inputs and patches

CONVERTER = 1
"""One up whenever `sondino.pretrained.convert` makes another bundle of the same checkpoint."""


def locate(source: str | os.PathLike[str]) -> Path:
    """The folder of a model's bundle, made or fetched the first time; afterwards neither torch nor a network is needed.

    Args:
        source: a bundle, or a run's folder; a checkpoint (.ckpt, .pt, .pth, .safetensors), which is converted once and
            known again by its content; a name of `PUBLISHED`, as "sondino-small"; or a repository with a
            bundle, as "hf:owner/name". A name or repository means the commit that it meant the first time;
            "@revision" asks for another.

    Raises:
        OptionError: there is no such thing.
        MissingExtra: it must be converted, and torch is not installed.
        SondinoError: it cannot be fetched, its hash is wrong, or it is damaged.
    """
    text = source if isinstance(source, str) else Path(source).as_posix()
    if text.startswith("hf:"):
        return _from_repo(text.removeprefix("hf:"))
    if text in PUBLISHED and PUBLISHED[text].shipped:  # also where the working folder has one of this name
        return _from_name(PUBLISHED[text], None)
    try:
        path = Path(text).expanduser()
        for folder in (path, path / "bundle"):
            restore(folder)
            config = folder / "config.json"
            # A damaged one, or a link to nothing, gets its message when it is opened.
            if text and (config.exists() or config.is_symlink()):
                return folder
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # a name too long, a folder without permission, no such user's home
        reason = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"{text[:200]!r} cannot be looked up ({reason})") from error
    if is_file and text not in PUBLISHED:
        return _from_checkpoint(path)
    name, at, revision = text.partition("@")
    if name in PUBLISHED:
        return _from_name(PUBLISHED[name], revision if at else None)
    raise _nothing(text, path)


def is_kept(name: str) -> bool:
    """Whether a model that has a name is on this machine as a bundle: with the package, or in the cache."""
    if PUBLISHED[name].shipped:
        return is_bundle(SHIPPED / name)
    return _kept(name, None) is not None


def _from_checkpoint(file: Path) -> Path:
    if file.suffix.lower() not in CHECKPOINTS:
        raise OptionError(f"{file} is no model: name a bundle's folder, or a checkpoint ({', '.join(CHECKPOINTS)})")
    if is_bundle(file.parent):
        raise OptionError(f"{file} is part of a bundle: name its folder, {file.parent}")
    return _converted(file)


def _from_name(model: Published, revision: str | None) -> Path:
    file = model.file
    if model.shipped:
        if revision is not None:
            raise OptionError(f"{model.name} comes with the package and has no revisions: write {model.name}")
        if not is_bundle(SHIPPED / model.name):
            raise SondinoError(f"{model.name} is missing from this installation: install sondino again")
        return SHIPPED / model.name
    if file is None and revision is not None:
        raise OptionError(f"{model.name} is a release and has no revisions: write {model.name}")
    if revision is not None and not huggingface.is_revision(revision):
        raise OptionError(f"{model.name}@{revision} names no revision: write {model.name}@ and a branch, tag or commit")

    def get(pinned: str | None) -> tuple[str | None, Path]:
        if not recall(model.name):
            _need_torch(model.name)  # before the download
        if file is None:
            return None, _converted(_released(model.name), model.name)
        address = huggingface.url(file.repo, file.path, revision or pinned or file.revision)
        by_hand = f"download {address} by hand and make it a bundle: sondino convert {file.path} --out BUNDLE"
        found = huggingface.fetch_file(file, by_hand, revision, pinned)
        return found.commit, _converted(found.path, model.name)

    return _once(model.name, revision, get)


def _released(name: str) -> Path:
    from sondino.progress import show

    with show(f"weights of {name}", "MB") as report:
        return releases.fetch(name, lambda have, total: report(have // 10**6, (total or have) // 10**6))


def _from_repo(text: str) -> Path:
    repo, revision = huggingface.parse_repo(text)

    def get(pinned: str | None) -> tuple[str, Path]:
        by_hand = f"download the files of {huggingface.url(repo)} by hand and name their folder"
        listing = huggingface.list_repo(repo, revision or pinned or huggingface.MAIN, by_hand)
        folder = models_folder() / "hub" / repo.replace("/", "--") / listing.commit
        if not is_bundle(folder):
            with new_folder(folder) as partial:
                _fetch_bundle(listing, partial, by_hand)
        return listing.commit, folder

    return _once(f"hf:{repo}", revision, get)


def _fetch_bundle(listing: Listing, folder: Path, by_hand: str) -> None:
    """Copy a bundle's files from the hub into a folder, or raise OptionError if the repository holds none."""
    address = huggingface.url(listing.repo)
    config: dict[str, Any] = {}
    if "config.json" in listing.files:
        config = huggingface.read_config(huggingface.download(listing, "config.json", by_hand)) or {}
    if config.get("format") != BUNDLE_FORMAT:
        raise OptionError(f"{address} is no bundle of sondino (format {BUNDLE_FORMAT!r}): it holds {listing.some()}")
    config = read_config(huggingface.download(listing, "config.json", by_hand))
    hashes = config.get("hashes") or {}
    lacking = [file for file in BUNDLE_FILES if file not in listing.files and (file in hashes or file == "model.onnx")]
    if lacking:
        raise OptionError(f"{address} lacks {' and '.join(lacking)} of its bundle: it holds {listing.some()}")
    folder.mkdir()
    for file in BUNDLE_FILES:
        if file in listing.files:
            shutil.copyfile(huggingface.download(listing, file, by_hand), folder / file)
            if file in hashes and sha256(folder / file) != hashes[file]:
                raise SondinoError(f"{file} of {address} is not the one that its config.json was written with")


def _once(name: str, revision: str | None, get: Callable[[str | None], tuple[str | None, Path]]) -> Path:
    """The bundle of a name, from `get` the first time.

    Args:
        name: as it is recorded.
        revision: asked for; a branch or tag is asked after again, for it may have moved.
        get: given the commit that an earlier call without revision took, gives the commit and the bundle.
    """
    moves = revision is not None and not huggingface.is_commit(revision)
    kept = _kept(name, revision)
    if kept is not None and not moves:
        return kept
    with lock_and_wait(name, name):
        kept = _kept(name, revision)  # another process may have been faster
        if kept is not None and not moves:
            return kept
        try:
            commit, bundle = get(None if revision else recall(name).get("", {}).get("commit"))
        except huggingface.OutOfReach:
            if kept is None:
                raise
            return kept
        place = bundle.relative_to(models_folder()).as_posix()
        remember(name, revision or "", {"commit": commit, "bundle": place, "converter": CONVERTER})
    return bundle


def _kept(name: str, revision: str | None) -> Path | None:
    facts = recall(name).get(revision or "", {})
    folder = models_folder() / facts.get("bundle", "")
    return folder if facts.get("converter") == CONVERTER and is_bundle(folder) else None


def _converted(file: Path, name: str | None = None) -> Path:
    """The bundle of a checkpoint, converted on its first use.

    It is identified by its content and by its name: the front-end of some is known only by their name.
    """
    folder_name = file.parent.name if _SIZES.search(file.parent.name) else ""
    try:
        content = sha256(file)
    except OSError as error:
        raise OptionError(f"{file} cannot be read ({error.strerror}): fetch or copy it again") from error
    identity = json.dumps([CONVERTER, content, name, file.name, folder_name])
    key = hashlib.sha256(identity.encode()).hexdigest()[:32]
    folder = models_folder() / "converted" / key
    if is_bundle(folder):
        return folder
    _need_torch(name or str(file))
    with lock_and_wait(f"converted/{key}", name or file.name):
        if not is_bundle(folder):
            from sondino.pretrained.convert import convert

            print_message(f"converting {file.name} into a bundle, once, kept in {folder}")
            with new_folder(folder) as partial:
                convert(file, partial, name=name)
    return folder


def _need_torch(what: str) -> None:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra(
            f"{what} must be converted once, and torch is not installed: pip install 'sondino[train]', "
            "or run `sondino convert` on another machine and copy the bundle here"
        )


def _nothing(text: str, path: Path) -> OptionError:
    """The error for what is neither on this machine nor published."""
    if path.is_dir() and text:
        return OptionError(f"{path} is no bundle (it has no config.json): name the folder that distill wrote")
    near = [name for name in PUBLISHED if name.endswith(f"/{text}")]
    if near:
        return OptionError(f"there is no file or folder {text}: write {near[0]} for the published model")
    if path.suffix.lower() in CHECKPOINTS or text.startswith((".", "~", "/")) or path.is_absolute():
        return OptionError(f"there is no file or folder {path}: name a bundle, a checkpoint or a published model")
    unknown = unknown_name("model", text, PUBLISHED)
    return OptionError(f"{unknown}; nor is there a file or folder of that name (a repository is written hf:owner/name)")
