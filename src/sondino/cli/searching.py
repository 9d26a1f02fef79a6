"""The command that searches: similar."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sondino.cli.app import app, show_json, show_table
from sondino.console import print_line
from sondino.text import escape, unescape


@app.command
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
    json: bool = False,
) -> int:
    """List the clips of a table whose embeddings are nearest to that of one of them, or of an audio file, by cosine.

    Example: `sondino similar dog.wav --in embeddings.npz --model run/bundle -k 5`

    Args:
        query: with --model an audio file; without, the id of a clip in the table, which is then left out of the answer.
        table: written by `sondino embed`: .npz, .npy, .csv, .parquet or .lance. With windows, `start` is the nearest's;
            with `--channel each`, each channel of a file is a clip.
        k: how many clips.
        model: the bundle, or its name, that made the table.
        output: a CSV of the answer.
        window: as the table was made with.
        hop: as the table was made with.
        short: as the table was made with.
        json: print one JSON document in place of a table.
    """
    from sondino.embedding.similar import find_similar, query_of_id, query_of_sound

    leave_out = None
    if model is None:
        leave_out = unescape(query)  # as tables in text name it
        vectors = query_of_id(leave_out, table)
    else:
        from sondino.pretrained.load import load

        vectors = query_of_sound(query, load(model), table, window=window, hop=hop, short=short)
    found = find_similar(vectors, table, k, leave_out)
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
