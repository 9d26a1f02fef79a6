"""Results that are tables, for pyarrow and pandas. Names of columns and types are those of the tables in files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sondino.errors import require
from sondino.text import escape

if TYPE_CHECKING:
    import pandas
    import pyarrow

Kinds = Mapping[str, str]
"""Names of columns, in order, with the names of their Arrow types, such as "string" or "float32"."""


class AsTable(ABC):
    """A result that is a table: `to_arrow` and `to_pandas`."""

    @abstractmethod
    def to_arrow(self) -> pyarrow.Table:
        """The table for pyarrow; raises MissingExtra without `sondino[tables]`."""

    def to_pandas(self) -> pandas.DataFrame:
        """The table for pandas; raises MissingExtra without `sondino[pandas]`."""
        require("pandas", "pandas")
        return self.to_arrow().to_pandas()


def arrow_schema(kinds: Kinds) -> pyarrow.Schema:
    """Columns as a schema of Arrow; raises MissingExtra without pyarrow."""
    pyarrow = require("pyarrow", "tables")
    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in kinds.items()])


def arrow_table(kinds: Kinds, rows: Iterable[Sequence[Any]]) -> pyarrow.Table:
    """Rows, in the order of the columns, as a table of Arrow.

    Text is escaped as in all tables: file names need not be UTF-8, Arrow's strings must.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    pyarrow, schema = require("pyarrow", "tables"), arrow_schema(kinds)
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(kinds)
    escaped = [[escape(value) if isinstance(value, str) else value for value in column] for column in columns]
    arrays = [pyarrow.array(column, kind) for column, kind in zip(escaped, schema.types, strict=True)]
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def arrow_of_dicts(rows: Sequence[Mapping[str, Any]], kinds: Kinds, header: Sequence[str] = ()) -> pyarrow.Table:
    """Rows of named values, as `text.csv_of_dicts` takes them, as a table of Arrow; a value that a row lacks is null.

    Args:
        rows: the rows.
        kinds: types of columns; one that is not named is float64.
        header: names of the columns; empty: the first row's.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    names = list(header or (rows[0] if rows else kinds))
    named = {name: kinds.get(name, "float64") for name in names}
    return arrow_table(named, ([row.get(name) for name in names] for row in rows))
