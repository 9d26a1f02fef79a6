"""Fetching data sets from a server on this machine: whole, broken off, changed, and not there; and the command."""

import hashlib
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers.split_zip import split_zip
from helpers.tasks_layouts import write_layout
from sondino import cli
from sondino.errors import OptionError, RunError, SondinoError
from sondino.hub.download import Remote, download
from sondino.locks import lock_or_fail
from sondino.tasks import fetch as room
from sondino.tasks.fetch import fetch_task
from sondino.tasks.registry import TASKS
from sondino.tasks.task import Archive, Task


class Server:
    """What lies at each path, and how it goes wrong."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.breaks: list[int] = []  # bytes after which the next answers break off
        self.ranges = True
        self.chunked = False
        self.down: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: Server

    def do_GET(self) -> None:
        state, name = self.server_state, self.path.strip("/")
        span = self.headers.get("Range")
        state.asked.append((name, span))
        self.close_connection = True
        if name in state.down or name not in state.files:
            self.send_error(503 if name in state.down else 404)
            return
        start = int(span[6:-1]) if span and state.ranges else 0
        body = state.files[name][start:]
        if start and not body:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Transfer-Encoding", "chunked") if state.chunked else self.send_header(
            "Content-Length", str(len(body))
        )
        self.end_headers()
        sent = body[: state.breaks.pop(0)] if state.breaks else body
        if state.chunked:
            sent = b"%x\r\n" % len(body) + sent + (b"\r\n0\r\n\r\n" if len(sent) == len(body) else b"")
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    serving = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Handler,), {"server_state": state}))
    state.url = f"http://127.0.0.1:{serving.server_port}"
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    serving.shutdown()
    thread.join()
    serving.server_close()


def publish(server: Server, name: str, content: bytes, unpacked: int = 10**7, strip: int = 0) -> Archive:
    server.files[name] = content
    checksum = f"md5:{hashlib.md5(content).hexdigest()}"
    return Archive(name, f"{server.url}/{name}", len(content), checksum, unpacked, strip)


@pytest.fixture
def us8k(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A small UrbanSound8K, packed as the real one is."""
    folder = write_layout("us8k", tmp_path / "packed")
    with tarfile.open(tmp_path / "UrbanSound8K.tar.gz", "w:gz") as pack:
        pack.add(folder, "UrbanSound8K")
    archive = publish(server, "UrbanSound8K.tar.gz", (tmp_path / "UrbanSound8K.tar.gz").read_bytes(), strip=1)
    task = replace(TASKS["us8k"], archives=(archive,))
    monkeypatch.setitem(TASKS, "us8k", task)
    return task


@pytest.fixture
def fsd50k(server: Server, tmp_path: Path) -> Task:
    """A small FSD50K: lists in a zip of their own, sound in split ones."""
    folder = write_layout("fsd50k", tmp_path / "packed")
    archives = []
    for part in ("ground_truth", "dev_audio", "eval_audio"):
        file = tmp_path / f"FSD50K.{part}.zip"
        with zipfile.ZipFile(file, "w") as pack:
            for path in sorted((folder / f"FSD50K.{part}").iterdir()):
                pack.write(path, path.relative_to(folder))
        parts = [file] if part == "ground_truth" else split_zip(file, 6000)
        archives += [publish(server, each.name, each.read_bytes()) for each in parts]
    assert sum(archive.name.startswith("FSD50K.dev") for archive in archives) > 2
    return replace(TASKS["fsd50k"], archives=tuple(archives))


def left(root: Path) -> list[str]:
    """What lies in a folder of data sets, our locks left out."""
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


def test_a_data_set_is_fetched_once(server: Server, us8k: Task, tmp_path: Path) -> None:
    folder, links = fetch_task(us8k, tmp_path / "sets", quiet=True)
    assert folder == tmp_path / "sets" / "UrbanSound8K" and links == []
    assert len(us8k.read(folder).clips) == 40 and left(tmp_path / "sets") == ["UrbanSound8K"]
    assert fetch_task(us8k, tmp_path / "sets", quiet=True) == (folder, [])
    assert server.asked == [("UrbanSound8K.tar.gz", None)]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_from_its_half(server: Server, us8k: Task, tmp_path: Path, ranges: bool) -> None:
    half = us8k.size // 2
    server.breaks, server.ranges = [half], ranges
    with pytest.raises(SondinoError, match=rf"broke after {half} of {us8k.size} bytes; the same command resumes the"):
        fetch_task(us8k, tmp_path / "sets", quiet=True)
    assert left(tmp_path / "sets") == ["UrbanSound8K.partial"]
    part = tmp_path / "sets/UrbanSound8K.partial/archives/UrbanSound8K.tar.gz.part"
    assert part.stat().st_size == half
    folder, _ = fetch_task(us8k, tmp_path / "sets", quiet=True)
    assert len(us8k.read(folder).clips) == 40
    assert server.asked[1:] == [("UrbanSound8K.tar.gz", f"bytes={half}-")]


