"""Where a bundle is, so that another process, environment or machine finds it again."""

from pathlib import Path

PACKAGE = Path(__file__).absolute().parents[1]


def movable(folder: Path) -> tuple[str, str]:
    """A folder for another process: its path below the package ("package"), the cache ("cache") or absolute ("")."""
    whole = folder.absolute()
    for kind, root in _roots().items():
        if root in whole.parents:
            return kind, whole.relative_to(root).as_posix()
    return "", str(whole)


def here(place: tuple[str, str]) -> Path:
    """The folder that `movable` described, where this process has it."""
    kind, path = place
    return _roots()[kind] / path if kind else Path(path)


def _roots() -> dict[str, Path]:
    from sondino.hub.cache import models_folder

    return {"package": PACKAGE, "cache": models_folder().absolute()}
