"""AudioSet's ontology: a graph of sounds, in which a node may have several parents."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sondino.errors import OptionError


@dataclass(frozen=True)
class Node:
    """One sound.

    Attributes:
        id: such as /m/09x0r.
        name: such as Speech.
        children: ids of the nodes below it.
        abstract: it only groups others: no clip has it as its label.
        blacklisted: its authors advise against it as a label.
    """

    id: str
    name: str
    children: tuple[str, ...]
    abstract: bool
    blacklisted: bool


def read_ontology(file: Path) -> dict[str, Node]:
    """Read ontology.json: its nodes by their ids.

    Raises:
        OptionError: it is of another form.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        nodes = [
            Node(
                str(entry["id"]),
                str(entry["name"]),
                tuple(map(str, entry.get("child_ids", ()))),
                "abstract" in entry.get("restrictions", ()),
                "blacklist" in entry.get("restrictions", ()),
            )
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{file} is not AudioSet's ontology ({error}): get it again from its page") from error
    return {node.id: node for node in nodes}


def roots(ontology: Mapping[str, Node]) -> list[Node]:
    """The nodes that no other has as a child, in the file's order."""
    below = {child for node in ontology.values() for child in node.children}
    return [node for node in ontology.values() if node.id not in below]


def find_node(ontology: Mapping[str, Node], name: str) -> Node:
    """A node by its id, or by its name in any case.

    Raises:
        OptionError: there is none; the message has the nearest names.
    """
    if not ontology:
        raise OptionError(f"the node {name!r} needs ontology.json beside the segment lists: put it there")
    if name in ontology:
        return ontology[name]
    found = next((node for node in ontology.values() if node.name.casefold() == name.casefold()), None)
    if found is None:
        near = difflib.get_close_matches(name, [node.name for node in ontology.values()], cutoff=0.4)
        hint = f": did you mean {' or '.join(near)}?" if near else "; `sondino audioset list --ontology` shows them"
        raise OptionError(f"the ontology has no node {name!r}{hint}")
    return found


def descendants(ontology: Mapping[str, Node], node: Node) -> list[Node]:
    """A node and all below it, each once."""
    return list({each.id: each for _, each in walk(ontology, node)}.values())


def walk(ontology: Mapping[str, Node], node: Node, depth: int = 0) -> Iterator[tuple[int, Node]]:
    """A node and those below it with their depths; one that has several parents comes several times."""
    if depth > len(ontology):
        raise OptionError(f"the ontology goes round in circles at {node.name}: get it again from its page")
    yield depth, node
    for child in node.children:
        if child in ontology:
            yield from walk(ontology, ontology[child], depth + 1)
