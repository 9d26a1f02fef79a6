"""A recipe's entries as options of a command."""

import dataclasses
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter


def recipe_options(kind: type[Any], **hints: Any) -> type[Any]:
    """A dataclass of the recipe's entries that are options; None: not given, so that a recipe file decides.

    Args:
        kind: the recipe's dataclass.
        hints: other types of some entries on the command line.
    """
    types = get_type_hints(kind) | hints
    options = []
    for entry in dataclasses.fields(kind):
        if entry.metadata.get("option", True):
            default = f"{entry.default:g}" if isinstance(entry.default, float) else entry.default
            parameter = Parameter(
                help=entry.metadata["help"] + ("." if default in (None, ()) else f". Default {default}."),
                negative=f"--no-{entry.name.replace('_', '-')}" if types[entry.name] is bool else (),
            )
            options.append((entry.name, Annotated[types[entry.name] | None, parameter], None))
    return dataclasses.make_dataclass(f"{kind.__name__}Options", options, namespace={"__module__": __name__})
