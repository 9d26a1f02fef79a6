"""A recipe's entries as options of a command."""

import dataclasses
from collections.abc import Collection
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter


def recipe_options(kind: type[Any], signed: Collection[str] = (), **hints: Any) -> type[Any]:
    """A dataclass of the recipe's entries that are options; None: not given, so that a recipe file decides.

    Args:
        kind: the recipe's dataclass.
        signed: entries whose text may begin with a minus.
        hints: other types of some entries on the command line.
    """
    types = get_type_hints(kind) | hints
    options = []
    for entry in dataclasses.fields(kind):
        if entry.metadata.get("option", True):
            default = f"{entry.default:g}" if isinstance(entry.default, float) else entry.default
            parameter = Parameter(
                help=entry.metadata["help"] + ("." if default in (None, ()) else f". Default {default}."),
                allow_leading_hyphen=entry.name in signed,
                negative=f"--no-{entry.name.replace('_', '-')}" if types[entry.name] is bool else (),
            )
            options.append((entry.name, Annotated[types[entry.name] | None, parameter], None))
    return dataclasses.make_dataclass(f"{kind.__name__}Options", options, namespace={"__module__": __name__})
