"""The page of a model, served on this machine alone."""

import errno
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sondino.errors import OptionError
from sondino.hub.cache import models_folder
from sondino.model.bundle import find_bundles

HOST = "127.0.0.1"


class PageHandler(SimpleHTTPRequestHandler):
    """Files of a page, with the types that a browser insists on, whatever this machine's own table says."""

    extensions_map = {  # noqa: RUF012 - as the parent declares it
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".svg": "image/svg+xml",
        ".ogg": "audio/ogg",
        ".opus": "audio/ogg",
        ".flac": "audio/flac",
        ".m4a": "audio/mp4",
    }
    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        """Add what every answer carries."""
        # Isolated from other pages a browser gives the page threads.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")  # another model may stand here the next time
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: a page asks for some two hundred files."""


class PageServer(ThreadingHTTPServer):
    """A server that says nothing of a browser that has gone, as one does whose tab is closed."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of what is our own fault only."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def page_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder on this machine's own address, not yet serving.

    Args:
        folder: the page.
        port: 0: any that is free.

    Raises:
        OptionError: the port is taken, or may not be used.
    """
    if not 0 <= port <= 65535:
        raise OptionError(f"port is {port}: give a number from 0 to 65535")
    try:
        return PageServer((HOST, port), partial(PageHandler, directory=str(folder)))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OptionError(f"port {port} is taken: give another, such as --port {min(port + 1, 65535)}") from error
        raise OptionError(f"port {port} cannot be opened ({error.strerror}): give another with --port") from error


def default_bundle() -> Path:
    """The bundle to show where none is named: the first by name of those that are kept on this machine.

    Raises:
        OptionError: none is kept.
    """
    kept = find_bundles(models_folder())
    if not kept:
        raise OptionError(
            "no model is kept on this machine yet: name a bundle, such as the one that `sondino quickstart` makes, "
            "or a published name from `sondino models`"
        )
    return Path(min(kept, key=lambda row: row["name"])["folder"])
