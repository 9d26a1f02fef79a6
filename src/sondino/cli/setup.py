"""The commands about sondino itself: what is installed and which defaults hold, and completion for shells."""

from pathlib import Path
from typing import Any, Literal

from sondino.cli.app import app, show_json
from sondino.cli.defaults import VARIABLES, find_defaults
from sondino.console import print_line
from sondino.text import escape

EXTRAS = ("hub", "av", "tables", "litert", "birdnet", "report", "openvino", "energy", "audioset", "notebooks", "train")
PACKAGES = ("numpy", "soundfile", "soxr", "onnxruntime", "torch")


def info(*, json: bool = False) -> int:
    """State what is installed, where models are kept, and which defaults of options hold here.

    Example: `sondino info`

    Args:
        json: print one JSON document in place of text.
    """
    facts = _facts()
    if json:
        return show_json(facts)
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
    print_line(f"sondino {facts['version']}, Python {facts['python']}, {versions}")
    print_line(f"extras: {', '.join(facts['extras']) or 'none'}")
    print_line(f"models are kept in {facts['cache']}")
    print_line(f"processor threads: {facts['threads']}")
    print_line(f"defaults of options: {facts['defaults_file'] or 'no sondino.toml or [tool.sondino] here or above'}")
    for where, options in facts["defaults"].items():
        for option, value in options.items():
            print_line(f"  {f'[{where}] ' if where else ''}{option} = {value}")
    for name, value in facts["environment"].items():
        print_line(f"  {name} = {value}")
    return 0


def completion(shell: Literal["bash", "zsh", "fish", "powershell"] = "bash") -> int:
    """Print a script that completes commands and options in a shell.

    Example: `sondino completion bash`

    Args:
        shell: which; `eval "$(sondino completion bash)"` in ~/.bashrc loads it.
    """
    print_line(app.generate_completion(prog_name="sondino", shell=shell))
    return 0


def _facts() -> dict[str, Any]:
    import os
    import platform

    from sondino.errors import MissingExtra, require_extra
    from sondino.hub.cache import models_folder
    from sondino.processors import cores
    from sondino.version import __version__

    extras = []
    for extra in EXTRAS:
        try:
            require_extra(extra)
        except MissingExtra:
            continue
        extras.append(extra)
    found = find_defaults(Path.cwd())
    values = {} if found is None else found.values
    defaults = {"": {key: value for key, value in values.items() if not isinstance(value, dict)}}
    defaults |= {key: value for key, value in values.items() if isinstance(value, dict)}
    return {
        "version": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": extras,
        "cache": escape(str(models_folder())),
        "threads": cores(),
        "defaults_file": None if found is None else escape(str(found.file)),
        "defaults": {where: options for where, options in defaults.items() if options},
        "environment": {name: os.environ[name] for name in VARIABLES if os.environ.get(name)},
    }


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
