"""Serve a model's web page on localhost."""

from functools import partial
from pathlib import Path

from sondino.loopback import PageHandler, PageServer, open_server


def page_server(folder: Path, port: int) -> PageServer:
    """A server of a folder on localhost, not yet serving.

    Args:
        folder: the page.
        port: 0: any that is free.

    Raises:
        OptionError: the port is taken, or may not be used.
    """
    return open_server(port, partial(PageServer, handler=partial(PageHandler, directory=str(folder))))
