"""The command line's app, and what its commands share."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from cyclopts import App, Parameter, Token

from sondino.cli.defaults import apply_environment, apply_file
from sondino.console import new_table, open_console, print_line
from sondino.errors import OptionError
from sondino.files import unreadable
from sondino.text import escape, printable
from sondino.version import __version__

if TYPE_CHECKING:
    from sondino.audio.decoded import FilePart

app = App(
    name="sondino",
    help="Small audio models out of big ones: distil, measure, embed.",
    version=__version__,
    help_format="markdown",
    default_parameter=Parameter(negative_iterable=(), negative_none=()),
    suppress_keyboard_interrupt=False,
    config=(apply_environment, apply_file),
)

Device = Literal["auto", "cpu", "cuda"]


def check_hyphens(command: str, given: Iterable[str]) -> None:
    """Refuse what begins with a hyphen, but - itself: to let - through, cyclopts must let through all that does."""
    for unknown in given:
        if unknown.startswith("-") and unknown != "-":
            raise OptionError(
                f"there is no option {unknown}: sondino {command} --help lists them; a file is written ./{unknown}"
            )


def given_inputs(kind: object, tokens: Sequence[Token]) -> list[Path | str]:
    """Paths, and addresses as they are: a path would lose one of their slashes."""
    return [token.value if "://" in token.value else Path(token.value) for token in tokens]


Inputs = Annotated[list[Path | str], Parameter(allow_leading_hyphen=True, converter=given_inputs)]
"""Files, folders, lists, tar files and addresses."""


def fetched(inputs: Sequence[Path | str], quiet: bool) -> "list[Path | str | FilePart]":
    """Inputs with the addresses among them fetched, with progress.

    Raises:
        SondinoError: an address cannot be fetched.
    """
    from sondino.embedding.inputs import fetch, is_one_sound
    from sondino.progress import show

    found: list[Path | str | FilePart] = []
    for given in inputs:
        if not (isinstance(given, str) and is_one_sound(given)):
            found.append(given)
            continue
        with show(f"fetching {given}", "kB", quiet) as progress:

            def count(done: int, total: int | None) -> None:
                progress(done // 1000, (total or done) // 1000)

            found.append(fetch(given, count))
    return found


def show_table(rows: list[dict[str, str]]) -> int:
    """Print rows as a table; 0, the exit code."""
    table = new_table()
    for name in rows[0]:
        table.add_column(printable(name), overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row.values()))
    open_console().print(table)
    return 0


def show_json(document: Mapping[str, Any]) -> int:
    """Print one JSON document; 0, the exit code. ASCII alone, whatever the terminal's encoding is."""
    import json

    print_line(json.dumps(document, indent=1, default=str))
    return 0


def write_report(folder: Path, quiet: bool) -> Path:
    """The HTML page of a folder of results, written with progress."""
    from sondino.progress import show
    from sondino.reporting.report import report

    with show("writing the report", quiet=quiet):
        return report(folder).resolve()


class Kept(Protocol):
    """A report of a call that may have added to an output."""

    kept: int
    replaced: int
    gone: int


def kept_note(report: Kept) -> str:
    """What an output held already, for the end of a summary; "" where it held nothing."""
    notes = []
    if report.kept:
        gone = f", {report.gone} of them {_are(report.gone)} no longer on disk" if report.gone else ""
        notes.append(f"{_files(report.kept)} there already{gone}")
    if report.replaced:
        notes.append(f"{_files(report.replaced)} replaced")
    return "".join(f"; {note}" for note in notes)


def _files(count: int) -> str:
    return "1 file was" if count == 1 else f"{count} files were"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def report_skipped(skipped: list[tuple[str, str]], output: Path) -> int:
    """List what was skipped beside an output, in NAME.skipped.csv, and print it; the exit code."""
    from sondino.files import write_skipped

    file = output.with_name(output.stem + ".skipped.csv")
    if skipped:
        write_skipped(file, skipped)
    else:
        file.unlink(missing_ok=True)  # of an earlier call
    return list_skipped(skipped, file)


def list_skipped(skipped: list[tuple[str, str]], where: Path | None = None) -> int:
    """Print what was skipped (all of it is in a file where there are many); 1 if anything could not be read."""
    for path, reason in skipped[:20]:
        print_line(f"skipped {escape(path)}: {reason}", error=True)
    if len(skipped) > 20:
        print_line(f"... and {len(skipped) - 20} more" + (f", listed in {where}" if where else ""), error=True)
    return 1 if unreadable(skipped) else 0
