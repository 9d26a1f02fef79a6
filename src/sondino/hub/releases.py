"""Weights published as releases: where they lie, their hashes, and fetching them so that it can go on after a break."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from sondino.errors import SondinoError, unknown_name
from sondino.files import sha256
from sondino.hub.cache import cache_folder
from sondino.hub.download import BLOCK, Bytes, Remote, download, verify


@dataclass(frozen=True)
class Weights:
    """One published file of weights.

    Attributes:
        name: what it is asked for by.
        url: where it is published.
        path: where it goes under the cache, folders included (they may carry meaning).
        by_hand: what to do with the file once it has been downloaded by hand.
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
_EFFICIENTAT = (
    # name, file, sha256 where somebody has stated it
    ("mn04_as", "mn04_as_mAP_432.pt", "899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c"),
    ("mn05_as", "mn05_as_mAP_443.pt", None),
    ("mn10_as", "mn10_as_mAP_471.pt", "0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e"),
    ("mn20_as", "mn20_as_mAP_478.pt", None),
    ("mn30_as", "mn30_as_mAP_482.pt", None),
    ("mn40_as", "mn40_as_mAP_484.pt", None),
    ("dymn04_as", "dymn04_as.pt", None),
    ("dymn10_as", "dymn10_as.pt", None),
    ("dymn20_as", "dymn20_as_mAP_493.pt", None),
)

WEIGHTS: dict[str, Weights] = {
    w.name: w
    for w in (
        Weights(
            name="matpac",
            url="https://github.com/aurianworld/matpac/releases/download/MATPAC%2B%2B/matpac_plus_6s_2048_enconly.pt",
            path="matpac/matpac_plus_6s_2048_enconly.pt",
            by_hand="name the file, --teacher matpac:matpac_plus_6s_2048_enconly.pt",
        ),
        Weights(
            name="m2d",
            url=f"https://github.com/nttcslab/m2d/releases/download/v0.1.0/{_M2D}.zip",
            path=f"m2d/{_M2D}/checkpoint.pth",
            by_hand=f"name the file unpacked from the zip, --teacher m2d:{_M2D}/checkpoint-300.pth",
            member=".pth",
        ),
        Weights(
            name="cnn14",
            url="https://zenodo.org/records/3987831/files/Cnn14_mAP%3D0.431.pth",
            path="cnn14/Cnn14_mAP=0.431.pth",
            by_hand="name the file, --teacher cnn14:Cnn14_mAP=0.431.pth",
        ),
        *(
            Weights(
                name=f"efficientat/{name}",
                url=f"https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/{file}",
                path=f"efficientat/{file}",
                by_hand=f"make it a bundle: sondino convert {file} --out BUNDLE",
                sha256=digest,
            )
            for name, file, digest in _EFFICIENTAT
        ),
    )
}
"""The released weights by name."""


def fetch(name: str, progress: Bytes | None = None) -> Path:
    """The local path of published weights, downloaded on first use.

    An interrupted download is resumed; a file is used only once it is complete and its hash is right.

    Args:
        name: a key of `WEIGHTS`.
        progress: called with (bytes so far, bytes in all or None).

    Raises:
        OptionError: unknown name.
        SondinoError: it cannot be fetched (the message says how to get it by hand), or its hash is wrong.
    """
    from filelock import FileLock

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
            checksum = f"sha256:{weights.sha256}" if weights.sha256 else ""
            remote = Remote(f"the weights of {name}", weights.url, _by_hand(weights), checksum)
            download(remote, archive, progress)
            verify(remote, archive)
            _unpack(weights, archive, target)
    except OSError as error:
        raise SondinoError(f"cannot keep the weights of {name} in {target.parent}: {error}") from error
    return target


def _unpack(weights: Weights, archive: Path, target: Path) -> None:
    """Put the wanted file in place, its hash beside it, both renamed only when complete."""
    import zipfile

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


def _by_hand(weights: Weights) -> str:
    return f"download {weights.url} by hand and {weights.by_hand}"
