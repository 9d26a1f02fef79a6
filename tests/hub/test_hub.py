"""Fetching weights from a server on this machine: whole, broken off, changed, and not there."""

import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sondino import hub
from sondino.errors import OptionError, SondinoError

CONTENT = np.random.default_rng(0).bytes(300_000)


class Handler(BaseHTTPRequestHandler):
    content = CONTENT
    breaks_after: int | None = None
    ranges = True

    def do_GET(self):
        self.server.asked.append(self.headers.get("Range"))
        start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") and self.ranges else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        body = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.breaks_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "cache"))
    for attribute, value in {"content": CONTENT, "breaks_after": None, "ranges": True}.items():
        monkeypatch.setattr(Handler, attribute, value)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/file"
    for name in ("matpac", "m2d"):
        monkeypatch.setitem(hub.WEIGHTS, name, replace(hub.WEIGHTS[name], url=url))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_fetched_once(server, tmp_path):
    seen = []
    path = hub.fetch("matpac", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert path == tmp_path / "cache" / "matpac" / "matpac_plus_6s_2048_enconly.pt"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert hub.fetch("matpac") == path
    assert server.asked == [None]
    assert not list(path.parent.glob("*.part")) and not list(path.parent.glob("*.download"))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(server, monkeypatch, ranges):
    monkeypatch.setattr(Handler, "breaks_after", 100_000)
    with pytest.raises(SondinoError, match="broke after 100000 of 300000 bytes; the same command resumes"):
        hub.fetch("matpac")
    monkeypatch.setattr(Handler, "breaks_after", None)
    monkeypatch.setattr(Handler, "ranges", ranges)
    assert hub.fetch("matpac").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_a_known_hash_is_checked(server, monkeypatch):
    right = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(hub.WEIGHTS, "matpac", replace(hub.WEIGHTS["matpac"], sha256="0" * 64))
    with pytest.raises(SondinoError, match=f"sha256 {right}, not 0000"):
        hub.fetch("matpac")
    monkeypatch.setitem(hub.WEIGHTS, "matpac", replace(hub.WEIGHTS["matpac"], sha256=right))
    assert hub.fetch("matpac").read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_a_file_that_changed_since_is_refused(server):
    path = hub.fetch("matpac")
    path.write_bytes(b"other")
    with pytest.raises(SondinoError, match="delete it to fetch it again"):
        hub.fetch("matpac")
    path.unlink()
    assert hub.fetch("matpac").read_bytes() == CONTENT


def test_a_zip_is_unpacked_into_the_folder_that_means_something(server, monkeypatch):
    pack = io.BytesIO()
    with zipfile.ZipFile(pack, "w") as file:
        file.writestr("readme.txt", "x")
        file.writestr("../../m2d_vit_base-x/checkpoint-300.pth", CONTENT)  # its own path is not followed
    monkeypatch.setattr(Handler, "content", pack.getvalue())
    path = hub.fetch("m2d")
    assert path.parent.name == "m2d_vit_base-80x608p16x16-221006-mr7_enconly"
    assert path.read_bytes() == CONTENT
    monkeypatch.setattr(Handler, "content", CONTENT)
    path.unlink()
    with pytest.raises(SondinoError, match="gave no zip file"):
        hub.fetch("m2d")


def test_what_cannot_be_fetched_gets_a_message(server, monkeypatch, tmp_path):
    nowhere = replace(hub.WEIGHTS["matpac"], url="http://127.0.0.1:9/w.pt")
    monkeypatch.setitem(hub.WEIGHTS, "matpac", nowhere)
    with pytest.raises(SondinoError) as caught:
        hub.fetch("matpac")
    message = str(caught.value)
    assert message.startswith("cannot fetch the weights of matpac (") and "\n" not in message
    assert "download http://127.0.0.1:9/w.pt by hand and name the file, --teacher matpac:matpac_plus" in message
    with pytest.raises(OptionError, match="unknown weights 'matpack': did you mean matpac"):
        hub.fetch("matpack")
    (tmp_path / "file").touch()
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "file"))
    with pytest.raises(SondinoError, match="cannot keep the weights"):
        hub.fetch("m2d")
