"""The manual's table of recipe entries, from `Recipe`: PYTHONPATH=tests python -m helpers.recipe_table writes it."""

import re
from pathlib import Path

import yaml

from sondino.distillation.recipe import FIELDS, Recipe, as_dict

PAGE = Path(__file__).parents[2] / "docs" / "manual.md"
TABLE = re.compile(r"(?<=<!-- made by PYTHONPATH=tests python -m helpers\.recipe_table -->\n).*?(?=<!-- end -->)", re.S)


def table() -> str:
    """The table in Markdown; defaults are written as in YAML."""
    defaults = as_dict(Recipe(teacher=("a",))) | {"teacher": []}
    lines = ["| entry | option | default | meaning |", "| --- | --- | --- | --- |"]
    for name, entry in FIELDS.items():
        option = f"`--{name.replace('_', '-')}`" if entry.metadata.get("option", True) else ""
        default = yaml.safe_dump(defaults[name]).splitlines()[0]
        lines.append(f"| `{name}` | {option} | `{default}` | {entry.metadata['help']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
