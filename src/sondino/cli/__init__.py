"""The command line: one thin function a command. Heavy modules are imported where they are used."""

import os
import sys

from sondino.cli import converting, distilling, embedding, heads, lists, searching
from sondino.cli.app import app
from sondino.errors import SondinoError

__all__ = ["app", "converting", "distilling", "embedding", "heads", "lists", "main", "searching"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's mistake gets its sentence and exit code 2, a stop code 130, a closed pipe 141."""
    try:
        sys.exit(app(arguments))
    except SondinoError as error:
        print(f"sondino: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("sondino: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
