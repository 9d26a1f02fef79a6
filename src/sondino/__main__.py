"""`sondino` and `python -m sondino`, which `accelerate launch -m sondino` needs."""

import os
import signal
import sys


def _exit(*_: object) -> None:
    os.write(2, b"sondino: stopped\n")
    os._exit(130)


def main() -> None:
    """Run the command line; Ctrl-C ends it with code 130 and no traceback, also while it is being imported."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        # At once, and not by an exception: some modules turn one that comes while they are imported into another.
        signal.signal(signal.SIGINT, _exit)
    from sondino.cli import main as run

    try:
        signal.signal(signal.SIGINT, before)
        run()
    except KeyboardInterrupt:  # between the two handlers
        sys.exit(130)


if __name__ == "__main__":
    main()