def test_a_stop_at_any_moment_goes_on(server: Server, fsd50k: Task, tmp_path: Path, monkeypatch) -> None:
    real, done = room.unpack, []

    def stopped(files: list[Path], *given: object) -> list[str]:
        if files[-1].name.startswith("FSD50K.eval") and not done:
            done.append(real(files, *given))  # all of it written, and then killed
            raise KeyboardInterrupt
        return real(files, *given)

    monkeypatch.setattr(room, "unpack", stopped)
    with pytest.raises(KeyboardInterrupt):
        fetch_task(fsd50k, tmp_path, quiet=True)
    staging = tmp_path / "FSD50K.partial"
    assert {file.name for file in (staging / "archives").iterdir()} == {
        archive.name for archive in fsd50k.archives if "eval" in archive.name
    }
    server.asked.clear()
    folder, _ = fetch_task(fsd50k, tmp_path, quiet=True)
    assert server.asked == [] and not staging.exists()
    assert len(fsd50k.read(folder).clips) == 22


def test_what_was_fetched_by_hand_is_taken(server: Server, us8k: Task, tmp_path: Path) -> None:
    server.down.add("UrbanSound8K.tar.gz")
    with pytest.raises(SondinoError) as caught:
        fetch_task(us8k, tmp_path / "sets", quiet=True)
    place = tmp_path / "sets/UrbanSound8K.partial/archives/UrbanSound8K.tar.gz"
    assert str(caught.value) == (
        f"cannot fetch UrbanSound8K.tar.gz (the server answered 503 Service Unavailable): download "
        f"{us8k.archives[0].url} by hand to {place}, and run the same command again"
    )
    shutil.copy(tmp_path / "UrbanSound8K.tar.gz", place)
    assert len(us8k.read(fetch_task(us8k, tmp_path / "sets", quiet=True)[0]).clips) == 40


def test_a_wrong_checksum_is_reported_and_the_file_deleted(server: Server, us8k: Task, tmp_path: Path) -> None:
    right = server.files["UrbanSound8K.tar.gz"]
    server.files["UrbanSound8K.tar.gz"] = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(
        SondinoError, match=r"gave a file of md5 [0-9a-f]{32}, not [0-9a-f]{32}, and it was deleted: try"
    ):
        fetch_task(us8k, tmp_path / "sets", quiet=True)
    assert not list((tmp_path / "sets/UrbanSound8K.partial/archives").iterdir())
    server.files["UrbanSound8K.tar.gz"] = right
    assert len(us8k.read(fetch_task(us8k, tmp_path / "sets", quiet=True)[0]).clips) == 40
    assert server.asked == [("UrbanSound8K.tar.gz", None)] * 2


def test_more_or_fewer_bytes_than_published_are_reported(server: Server, us8k: Task, tmp_path: Path) -> None:
    right = server.files["UrbanSound8K.tar.gz"]
    for wrong in (right + bytes(5_000_000), right[:-9]):
        server.files["UrbanSound8K.tar.gz"] = wrong
        server.chunked = False
        with pytest.raises(SondinoError, match=rf"has {len(wrong)} bytes, and the file that is meant has {len(right)}"):
            fetch_task(us8k, tmp_path / "sets", quiet=True)
        server.chunked = True  # then nothing reports how long it will be
    with pytest.raises(SondinoError, match=rf"broke after {len(right) - 9} of {len(right)} bytes"):
        fetch_task(us8k, tmp_path / "sets", quiet=True)
    server.files["UrbanSound8K.tar.gz"] = right + bytes(5_000_000)
    with pytest.raises(SondinoError, match=r"gave a file of \d+ bytes, not \d+, and it was deleted"):
        fetch_task(us8k, tmp_path / "sets", quiet=True)
    assert not list((tmp_path / "sets/UrbanSound8K.partial/archives").iterdir())


