"""Entries of recipe files: a dataclass's fields, read from YAML and options, checked, and written fully resolved.

A field's metadata hold its help, its bounds as of `msgspec.Meta`, and "option": False where the command has no option
of its name.
"""

import dataclasses
import typing
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sondino.errors import OptionError, require, unknown_name
from sondino.files import write_whole
from sondino.schema import check, load_yaml


def field_names(kind: Any) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a recipe by name."""
    return {field.name: field for field in dataclasses.fields(kind)}


def check_entries(recipe: Any) -> None:
    """Check every entry against its type and bounds, and raise OptionError for the first that cannot be."""
    for name, hint in typing.get_type_hints(type(recipe)).items():
        words = choices(hint)
        if words and getattr(recipe, name) not in words:
            raise unknown_name(f"value of {name}:", str(getattr(recipe, name)), [word for word in words if word])
    kind: Any = type(recipe)
    check(dataclasses.asdict(recipe), _schema(kind), "", error=OptionError)


def given_entries(
    kind: type[Any], recipe: Path | str | Mapping[str, Any] | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The entries of a YAML file (or a mapping) and of options, which win over it where they are not None.

    Raises:
        OptionError: the file cannot be read, or names an entry that a recipe does not have.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        values = dict(recipe) if isinstance(recipe, Mapping) else read_yaml(Path(recipe))
    values |= {name: value for name, value in options.items() if value is not None}
    for name in values:
        if name not in field_names(kind):
            raise unknown_name("recipe entry", str(name), field_names(kind))
    return values


def choices(hint: Any) -> tuple[Any, ...]:
    """What a field that takes one of a few words may be; None among them where it may be left open."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    found = tuple(choice for kind in typing.get_args(hint) for choice in choices(kind))
    return (*found, None) if found else ()


def as_field(kind: type[Any], name: str, value: Any) -> Any:
    """A value as the field's type, so that `clip: 10` and `clip: 10.0` are one recipe; what does not fit stays."""
    hint = typing.get_type_hints(kind)[name]
    if value is False and "no" in choices(hint):  # YAML reads the word no as false
        return "no"
    if float in (hint, *typing.get_args(hint)) and isinstance(value, int | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):  # YAML reads 8e-4 as a string
            return float(value)
    return value


def read_yaml(file: Path) -> dict[str, Any]:
    """The entries of a recipe file; raises OptionError where it cannot be read or is no mapping."""
    try:
        values = load_yaml(file)
    except OSError as error:
        raise OptionError(f"recipe {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise OptionError(f"recipe {file} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise OptionError(f"recipe {file} holds no entries: write `name: value` lines such as `epochs: 20`")
    return values


def write_yaml(entries: Mapping[str, Any], file: Path) -> None:
    """Write every entry of a recipe, defaults included."""
    yaml = require("yaml", "train")
    write_whole(file, yaml.safe_dump(dict(entries), sort_keys=False).encode())


@cache
def _schema(kind: type[Any]) -> Any:
    """A msgspec.Struct of the fields with their bounds."""
    import msgspec

    hints = typing.get_type_hints(kind)
    entries = [(name, _bounded(hints[name], entry)) for name, entry in field_names(kind).items()]
    return msgspec.defstruct(f"{kind.__name__}Entries", entries)


def _bounded(hint: Any, entry: dataclasses.Field[Any]) -> Any:
    """A field's type with its bounds."""
    import msgspec

    if "bounds" not in entry.metadata:
        return hint
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)] or [hint]
    bounded: Any = typing.Annotated[kinds[0], msgspec.Meta(**entry.metadata["bounds"])]
    return bounded | None if typing.get_args(hint) else bounded
