"""A bundle as a repository of the Hugging Face Hub: its files, a model card with front matter, and an example."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sondino.errors import OptionError, require
from sondino.hub import huggingface
from sondino.model.card import card
from sondino.model.config import read_config
from sondino.model.model import Model
from sondino.model.paths import without_paths
from sondino.pretrained.locate import locate
from sondino.sample_sounds import sample_folder

FILES = ("model.onnx", "body.onnx", "model.safetensors", "head.safetensors")
EXAMPLE = "example.ogg"
"""A sample sound (CC0) for the page's player."""

_LICENCES = (
    (r"\bCC[ -]BY-NC-SA[ -]?4\.0", "cc-by-nc-sa-4.0"),
    (r"\bCC[ -]BY-NC[ -]?4\.0", "cc-by-nc-4.0"),
    (r"\bCC[ -]BY-SA[ -]?4\.0", "cc-by-sa-4.0"),
    (r"\bCC[ -]BY[ -]?4\.0", "cc-by-4.0"),
    (r"\bCC0", "cc0-1.0"),
    (r"\bApache", "apache-2.0"),
    (r"\bMIT\b", "mit"),
    (r"\bBSD", "bsd-3-clause"),
)
"""How licences are stated, and what the hub calls them."""
_RESTRICTED = re.compile(r"\bNC\b|non-?commercial|\bND\b|no.?deriv|research only", re.IGNORECASE)
_NOT_STATED = {"", "not known", "the file's"}


def push(source: str | Path, repo: str, *, private: bool = False, licence: str | None = None, yes: bool = False) -> str:
    """Publish a model in a repository of the Hugging Face Hub, from where `sondino.load("hf:owner/name")` opens it.

    Uploads the bundle's files, README.md (the model card with the hub's front matter: licence, tags, teachers and
    scores), and a sample sound for its player. No path of this machine is in them. Needs a token that may write
    (HF_TOKEN, or `hf auth login`) and `pip install 'sondino[hub]'`.

    Args:
        source: what `load` opens: a bundle, the folder of a run, or a name.
        repo: owner/name; it is made where there is none.
        private: whether a repository that is made is private.
        licence: of the weights, as the hub names it, such as "mit". None: the teacher's, where it is one of the usual.
        yes: publish although a teacher's licence is not stated, or restricts what may be done with its answers.

    Returns:
        The address of the commit.

    Raises:
        OptionError: no bundle, a name that no repository can have, or a teacher's licence without `yes`.
        SondinoError: the hub refuses, or is out of reach.

    Examples:
        >>> sondino.push("run", "me/rain-and-birds", private=True)  # doctest: +SKIP
        'https://huggingface.co/me/rain-and-birds/commit/...'
    """
    name = _repo_name(repo)
    folder, config = _opened(source)
    if not yes and (problem := _problem(config)):
        raise OptionError(f"{problem}: ask its makers, then give --yes to publish what it was trained to")
    files: dict[str, Path | bytes] = {file: folder / file for file in FILES if (folder / file).is_file()}
    files["config.json"] = (json.dumps(config, indent=1) + "\n").encode()
    files["README.md"] = _readme(folder, config, name, licence).encode()
    files[EXAMPLE] = sorted(sample_folder().rglob("*.ogg"))[0]
    return huggingface.upload(name, files, private, "Upload a model of sondino")


def published_card(source: str | Path, repo: str, *, licence: str | None = None) -> str:
    """The model card that `push` would publish as README.md. Needs `pip install 'sondino[hub]'`, and no network.

    Args:
        source: what `load` opens: a bundle, the folder of a run, or a name.
        repo: owner/name.
        licence: as in `push`.

    Raises:
        OptionError: no bundle, or a name that no repository can have.
    """
    return _readme(*_opened(source), _repo_name(repo), licence)


def _repo_name(repo: str) -> str:
    require("huggingface_hub", "hub")
    name, revision = huggingface.parse_repo(repo)
    if revision is not None:
        raise OptionError(f"{repo} names a revision: give owner/name, its main branch gets the files")
    return name


def _opened(source: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a bundle and its config; it is opened, so that a damaged one is not published."""
    folder = Model(locate(source)).folder
    return folder, without_paths(read_config(folder / "config.json"))  # earlier bundles hold paths


def _readme(folder: Path, config: Mapping[str, Any], repo: str, licence: str | None) -> str:
    return model_card(config, repo, licence, (folder / "model.onnx").stat().st_size)


def _licences(config: Mapping[str, Any]) -> dict[str, str]:
    """The licence of each teacher, and of what a converted bundle was made of, by name; "" where it is not stated."""
    found = {str(teacher["spec"]): str(teacher.get("licence") or "") for teacher in config.get("teachers", [])}
    if source := config.get("source"):
        found[str(source.get("file") or "its source")] = str(source.get("licence") or "")
    return found


def _problem(config: Mapping[str, Any]) -> str | None:
    for name, licence in _licences(config).items():
        if licence.strip().lower() in _NOT_STATED:
            return f"the licence of {name} is not known"
        if _RESTRICTED.search(licence):
            return f"the licence of {name} restricts its use ({licence})"
    return None


def licence_name(licences: Iterable[str]) -> str:
    """The hub's name of the one licence that all of these are; "other" where there is none."""
    names = {next((name for form, name in _LICENCES if re.search(form, text)), "other") for text in licences}
    return names.pop() if len(names) == 1 else "other"


def _metrics(config: Mapping[str, Any]) -> list[tuple[str, str, str, float]]:
    """(kind of clips, clips, metric, value) of each score: of the distillation, and of a head fitted to labels."""
    found = [
        ("held-out", "held-out clips of the training sound", name, value)
        for name, value in config.get("scores", {}).items()
        if isinstance(value, int | float)
    ]
    score = config.get("head_score")
    if score:
        found.append(("labelled", f"{score['clips']} labelled clips, {score['on']}", score["metric"], score["value"]))
    return found


def model_card(config: Mapping[str, Any], repo: str, licence: str | None, onnx_bytes: int) -> str:
    """README.md of a repository: the hub's front matter, and the bundle's card."""
    from huggingface_hub import EvalResult, ModelCardData

    labelled = config.get("head") is not None
    name = repo.rpartition("/")[2]
    task = "audio-classification" if labelled else "feature-extraction"
    results = [
        EvalResult(
            task_type=task,
            dataset_type=kind,
            dataset_name=clips,
            metric_type=metric.replace(" ", "_"),
            metric_name=metric.replace("_", " "),
            metric_value=value,
        )
        for kind, clips, metric, value in _metrics(config)
    ]
    data = ModelCardData(
        license=licence or licence_name(_licences(config).values()),
        library_name="sondino",
        pipeline_tag=task,
        tags=["audio", "sondino", "onnx", "audio-embeddings", *(["distillation"] if config.get("teachers") else [])],
        model_name=name if results else None,
        eval_results=results or None,
        teachers=[teacher["spec"] for teacher in config.get("teachers", [])] or None,
        widget=[{"src": huggingface.url(repo, EXAMPLE), "example_title": "A sample sound (CC0)"}],
    )
    text = card(config, onnx_bytes).replace('sondino.load("path/to/this/folder")', f'sondino.load("hf:{repo}")')
    return f"---\n{data.to_yaml()}\n---\n\n{text}"
