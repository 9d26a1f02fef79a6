"""Writes cli/bad_inputs.md, every mistake with its message: PYTHONPATH=tests python -m helpers.bad_inputs_page."""

from pathlib import Path

import helpers.bad_inputs_compress
import helpers.bad_inputs_edge
import helpers.bad_inputs_pretraining  # noqa: F401 - adds its mistakes
from helpers.bad_inputs import MISTAKES, message_of

PAGE = Path(__file__).parents[1] / "cli" / "bad_inputs.md"


def main() -> None:
    """Write the page."""
    import tempfile

    lines = [
        "# Error messages for bad input",
        "",
        "Each mistake raises a `sondino.SondinoError` with this message; the command line prints it and exits with 2.",
        "In a folder, a file that cannot be decoded is skipped and listed with its message at the end, and the exit",
        f"code is 1. `tests/cli/test_bad_inputs.py` makes all {len(MISTAKES)} mistakes and compares the messages with",
        "this page; `PYTHONPATH=tests python -m helpers.bad_inputs_page` writes it again.",
    ]
    group = ""
    for made in MISTAKES:
        if made.group != group:
            group = made.group
            lines += ["", f"## {group}", "", "| mistake | message |", "| --- | --- |"]
        with tempfile.TemporaryDirectory() as folder:
            message = message_of(made, Path(folder)).replace("|", "\\|")
        lines.append(f"| {made.what} | {message} |")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
