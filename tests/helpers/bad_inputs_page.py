"""Writes docs/bad_inputs.md, every mistake with its message: PYTHONPATH=tests python -m helpers.bad_inputs_page."""

from pathlib import Path

import helpers.bad_inputs_compress
import helpers.bad_inputs_edge  # noqa: F401 - adds its mistakes
from helpers.bad_inputs import MISTAKES, said

PAGE = Path(__file__).parents[2] / "docs" / "bad_inputs.md"


def main() -> None:
    """Write the page."""
    import tempfile

    lines = [
        "# What bad input gets",
        "",
        "Each of these raises a `sondino.SondinoError` with the sentence given; the command line prints it and exits",
        "with 2. In a folder, a file that cannot be heard is left out, listed with its sentence at the end, and the",
        f"exit code is 1. These {len(MISTAKES)} are made one by one in `tests/cli/test_bad_inputs.py`, which compares",
        "what they get with this page; `PYTHONPATH=tests python -m helpers.bad_inputs_page` writes it anew.",
    ]
    group = ""
    for made in MISTAKES:
        if made.group != group:
            group = made.group
            lines += ["", f"## {group}", "", "| what is wrong | what it gets |", "| --- | --- |"]
        with tempfile.TemporaryDirectory() as folder:
            sentence = said(made, Path(folder)).replace("|", "\\|")
        lines.append(f"| {made.what} | {sentence} |")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
