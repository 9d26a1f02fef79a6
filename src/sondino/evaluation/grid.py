"""What a sweep varies: values of recipe entries, and the recipe of every combination of them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sondino.distillation.distill import name_teachers, new_student
from sondino.distillation.recipe import FIELDS, Recipe, as_dict
from sondino.errors import OptionError, unknown_name
from sondino.evaluation.record import digest
from sondino.schema import parse_yaml
from sondino.training.entries import read_yaml


@dataclass(frozen=True)
class Planned:
    """One combination of the values: its settings, and the recipe that they give."""

    settings: dict[str, Any]
    recipe: Recipe


def read_vary(entries: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each recipe entry that is varied, from texts such as "loss=cosine,clap".

    Raises:
        OptionError: no `=`, no such entry (with the nearest names), no value, or an entry that is given twice.
    """
    varied: dict[str, list[Any]] = {}
    for entry in entries:
        name, equals, values = entry.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise OptionError(f"--vary {entry!r} has no values: write ENTRY=VALUE,VALUE such as loss=cosine,clap")
        if name not in FIELDS:
            raise unknown_name("recipe entry to vary", name, FIELDS)
        if name in varied:
            raise OptionError(f"--vary {name} is given twice: give all of its values at once, {name}=A,B,C")
        texts = [text.strip() for text in values.split(",")]
        if not all(texts):
            raise OptionError(f"--vary {entry!r} has an empty value: write {name}=A,B,C")
        varied[name] = [_value(text) for text in texts]
    return varied


def _value(text: str) -> Any:
    """A number, a word or null, as in a recipe file."""
    try:
        value = parse_yaml(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, (bool, int, float)) else text


def plan_runs(
    recipe: str | Path | Mapping[str, Any], varied: Mapping[str, Sequence[Any]], teacher: Sequence[str] = ()
) -> list[Planned]:
    """Every combination of the values, in the order given, the last entry changing fastest; all of them checked.

    Args:
        recipe: a YAML file or a mapping of `Recipe` entries.
        varied: recipe entry -> its values.
        teacher: overrides the recipe's.

    Raises:
        OptionError: an invalid entry or value, or a value that is given twice.
    """
    if not varied:
        raise OptionError("nothing is varied: give --vary ENTRY=VALUE,VALUE such as loss=cosine,clap,kl,l1,mse")
    if "teacher" in varied and teacher:
        raise OptionError("--teacher is given, and --vary varies it: give one of the two")
    base = dict(recipe) if isinstance(recipe, Mapping) else read_yaml(Path(recipe))
    planned: list[Planned] = []
    for values in itertools.product(*varied.values()):
        plan, _ = name_teachers(list(teacher), base | dict(zip(varied, values, strict=True)), {})
        facts = as_dict(plan)
        planned.append(Planned({name: plain(facts[name]) for name in varied}, plan))
    seen: dict[str, dict[str, Any]] = {}
    for one in planned:
        if seen.setdefault(json.dumps(as_dict(one.recipe)), one.settings) is not one.settings:
            raise OptionError(
                f"--vary names the same value twice ({format_settings(one.settings)}): give each value once"
            )
    for _, one in {
        (p.recipe.student, p.recipe.width, p.recipe.rate, p.recipe.hop, p.recipe.init): p for p in planned
    }.items():
        new_student(one.recipe)  # raises for an invalid width, rate, hop or checkpoint
    return planned


def plain(value: Any) -> Any:
    """A recipe's value as a number or a text."""
    return " + ".join(value) if isinstance(value, list) else value


def format_settings(settings: Mapping[str, Any]) -> str:
    """Settings as text, such as "loss=cosine, clusters=30"."""
    return ", ".join(f"{name}={format_value(value)}" for name, value in settings.items())


def format_value(value: Any) -> str:
    """A value as in a recipe file, short."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def folder_name(settings: Mapping[str, Any]) -> str:
    """A name for a run's folder, valid on every system and unique to the settings."""
    name = ",".join(f"{key}={format_value(value)}" for key, value in settings.items())
    safe = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", name)
    return name if safe == name and len(name) <= 100 else f"{safe[:90]}-{digest(settings)}"
