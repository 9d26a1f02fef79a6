"""Imports every module that the base install may import, and fails where one brings in what the base must not have.

Run it in an environment that holds the base install alone. The modules are those of the contract "The base install
needs no torch" in pyproject.toml; packages among them are imported with all their modules.
"""

import importlib
import pkgutil
import sys
import tomllib
from pathlib import Path

CONTRACT = "The base install needs no torch"


def modules(name: str) -> list[str]:
    """A module, and all that lie in it."""
    found = importlib.import_module(name)
    below = pkgutil.walk_packages(found.__path__, f"{name}.") if hasattr(found, "__path__") else ()
    return [name, *(module.name for module in below)]


def main() -> None:
    """Import them all; exit with a message where something forbidden was loaded."""
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    contract = next(found for found in contracts if found["name"] == CONTRACT)
    names = [name for source in contract["source_modules"] for name in modules(source)]
    for name in (*names, "sondino.cli"):
        importlib.import_module(name)
        loaded = sorted(set(contract["forbidden_modules"]) & set(sys.modules))
        if loaded:
            sys.exit(f"{name} loads {', '.join(loaded)}, which the base install does not have")
    print(f"{len(names) + 1} modules were imported")


if __name__ == "__main__":
    main()
