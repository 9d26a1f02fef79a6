"""What was left out, as (path, reason): one broken file never stops a folder, and none is lost silently."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

DUPLICATE = "duplicate of "
"""How the reason of a file begins that was left out because another holds the same bytes."""


def unreadable(skipped: Iterable[tuple[str, str]]) -> int:
    """How many were left out for another reason than that they are duplicates."""
    return sum(not reason.startswith(DUPLICATE) for _, reason in skipped)


def write_skipped(file: Path, skipped: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write (path, reason) rows, each once, and return them."""
    from sondino.files import write_whole  # here, since it takes its time

    rows = list(dict.fromkeys(skipped))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows(rows)
    write_whole(file, text.getvalue().encode(errors="surrogateescape"))  # names need not be UTF-8
    return rows
