"""The cells of a list in Parquet, of any of its types that hold text or numbers."""

from pathlib import Path
from typing import Any

from sondino.errors import OptionError, require
from sondino.lists.cells import COLUMNS, TEXT, UNNAMED, Cells, ListToRead
from sondino.lists.columns import check_parts, is_meant, our_names, parts_in, refused_columns, time_columns
from sondino.lists.values import BETWEEN_LABELS
from sondino.text import first_line


def read_parquet(form: ListToRead) -> Cells:
    """Read a Parquet file; OptionError where it is none, or a column is refused; MissingExtra without pyarrow."""
    file = form.file
    pa = require("pyarrow", "tables")
    parquet = require("pyarrow.parquet", "tables")
    try:
        with parquet.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            given = list(schema.names)
            names = our_names(given)
            refused = refused_columns(form, names)
            times = time_columns(given, names)
            texts = [name for name, one in zip(names, schema, strict=True)
                     if names.count(name) == 1 and _is_text(pa, one.type)]  # fmt: skip
            wanted = {*TEXT, *times, *refused, *texts} & set(names)
            table = opened.read(columns=[old for old, new in zip(given, names, strict=True) if new in wanted])
        table.validate(full=True)
        ours = dict(zip(given, names, strict=True))
        table = table.rename_columns([ours[name] for name in table.column_names])
    except OptionError:
        raise
    except Exception as error:  # what a damaged file raises is not all of pyarrow's own types
        raise OptionError(f"{file} cannot be read as Parquet ({first_line(error)}): write it again") from error
    there = [name for name in names if name in wanted and name in table.column_names]
    written = {new: old for old, new in ours.items()}
    for name in refused:
        if names.count(name) > 1 or (name in there and any(is_meant(name, cell) for cell in table[name].to_pylist())):
            raise OptionError(f"{file}, column {written[name]!r}: {refused[name]}")
    if not {"fold", "split"} & set(names):
        for name in set(texts) & set(there) - set(COLUMNS):
            distinct = [str(cell).strip() for cell in table[name].unique().to_pylist() if cell is not None]
            check_parts(file, name, parts_in(distinct))
    text = {name: _text_cells(pa, file, name, table[name]) for name in TEXT if name in there}
    seconds = {name: _number_cells(pa, file, written[name], table[name]) for name in times if name in there}
    unread = tuple(name for name, one in zip(names, schema, strict=True)
                   if name not in (*TEXT, *times, *UNNAMED) and not pa.types.is_null(one.type))  # fmt: skip
    return Cells(list(range(1, len(table) + 1)), text, seconds, unread, written)


def _is_text(pa: Any, kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _text_cells(pa: Any, file: Path, name: str, column: Any) -> list[str]:
    types, kind = pa.types, column.type
    several = name in ("label", "labels") and (types.is_list(kind) or types.is_large_list(kind))
    inner = kind.value_type if several else kind
    plain = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    if not (_is_text(pa, inner) or any(fits(inner) for fits in plain)):
        raise OptionError(f"{file}, column {name} holds {kind}: give text")
    if several:
        cells = [
            BETWEEN_LABELS.join(str(each) for each in cell or () if each is not None) for cell in column.to_pylist()
        ]
    elif _is_text(pa, kind):
        cells = ["" if cell is None else cell for cell in column.to_pylist()]
    else:
        cells = ["" if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell)
                 for cell in column.to_pylist()]  # fmt: skip
    return cells if name in ("path", "split") else [cell.strip() for cell in cells]


def _number_cells(pa: Any, file: Path, name: str, column: Any) -> list[str | float | None]:
    types, kind = pa.types, column.type
    plain = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    if not (_is_text(pa, kind) or any(fits(kind) for fits in plain)):
        raise OptionError(f"{file}, column {name} holds {kind}: give seconds as numbers")
    return list(column.to_pylist())
