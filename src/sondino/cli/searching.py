"""The commands that search: similar, and index for tables of millions of rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from sondino.cli.app import fetched, show_json, show_table
from sondino.console import print_line
from sondino.text import escape, unescape

if TYPE_CHECKING:
    from sondino.embedding.search_index import SearchIndex
    from sondino.embedding.similar import Neighbours

LOW_RECALL = 0.95
MANY_ROWS = 1_000_000
"""From so many rows on an index is recommended."""


def index(
    table: Path,
    *,
    out: Path | None = None,
    recall_queries: int = 100,
    threads: int | None = None,
    quiet: bool = False,
) -> int:
    """Make an approximate index of a table, so that `sondino similar` need not read all of it: from a million rows on.

    Needs `pip install 'sondino[search]'`.

    Example: `sondino index embeddings.parquet`

    Args:
        table: .npz, .npy, .parquet, .lance or a folder of Parquet files, written by `sondino embed`.
        out: the folder of the index; by default TABLE.index, where `sondino similar` looks for it.
        recall_queries: rows on which recall@10 is measured against exact search; 0: it is not measured.
        threads: by default all cores.
        quiet: show no progress.
    """
    from sondino.embedding.search_index import build_index
    from sondino.progress import show

    with show("index", "rows", quiet) as progress:
        made = build_index(table, out, recall_queries=recall_queries, threads=threads, progress=progress)
    recall = "not measured" if made.recall is None else f"{made.recall:.3f} on {made.queries} rows"
    print_line(
        f"{made.rows} rows, {made.dim} dimensions, {made.bytes / 1e6:.1f} MB, recall@10 {recall}, in {made.folder}"
    )
    if made.empty:
        print_line(f"{made.empty} rows of zeros have no cosine and are not in it")
    if made.recall is not None and made.recall < LOW_RECALL:
        print_line(f"recall@10 is under {LOW_RECALL}: searches miss near clips; --exact finds all", error=True)
    return 0


def similar(
    query: str,
    *,
    table: Annotated[Path, Parameter(name="--in")],
    k: Annotated[int, Parameter(name=["-k", "--neighbours"])] = 10,
    model: str | None = None,
    output: Path | None = None,
    window: float | None = None,
    hop: float | None = None,
    short: Literal["pad", "native", "repeat"] | None = None,
    index: Path | None = None,
    exact: bool = False,
    json: bool = False,
) -> int:
    """List the clips of a table whose embeddings are nearest to that of one of them, or of an audio file, by cosine.

    All rows are compared, unless the table has an index (`sondino index`); which it was is said on standard error.

    Example: `sondino similar dog.wav --in embeddings.npz --model run/bundle -k 5`

    Args:
        query: with --model an audio file, or the address (https://...) of one; without, the id of a clip in the table,
            which is then left out of the answer.
        table: written by `sondino embed`: .npz, .npy, .csv, .parquet, .lance or a folder of Parquet files. With
            windows, `start` is the nearest's; with `--channel each`, each channel of a file is a clip.
        k: how many clips.
        model: the bundle, or its name, that made the table.
        output: a CSV of the answer.
        window: as the table was made with.
        hop: as the table was made with.
        short: as the table was made with.
        index: made by `sondino index`; by default TABLE.index, where that exists.
        exact: compare all rows, also where there is an index.
        json: print one JSON document in place of a table.
    """
    from sondino.embedding.search_index import index_beside, is_index, open_index
    from sondino.embedding.similar import find_similar, query_of_id, query_of_sound
    from sondino.errors import OptionError

    if exact and index is not None:
        raise OptionError("--exact compares all rows, and --index is of some: leave one of the two out")
    beside = index_beside(table)
    if index is None and not exact and is_index(beside):
        index = beside
    opened = None if index is None else open_index(index, table)
    leave_out = None
    if model is None:
        leave_out = unescape(query)  # as tables in text name it
        vectors = query_of_id(leave_out, table, opened)
    else:
        from sondino.pretrained.load import load

        (sound,) = fetched([query], json)
        vectors = query_of_sound(sound, load(model), table, window=window, hop=hop, short=short)
    found = find_similar(vectors, table, k, leave_out, opened)
    print_line(_how(found, opened, table), error=True)
    if not found and not json:
        print_line(f"{table} holds no other clip")
        return 0
    rows = []
    for row in found.rows():
        start = {"start": f"{row['start']:g}"} if "start" in row else {}
        rows.append({**{name: str(value) for name, value in row.items()}, **start, "cosine": f"{row['cosine']:.6f}"})
    if output is not None and rows:
        from sondino.files import write_whole
        from sondino.text import csv_of_dicts

        write_whole(output, csv_of_dicts(rows).encode())
    if json:
        neighbours = [
            {"rank": rank, "id": escape(near.id), "channel": near.channel, "start": near.start, "cosine": near.cosine}
            for rank, near in enumerate(found, 1)
        ]
        return show_json({"neighbours": neighbours})
    return show_table(rows)


def _how(found: "Neighbours", index: "SearchIndex | None", table: Path) -> str:
    """Which search was made."""
    if found.by_index and index is not None:
        recall = "" if index.recall is None else f" (recall@10 {index.recall:.3f} when it was made)"
        return f"compared {found.compared} of {index.rows} rows, to which the index {index.folder} led{recall}"
    advice = f": `sondino index {table}` makes this faster" if found.compared >= MANY_ROWS and index is None else ""
    return f"compared all {found.compared} rows{advice}"
