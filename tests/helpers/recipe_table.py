"""The tables of recipe entries: PYTHONPATH=tests python -m helpers.recipe_table writes them into the documentation.

The manual has those of `Recipe`, docs/pretraining.md those of `PretrainRecipe`.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sondino.distillation.recipe import FIELDS, Recipe, as_dict
from sondino.pretraining import recipe as pretraining

DOCS = Path(__file__).parents[2] / "docs"
TABLE = re.compile(r"(?<=<!-- made by PYTHONPATH=tests python -m helpers\.recipe_table -->\n).*?(?=<!-- end -->)", re.S)


def table(fields: Mapping[str, dataclasses.Field[Any]], defaults: Mapping[str, Any]) -> str:
    """The table in Markdown; defaults are written as in YAML."""
    lines = ["| entry | option | default | meaning |", "| --- | --- | --- | --- |"]
    for name, entry in fields.items():
        option = f"`--{name.replace('_', '-')}`" if entry.metadata.get("option", True) else ""
        default = yaml.safe_dump(defaults[name]).splitlines()[0]
        lines.append(f"| `{name}` | {option} | `{default}` | {entry.metadata['help']} |")
    return "\n".join(lines) + "\n"


TABLES = {
    DOCS / "manual.md": table(FIELDS, as_dict(Recipe(teacher=("a",))) | {"teacher": []}),
    DOCS / "pretraining.md": table(pretraining.FIELDS, pretraining.as_dict(pretraining.PretrainRecipe())),
}
"""The table of each page."""


def main() -> None:
    """Write them."""
    for page, made in TABLES.items():
        page.write_text(TABLE.sub(lambda _, made=made: made, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
