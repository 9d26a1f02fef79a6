"""Files of ours checked against their schema by msgspec; a message names the file, the entry and what to do."""

import json
import re
import reprlib
from pathlib import Path
from typing import Any, TypeVar

from sondino.errors import SondinoError, check_regular, require
from sondino.text import first_line

T = TypeVar("T")

MOST_YAML = 1 << 20

# msgspec is imported where it is used: `--help` reads recipes' entries, and needs none of their checks.

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "nothing",
    "array": "a list",
    "object": "named entries",
}
_BOUNDS = {">=": "{} or more", "<=": "{} or less", ">": "above {}", "<": "below {}"}


def load_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or nested too deeply.
    """
    check_regular(file)
    return parse_json(file.read_bytes())


def parse_json(text: bytes) -> Any:
    """`load_json` of the content of a file."""
    try:
        return json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def load_yaml(file: Path) -> Any:
    """The content of a YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not YAML, too long, or has aliases, which can stand for any amount.
        MissingExtra: PyYAML is not installed.
    """
    if file.stat().st_size > MOST_YAML:
        raise ValueError(f"over {MOST_YAML} bytes")
    return parse_yaml(file.read_text(encoding="utf-8"))


def parse_yaml(text: str) -> Any:
    """`load_yaml` of a text."""
    yaml = require("yaml", "train")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has aliases (*name): write the values out")
        return yaml.safe_load(text)
    except Exception as error:  # of any kind: those of the dates and numbers that PyYAML makes pass through it
        raise ValueError(first_line(error)) from error


def check(values: Any, kind: type[T], where: str, advice: str = "", error: type[SondinoError] = SondinoError) -> T:
    """Values as a type: a msgspec.Struct, or another that msgspec knows; nothing is converted but whole numbers.

    Args:
        values: as JSON or YAML gives them.
        kind: the type.
        where: the file, for the message.
        advice: what to do, for the message.
        error: the error's type.

    Raises:
        SondinoError: the first fault, as `error`.
    """
    import msgspec

    try:
        return msgspec.convert(values, kind)
    except UnicodeError as found:  # msgspec compares text as UTF-8
        raise error(f"{where}: text in it is not UTF-8; {advice}".strip(":; ")) from found
    except (msgspec.ValidationError, RecursionError, OverflowError) as found:
        text = ": ".join(part for part in (where, _message(str(found), values)) if part)
        raise error(f"{text}; {advice}" if advice else text) from found


def _message(message: str, values: Any) -> str:
    """What msgspec found, with the value: "epochs is 0: give a whole number, 1 or more"."""
    fault, _, path = message.partition(" - at ")
    of_key = path.startswith("`key` in ")
    path = re.sub(r"^(`key` in )?`\$\.?|`$", "", path)
    value = _value_at(values, path)
    missing = re.search("missing required field `(.*)`", fault)
    if missing:
        return f"it has no {path + '.' if path else ''}{missing[1]}"
    expected = re.match("Expected (.*?)(, got .*)?$", fault)
    wanted = f"give {_in_words(expected[1])}" if expected else fault
    if of_key:
        return f"a key of {path} does not fit: {wanted}"
    return f"{path or 'it'} is {value}: {wanted}" if value else f"{path or 'it'} does not fit: {wanted}"


def _value_at(values: Any, path: str) -> str:
    """The value at a path such as teachers[0].licence, shortened; "" where msgspec does not say which of several."""
    for name, place in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            values = values[int(place)] if place else values[name]
        except (KeyError, IndexError, TypeError):
            return ""
    return "" if "[...]" in path else reprlib.repr(values)


def _in_words(expected: str) -> str:
    """A type as msgspec names it, in words: "`int` >= 1" as "a whole number, 1 or more"."""
    types, _, bound = expected.partition("` ")
    words = " or ".join(_TYPES.get(name, name) for name in types.strip("`").split(" | "))
    found = re.fullmatch(r"(>=|<=|>|<) (\S+)", bound)
    if found:
        return f"{words}, {_BOUNDS[found[1]].format(found[2].removesuffix('.0'))}"
    return f"{words} {bound}".strip()
