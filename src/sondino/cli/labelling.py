"""The command label: an archive is labelled by ear, and a classifier of one's own comes out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sondino.cli.app import list_skipped
from sondino.cli.early import check_model
from sondino.console import print_line
from sondino.errors import OptionError
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.text import escape

if TYPE_CHECKING:
    from sondino.annotation.server import LabelServer
    from sondino.annotation.session import Session


def label(
    recordings: Path,
    *,
    model: str = DEFAULT_MODEL,
    labels: Path | None = None,
    start: Annotated[list[str] | None, Parameter(negative=())] = None,
    out: Path = Path("my_classifier"),
    name: str = "",
    port: int = 8018,
    open: bool = False,
    quiet: bool = False,
) -> int:
    """Label recordings by ear: listen to candidates, say yes or no, and get a classifier. Needs no PyTorch.

    Every answer is on disk before the next candidate shows. The same command resumes, and embeds
    only recordings that are new.

    Example: `sondino label recordings/`

    Example: `sondino label recordings/ --labels BirdNET_CombinedTable.csv --out my_classifier --name Ada`

    Example: `sondino label recordings/ --start dog=bark.wav --start rain=label:Rain`

    Args:
        recordings: a folder, a file or a list.
        model: a bundle, a run's folder, or a name that `sondino models` lists. Default: the model that comes with the
            package.
        labels: existing labels to check by ear: a list (CSV or Parquet, or BirdNET's results as CSV), or the folder of
            recordings with label tracks or selection tables beside them.
        start: a label and what its first candidates are like: `dog=example.wav`, `dog=dawn.wav#t=12.5,15`,
            `dog=label:Dog` (of the model's own labels), `dog=group:3` (1 to 20, of windows that are alike) or
            `dog=random`. Give it once for each label. On the page labels start too, but not from a file.
        out: folder of the answers, the labels, the tables, the classifier and the report.
        name: of the listener, for the history.
        port: of the page, on 127.0.0.1; only this machine can reach it.
        open: in the browser of this machine, at once.
        quiet: show no progress.
    """
    check_model(model)
    starts = dict(split_start(one) for one in start or ())
    from sondino.annotation.server import open_label_server
    from sondino.annotation.session import Session
    from sondino.progress import show

    with open_label_server(port) as server:  # first: a port that is taken is known at once
        with show("embedding", "files", quiet) as progress:
            session = Session.open(recordings, out, model, who=name, given=labels, progress=progress)
        for one, by in starts.items():
            session.start(one, by)
        print_session(session)
        server.session = session
        serve(server, open)
    return list_skipped(session.skipped)


def serve(server: "LabelServer", open: bool) -> None:
    """Serve the page until Ctrl-C."""
    import webbrowser

    print_line(f"open {server.address} (Ctrl-C ends it)", flush=True)
    if open:
        webbrowser.open(server.address)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        print_line()


def split_start(text: str) -> tuple[str, str]:
    """The label of a start, and what its first candidates are like.

    Raises:
        OptionError: it is not LABEL=START.
    """
    label, found, by = text.partition("=")
    if not (found and label and by):
        raise OptionError(f"--start {text}: give a label and a start, such as --start dog=bark.wav")
    return label, by


def print_session(session: "Session") -> None:
    """Print what there is to label, and what was labelled before."""
    state = session.state()
    print_line(f"{state.windows:,} windows of {state.files:,} recordings, embedded by {state.model}, in {session.out}")
    if session.gone:
        gone = escape(session.gone[0])
        more = f" and {len(session.gone) - 1} more" if len(session.gone) > 1 else ""
        print_line(f"note: no longer there, and left out: {gone}{more}", error=True)
    if session.given_elsewhere:
        print_line(f"note: {session.given_elsewhere} of the given labels fit no window", error=True)
    for label, counts in state.answers.items():
        found = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        print_line(f"{escape(label)}: {found}. {state.advice[label]}")
