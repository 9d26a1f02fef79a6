"""Modules and names of the package that tests import, and that pages and strings name, are there; no file is long.

The files are read and not imported, so that no extra is needed. mypy checks the imports of all other files.
"""

import ast
import re
import symtable
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src"
NAMED = re.compile(r"(?<![\w/.@-])sondino(?:\.(?!toml\b)[A-Za-z_]\w*)+")  # no path, no address, not sondino.toml
IMPORTED = re.compile(r"\bfrom (sondino[\w.]*) import (\([\w,\s]+|[\w, ]+)")


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or begins with a name at the top level of one."""
    place, parts = PACKAGE, name.split(".")
    while parts and ((place / parts[0] / "__init__.py").exists() or (place / f"{parts[0]}.py").exists()):
        place /= parts.pop(0)
    return not parts or parts[0] in top_level(place)


@cache
def top_level(place: Path) -> set[str]:
    """The names that a module defines at its top level; of a package and its stub also those that they import."""
    files = [place.with_suffix(".py"), place / "__init__.py", place / "__init__.pyi"]
    found: set[str] = set()
    for file in filter(Path.exists, files):
        symbols = symtable.symtable(file.read_text(encoding="utf-8"), str(file), "exec").get_symbols()
        own = (s for s in symbols if s.is_assigned() or (s.is_imported() and file.stem == "__init__"))
        found |= {symbol.get_name() for symbol in own}
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a program imports from the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] == "sondino")


def named(text: str) -> Iterator[str]:
    """The dotted names in a text, those of the imports in it among them."""
    yield from NAMED.findall(text)
    for module, names in IMPORTED.findall(text):
        yield from (f"{module}.{name.split()[0]}" for name in names.strip("(").split(",") if name.strip())


def strings(tree: ast.AST) -> Iterator[str]:
    """The string constants of a program, docstrings and parts of f-strings among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def programs(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            yield file, ast.parse(file.read_text(encoding="utf-8"))


def missing(found: Iterable[tuple[Path, str]]) -> list[str]:
    """The names that are not there, each after its file."""
    found = set(found)
    assert len(found) > 50  # the files were read
    return sorted(f"{file.relative_to(ROOT)}: {name}" for file, name in found if not exists(name))


def test_what_the_tests_import_is_there() -> None:
    assert not missing((file, name) for file, tree in programs("tests") for name in imports(tree))


def test_what_pages_name_is_there() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *PACKAGE.rglob("*.md"), ROOT / "examples" / "README.md"]
    assert not missing((page, name) for page in pages for name in named(page.read_text(encoding="utf-8")))


def test_what_strings_of_programs_name_is_there() -> None:
    read = programs("src", "benchmarks", "notebooks", "scripts", "examples/python")
    assert not missing((file, name) for file, tree in read for text in strings(tree) for name in named(text))


@pytest.mark.parametrize(
    "name", ["sondino.frontend.logmel.log_mel", "sondino.gone", "sondino.corpus.gone.table", "sondino.audio.gone"]
)
def test_a_name_that_is_gone_is_found(name: str) -> None:
    assert not exists(name)
    module, _, last = name.rpartition(".")
    assert name in imports(ast.parse(f"from {module} import {last} as other"))
    assert name in named(f"It is `{name}`.") and name in named(f"from {module} import load, {last}")


def test_what_is_no_name_is_left_out() -> None:
    assert not list(named("sondino.toml, /home/sondino.cfg, https://sondino.example.org, a@sondino.example, sondino."))


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lines = {
        file: file.read_text(encoding="utf-8").count("\n")
        for file in (*PACKAGE.rglob("*.py"), *ROOT.glob("tests/**/*.py"))
    }
    assert not {str(file.relative_to(ROOT)): count for file, count in lines.items() if count > 500}