def test_an_archive_without_a_stated_length_that_breaks_off(server: Server, tmp_path: Path) -> None:
    server.files["x"], server.chunked, server.breaks = b"x" * 9000, True, [4000]
    remote = Remote("x", f"{server.url}/x", "fetch it by hand")
    with pytest.raises(SondinoError, match=r"cannot fetch x \(the connection broke; the same command resumes there\)"):
        download(remote, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    download(remote, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"x" * 9000


def test_a_part_that_is_whole_or_too_long(server: Server, us8k: Task, tmp_path: Path) -> None:
    content = server.files["UrbanSound8K.tar.gz"]
    archive = us8k.archives[0]
    remote = Remote("x", archive.url, "fetch it by hand", archive.checksum, archive.size)
    (tmp_path / "x.part").write_bytes(content)  # killed before it was renamed
    download(remote, tmp_path / "x")
    assert server.asked == [] and (tmp_path / "x").read_bytes() == content
    (tmp_path / "y.part").write_bytes(content + b"more")
    download(remote, tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == content


def test_what_cannot_be_reached_reports_so(server: Server, us8k: Task, tmp_path: Path) -> None:
    gone = replace(us8k, archives=(replace(us8k.archives[0], url=f"{server.url}/gone.tar.gz"),))
    with pytest.raises(SondinoError, match=r"\(the server answered 404 Not Found\): download http.* by hand to "):
        fetch_task(gone, tmp_path / "sets", quiet=True)
    nowhere = replace(us8k, archives=(replace(us8k.archives[0], url="http://127.0.0.1:9/x.tar.gz"),))
    with pytest.raises(SondinoError, match=r"cannot fetch UrbanSound8K.tar.gz \(.*refused.*\): download http"):
        fetch_task(nowhere, tmp_path / "sets", quiet=True)


def test_a_dangerous_archive_leaves_no_data_set(server: Server, us8k: Task, tmp_path: Path) -> None:
    small = replace(us8k, archives=(replace(us8k.archives[0], unpacked=1000),))
    with pytest.raises(SondinoError, match="more than the"):
        fetch_task(small, tmp_path / "sets", quiet=True)
    other = replace(us8k, marks=("nothing.csv",))
    with pytest.raises(SondinoError, match=r"hold no nothing\.csv, so they are not what was published"):
        fetch_task(other, tmp_path / "sets", quiet=True)
    assert left(tmp_path / "sets") == ["UrbanSound8K.partial"]


def test_a_folder_in_the_way_or_in_use_and_no_room(server: Server, us8k: Task, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "UrbanSound8K").mkdir()
    with pytest.raises(RunError, match="exists and is not UrbanSound8K as it is published: move it away"):
        fetch_task(us8k, tmp_path, quiet=True)
    root = tmp_path / "sets"
    root.mkdir()
    with (
        lock_or_fail(root, "UrbanSound8K.fetching", "fetching"),
        pytest.raises(RunError, match="another process is fetching UrbanSound8K into"),
    ):
        fetch_task(us8k, root, quiet=True)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, us8k.size - 1))
    with pytest.raises(
        RunError, match=r"UrbanSound8K takes 0\.0 GB to fetch and about as much again to unpack, and .* has 0"
    ):
        fetch_task(us8k, root, quiet=True)
    assert server.asked == []


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def test_the_command_lists_and_fetches(us8k: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "sets"
    assert call("tasks", "--data", root) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in TASKS) and f"0 of 10 are under {root}" in shown
    assert call("tasks", "--fetch", "us8k", "--data", root) == 0
    shown = capsys.readouterr()
    assert f"UrbanSound8K: 40 clips, 2 labels, in {root / 'UrbanSound8K'}" in shown.out
    assert "note: 40 of 8732 clips of UrbanSound8K are there" in shown.err and "unpacking UrbanSound8K" in shown.err
    assert call("tasks", "--data", root) == 0
    assert f"1 of 10 are under {root}" in capsys.readouterr().out
    (root / "UrbanSound8K/audio/fold1/100-0-0-0.wav").unlink()
    assert call("tasks", "--fetch", "us8k", "--data", root) == 1
    assert "100-0-0-0.wav: is listed by UrbanSound8K and not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gtzan", "GTZAN cannot be fetched: its archive (genres.tar.gz) is no longer where"),
        ("mtt", "MagnaTagATune cannot be fetched: no checksum of its files is published"),
        ("esc5", "unknown task 'esc5': did you mean esc50"),
    ],
)
def test_what_is_not_fetched_reports_what_to_do(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("tasks", "--fetch", name, "--data", tmp_path) == 2
    assert capsys.readouterr().err.startswith(f"sondino: {message}") and not list(tmp_path.iterdir())


def test_a_task_that_cannot_be_fetched_is_an_option_error(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="join the parts"):
        fetch_task(TASKS["mtt"], tmp_path)
