"""Pages for the browsers of this machine: a server on 127.0.0.1 that answers for its own names alone."""

import errno
import io
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from sondino.errors import OptionError

PAGE = Path(__file__).parent / "page"
"""The pages as `make web` builds them: index.html, label.html and their assets."""
HOST = "127.0.0.1"
CONNECTIONS = 64
"""At once; a browser opens six."""
IDLE_SECONDS = 20.0
"""That a connection may take for its next request, or not read what is sent."""
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


Server = TypeVar("Server", bound="PageServer")


class PageHandler(SimpleHTTPRequestHandler):
    """Serves files with the MIME types that browsers require, independent of this machine's own table."""

    server: "PageServer"

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
    timeout = IDLE_SECONDS  # of a read or a write

    def parse_request(self) -> bool:
        """Read the head of a request, and refuse one for another host."""
        whole = super().parse_request()
        self.server.waiting.pop(self.connection, None)
        if not whole:
            return False
        # A page elsewhere can let its own name resolve to this machine, and read what it is sent: its requests
        # have that name.
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].strip().lower() not in self.server.hosts:
            where = f"http://{HOST}:{self.server.server_address[1]}/"
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, explain=f"This page is at {where} only")
            return False
        return True

    def handle_one_request(self) -> None:
        """Answer a request, which has to be there in `IDLE_SECONDS`."""
        self.server.waiting[self.connection] = time.monotonic()
        super().handle_one_request()

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Open the file of a request; a path that no file can have is not found."""
        try:
            return super().send_head()
        except ValueError:  # a NUL, or half a surrogate pair
            self.send_error(HTTPStatus.NOT_FOUND)
            return None

    def list_directory(self, path: Any) -> None:
        """Show no folder."""
        self.send_error(HTTPStatus.NOT_FOUND)

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
    """A server of this machine's browsers, of so many connections at once, which end when they are idle."""

    def __init__(self, port: int, handler: Callable[..., PageHandler]) -> None:
        super().__init__((HOST, port), handler)
        port = self.server_address[1]
        self.hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        if port == 80:  # which browsers leave out
            self.hosts |= {HOST, "localhost"}
        self.waiting: dict[socket.socket, float] = {}  # connections without a whole request, since when
        self._free = threading.BoundedSemaphore(CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, or refuse it where there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            request.sendall(BUSY)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.waiting.pop(request, None)
            self._free.release()

    def service_actions(self) -> None:
        """End connections whose request comes too slowly: a byte now and then passes the limit of a read."""
        for connection, since in [*self.waiting.items()]:
            if time.monotonic() - since > IDLE_SECONDS:
                self.waiting.pop(connection, None)
                with suppress(OSError):  # it has just ended
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors other than closed connections."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def open_server(port: int, make: Callable[[int], Server]) -> Server:
    """A server on localhost, not yet serving.

    Args:
        port: 0: any that is free.
        make: of a port its server.

    Raises:
        OptionError: the port is taken, or may not be used.
    """
    if not 0 <= port <= 65535:
        raise OptionError(f"port is {port}: give a number from 0 to 65535")
    try:
        return make(port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OptionError(f"port {port} is taken: give another, such as --port {min(port + 1, 65535)}") from error
        raise OptionError(f"port {port} cannot be opened ({error.strerror}): give another with --port") from error
