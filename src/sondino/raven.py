"""Raven's selection tables: columns of times and views, how long a selection is, and rows that repeat it."""

from collections.abc import Sequence

BEGIN, END, DELTA = "Begin Time (s)", "End Time (s)", "Delta Time (s)"
OFFSET = "File Offset (s)"
"""Where a selection begins in its own file: the times of a table over several count from the start of the first."""
VIEW = "View"
"""Waveform 1, Spectrogram 1 and so on: a selection has a row for each."""
SELECTION = "Selection"
"""The number of a selection, which its rows in several views share."""
UNNAMED = (VIEW, SELECTION)
"""Columns that say nothing about a sound: no message names them as not read."""
ROUNDING = 2e-3
"""Seconds by which a start and a duration may miss an end: each of the three is rounded, in some tables to 1 ms."""


def is_table(beginning: bytes) -> bool:
    """Whether a file's first bytes are those of a selection table, in UTF-8 or UTF-16."""
    encoding = "utf-16" if beginning[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    names = beginning.decode(encoding, "replace").strip().partition("\n")[0]
    return BEGIN in names.strip().split("\t")


def length(
    start: float, end: float | None, duration: float | None, names: Sequence[str] = (BEGIN, END, DELTA)
) -> float | None:
    """Seconds from a start to its end; the duration where there is no end, None where there is neither.

    Args:
        start: seconds.
        end: seconds.
        duration: seconds.
        names: of the columns that the three are from, for the message.

    Raises:
        ValueError: `duration` and `end` differ by more than rounding does.
    """
    if end is None:
        return duration
    if duration is not None and abs(start + duration - end) > ROUNDING:
        begin, stop, long = names
        raise ValueError(
            f"{begin} {start:g} s and {long} {duration:g} s do not make {stop} {end:g} s: "
            f"keep one of the columns {long} and {stop}"
        )
    return round(end - start, 9)


def repeated(columns: Sequence[Sequence[object]]) -> set[int]:
    """The rows whose cells are those of a row above them, as of a selection in two views."""
    first: dict[tuple[object, ...], int] = {}
    return {row for row, cells in enumerate(zip(*columns, strict=True)) if first.setdefault(cells, row) != row}
