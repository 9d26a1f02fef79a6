"""The command label: an archive is labelled by ear, and a classifier of one's own comes out."""

from pathlib import Path
from typing import TYPE_CHECKING

from sondino.cli.app import app, list_skipped
from sondino.cli.early import check_model
from sondino.console import print_line
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.text import escape

if TYPE_CHECKING:
    from sondino.annotation.session import Session


@app.command
def label(
    recordings: Path,
    *,
    model: str = DEFAULT_MODEL,
    labels: Path | None = None,
    out: Path = Path("my_classifier"),
    name: str = "",
    port: int = 8018,
    quiet: bool = False,
) -> int:
    """Label recordings by ear: listen to candidates, say yes or no, and get a classifier. Needs no PyTorch.

    Every answer is on disk before the next candidate shows. The same command resumes, and embeds
    only recordings that are new.

    Example: `sondino label recordings/`

    Example: `sondino label recordings/ --labels BirdNET_CombinedTable.csv --out my_classifier --name Ada`

    Args:
        recordings: a folder, a file or a list.
        model: a bundle, a run's folder, or a name that `sondino models` lists. Default: the model that comes with the
            package.
        labels: existing labels to check by ear: a list (CSV or Parquet, or BirdNET's results as CSV), or the folder of
            recordings with label tracks or selection tables beside them.
        out: folder of the answers, the labels, the tables, the classifier and the report.
        name: of the listener, for the history.
        port: of the page, on 127.0.0.1; only this machine can reach it.
        quiet: show no progress.
    """
    check_model(model)
    from sondino.annotation.session import Session
    from sondino.progress import show

    with show("embedding", "files", quiet) as progress:
        session = Session.open(recordings, out, model, who=name, given=labels, progress=progress)
    state = session.state()
    print_line(f"{state.windows:,} windows of {state.files:,} recordings, embedded by {state.model}, in {out}")
    if session.gone:
        print_line(
            f"note: {len(session.gone)} recordings are no longer there, such as {escape(session.gone[0])}", error=True
        )
    if session.given_elsewhere:
        print_line(f"note: {session.given_elsewhere} of the given labels fit no window", error=True)
    for one in state.labels:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in state.answers[one].items())
        print_line(f"{escape(one)}: {counts}. {state.advice[one]}")
    serve(session, port)
    return list_skipped(session.skipped)


def serve(session: "Session", port: int) -> None:
    """Serve the page until Ctrl-C."""
