"""Serve a model's web page on localhost."""

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
    """Serves files with the MIME types that browsers require, independent of this machine's own table."""

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
        """Add the headers of every response."""
        # Browsers allow threads only in a cross-origin isolated page.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")  # another model may stand here the next time
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: a page requests some two hundred files."""


class PageServer(ThreadingHTTPServer):
    """A server that does not report connections closed by the browser."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors other than closed connections."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def page_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder on localhost, not yet serving.

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
    """The bundle to show if none is named: the first by name in the local cache.

    Raises:
        OptionError: the cache has none.
    """
    kept, _ = find_bundles(models_folder())
    if not kept:
        raise OptionError(
            "no model is kept on this machine yet: name a bundle, such as the one that `sondino quickstart` makes, "
            "or a published name from `sondino models`"
        )
    return Path(min(kept, key=lambda row: row["name"])["folder"])
