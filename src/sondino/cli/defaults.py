"""Defaults of options: the environment, then a file, sondino.toml or [tool.sondino] of pyproject.toml.

The command line wins over the environment, the environment over the file.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import App, Argument, ArgumentCollection, CycloptsError, Token

from sondino.errors import OptionError
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.text import first_line

VARIABLES = {"SONDINO_MODEL": "model", "SONDINO_THREADS": "threads"}
"""Environment variables -> the option that each is the default of."""

OF_ALL = tuple(VARIABLES.values())
"""Options that a file may name outside of a command's table."""

NAMES = ("sondino.toml", "pyproject.toml")


@dataclass(frozen=True)
class Defaults:
    """A file of defaults: its path, and what it holds, option by option and command by command."""

    file: Path
    values: Mapping[str, Any]


def find_defaults(folder: Path) -> Defaults | None:
    """The file of defaults that holds for a folder: the first, in it or above, that has any; None where there is none.

    Raises:
        OptionError: a file that cannot be read, or is no TOML.
    """
    for place in (folder, *folder.parents):
        for name in NAMES:
            file = place / name
            if not (file.is_file() or (name == NAMES[0] and os.path.lexists(file))):  # a link to nothing is reported
                continue
            values = _read_toml(file)
            if name == "pyproject.toml":
                tool = values.get("tool", {})
                values = tool.get("sondino") if isinstance(tool, dict) else None
            if values is not None:
                if not isinstance(values, dict):
                    raise OptionError(f"{file}: tool.sondino is no table: write [tool.sondino]")
                return Defaults(file, values)
    return None


def _read_toml(file: Path) -> Any:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{file} cannot be read ({error.strerror or error}): mend or remove it") from error
    except ValueError as error:
        raise OptionError(f"{file} is no TOML ({first_line(error)}): mend or remove it") from error


def apply_environment(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give options that the command line left out the values of environment variables; cyclopts calls this."""
    for variable, option in VARIABLES.items():
        value = os.environ.get(variable)
        argument = _option_of_all(arguments, option)
        if value and argument is not None and not argument.tokens:
            _give(argument, [value], variable)


def apply_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give options that are still left out the values of the file of defaults; cyclopts calls this.

    Raises:
        OptionError: a command, option or value that there is not; the message names file, key and the nearest.
    """
    found = find_defaults(Path.cwd())
    if found is None:
        return
    check_names(found)
    table = found.values if commands else {}
    for command in commands:
        table = table.get(command, {})
    for key, value in table.items():
        argument = _options(arguments)[_name(key)]
        if not argument.tokens:
            where = f"{found.file}, [{'.'.join(commands)}]"
            _give(argument, _as_text(argument, value, f"{where}: {key}"), where)
    for key in OF_ALL:
        argument_of_all = _option_of_all(arguments, key)
        if key in found.values and argument_of_all is not None and not argument_of_all.tokens:
            words = _as_text(argument_of_all, found.values[key], f"{found.file}: {key}")
            _give(argument_of_all, words, str(found.file))


def check_names(found: Defaults) -> None:
    """Raises OptionError where a file names a command or an option that there is not."""
    from sondino.cli.app import app

    names = [name for name in app if not name.startswith("-")]
    for key, value in found.values.items():
        if not isinstance(value, dict):
            if key not in OF_ALL:
                near = _nearest(key, OF_ALL)
                raise OptionError(
                    f"{found.file}: {key!r} stands outside of a table{near}: only {' and '.join(OF_ALL)} may, other "
                    "options belong to a command, such as [embed]"
                )
        elif key not in names:
            raise OptionError(f"{found.file}: [{key}] is no command{_nearest(key, names)}")
        else:
            _check_table(found.file, key, value, app[key])


def _check_table(file: Path, name: str, table: Mapping[str, Any], command: App) -> None:
    """Raises OptionError where a command's table names an option that there is not, or a group's another command."""
    inner = [name for name in command if not name.startswith("-")]
    if inner:
        for key, value in table.items():
            if key not in inner or not isinstance(value, dict):
                raise OptionError(
                    f"{file}: [{name}] holds {key!r}{_nearest(key, inner)}: its tables are "
                    f"{', '.join(f'[{name}.{one}]' for one in inner)}"
                )
            _check_table(file, f"{name}.{key}", value, command[key])
        return
    known = _options(command.assemble_argument_collection())
    for option in table:
        if _name(option) not in known:
            raise OptionError(f"{file}: [{name}] has no option {option!r}{_nearest(_name(option), known)}")


def _options(arguments: ArgumentCollection) -> dict[str, Argument]:
    """The options of a command by their names, as a file has them; what stands without a name is none."""
    named = [argument for argument in arguments if argument.field_info.kind is argument.field_info.KEYWORD_ONLY]
    return {name.lstrip("-"): argument for argument in named for name in argument.names if not _negates(argument, name)}


def _negates(argument: Argument, name: str) -> bool:
    return name in argument.negatives and name != argument.name


def _option_of_all(arguments: ArgumentCollection, option: str) -> Argument | None:
    """The model that is the default one where none is named, or the number of threads; None where there is no such."""
    for argument in arguments:
        is_model = argument.field_info.default == DEFAULT_MODEL
        is_threads = argument.name == "--threads" and argument.hint == int | None
        if (is_model and option == "model") or (is_threads and option == "threads"):
            return argument
    return None


def _name(key: str) -> str:
    return key.replace("_", "-")


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.4)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _as_text(argument: Argument, value: Any, where: str) -> list[str]:
    """A value of TOML as the words of a command line for an option."""
    takes_several = argument.token_count()[1]
    if isinstance(value, list):
        if not takes_several:
            raise OptionError(f"{where} is a list, and the option takes one value: write it without brackets")
        return [word for each in value for word in _as_text(argument, each, where)]
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, (str, int, float)):
        return [str(value)]
    others = "true or false, or a list of those" if takes_several else "or true or false"
    raise OptionError(f"{where} is a {type(value).__name__}: give text, a number, {others}")


def _give(argument: Argument, values: list[str], source: str) -> None:
    """Give an option its values, or raise OptionError where they are none of its kind."""
    keyword = argument.name
    for place, value in enumerate(values):
        argument.append(Token(keyword=keyword, value=value, source=source, index=place))
    try:
        argument.convert()
    except CycloptsError as error:
        error.verbose = False
        raise OptionError(first_line(error)) from error  # names the option and the source
