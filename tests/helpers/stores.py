"""Stores on this machine: an S3 server, and a web server with and without ranges; each counts what it is asked."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Counter:
    """Requests, and the bytes of the answers, since the last `reset`."""

    requests: list[tuple[str, str, int]] = field(default_factory=list)

    def reset(self) -> None:
        self.requests.clear()

    @property
    def bytes(self) -> int:
        return sum(size for _, _, size in self.requests)

    def count(self, method: str, part: str = "") -> int:
        return sum(one == method and part in path for one, path, _ in self.requests)


@dataclass
class S3:
    """An S3 server with one bucket, "sounds"."""

    endpoint: str
    client: Any
    counter: Counter

    def put(self, key: str, content: bytes) -> str:
        self.client.put_object(Bucket="sounds", Key=key, Body=content)
        return f"s3://sounds/{key}"

    def put_folder(self, folder: Path, prefix: str) -> str:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())
        return f"s3://sounds/{prefix}"


@contextmanager
def s3_server() -> Iterator[S3]:
    """Start moto's server, point the environment to it, and count the bodies of its answers."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="the remote extra is not installed")
    import boto3
    import s3fs

    counter = Counter()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    app = server._server.app

    def counted(environ: dict[str, Any], start_response: Any) -> Any:
        answer = app(environ, start_response)
        pieces = list(answer)
        if hasattr(answer, "close"):
            answer.close()
        counter.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], sum(map(len, pieces))))
        return pieces

    server._server.app = counted
    _, port = server.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        client = boto3.client("s3")
        client.create_bucket(Bucket="sounds")
        yield S3(given["AWS_ENDPOINT_URL"], client, counter)
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


Asked = Callable[[str, str], None]
"""Called with the path and the range of each GET, before it is answered."""


class _Ranges(SimpleHTTPRequestHandler):
    """Files of a folder, parts of them too, and pages of links; Python's own server gives whole files only."""

    counter: Counter
    ranges = True
    asked: Asked

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        span = self.headers.get("Range", "")
        self.asked(self.path, span)
        if not (self.ranges and span.startswith("bytes=") and path.is_file()):
            size = path.stat().st_size if path.is_file() else 0
            self.counter.requests.append(("GET", self.path, size))  # first: who has its answer may count at once
            super().do_GET()
            return
        first, _, last = span.removeprefix("bytes=").partition("-")
        data = path.read_bytes()
        part = data[int(first) : int(last or len(data)) + 1]
        self.counter.requests.append(("GET", self.path, len(part)))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def do_HEAD(self) -> None:
        self.counter.requests.append(("HEAD", self.path, 0))
        super().do_HEAD()

    def log_message(self, *args: object) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has read enough hangs up."""


@contextmanager
def web_server(
    folder: Path, ranges: bool = True, asked: Asked = lambda path, span: None
) -> Iterator[tuple[str, Counter]]:
    """Serve a folder; its address and what is asked."""
    pytest.importorskip("aiohttp", reason="the remote extra is not installed")
    counter = Counter()
    handler = type("Handler", (_Ranges,), {"counter": counter, "ranges": ranges, "asked": staticmethod(asked)})
    server = _Quiet(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", counter
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
