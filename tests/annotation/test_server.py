"""The server of the labelling page, by real requests: its token, its API, the sound, and what it refuses."""

import http.client
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from helpers.archive import write_archive
from helpers.fake_session import FakeSession
from helpers.loudness import CARD
from sondino.annotation import server
from sondino.annotation.session import Session
from sondino.errors import OptionError, RunError

RATE = 8000
Reply = tuple[int, http.client.HTTPMessage, bytes]
ANSWER = {"window": 2, "label": "dog", "verdict": "yes", "how": "uncertain"}


def ramp(seconds: float, rate: int = RATE) -> np.ndarray:
    """A waveform whose value is the time over 100: each sample has its own."""
    return (np.arange(round(seconds * rate)) / rate / 100).astype(np.float32)


@pytest.fixture
def session(tmp_path: Path) -> FakeSession:
    soundfile.write(tmp_path / "a.wav", ramp(90), RATE, "FLOAT")
    soundfile.write(tmp_path / "fast.flac", np.stack([ramp(3, 96000), 0 * ramp(3, 96000)], axis=1), 96000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF and no more")
    windows = [
        ("a.wav", 0.0),
        ("a.wav", 12.5),
        ("a.wav", 89.0),
        ("fast.flac", 1.0),
        ("gone.wav", 0.0),
        ("broken.wav", 0.0),
    ]
    return FakeSession(tmp_path, windows, ["dog", "<b>bird</b> & co"])


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built page of one file, in place of the real one, which needs Node.js to be built."""
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "label.html").write_text("PAGE")
    monkeypatch.setattr(server, "PAGE", folder)
    return folder


@contextmanager
def serving(session: Session) -> Iterator[server.LabelServer]:
    with server.open_label_server(0) as opened:
        opened.session = session
        threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield opened
        opened.shutdown()


class Client:
    """Requests of a server, each by a connection of its own."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            fields = {"X-Token": self.token, **{name.replace("_", "-"): value for name, value in headers.items()}}
            connection.request(method, path, body, fields)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def get(self, path: str, status: int = 200) -> Any:
        found, _, content = self.ask("GET", path)
        assert found == status, content
        return json.loads(content)

    def post(self, path: str, value: Any, status: int = 200) -> Any:
        found, _, content = self.ask("POST", path, json.dumps(value).encode())
        assert found == status, content
        return json.loads(content)


@pytest.fixture
def client(session: FakeSession, page: Path) -> Iterator[Client]:
    with serving(session) as opened:
        assert opened.address == f"http://127.0.0.1:{opened.server_address[1]}/#{opened.token}"
        yield Client(opened.server_address[1], opened.token)


def test_the_page_needs_no_token_and_everything_else_does(client: Client, session: FakeSession) -> None:
    own = client.token
    assert len(own) >= 40
    for path in ("/", "/label.html", "/?a=b"):
        assert client.ask("GET", path, X_Token="")[2] == b"PAGE"
    body = json.dumps(ANSWER).encode()
    for token in ("", own[:-1], own + "a", own.swapcase(), "é"):
        client.token = token
        for method, path, content in (
            ("GET", "/api/state", None),
            ("GET", "/api/sound?window=0", None),
            ("GET", "/api/nothing", None),
            ("POST", "/api/answer", body),
            ("POST", "/api/undo", b"{}"),
        ):
            status, _, found = client.ask(method, path, content)
            assert status == 403 and own.encode() not in found
            assert "open the address that was printed" in json.loads(found)["error"]
    assert session.answers == []
    client.token = own
    assert client.ask("GET", "/api/state", Host="evil.example")[0] == 421
    assert client.ask("POST", "/api/answer", body, Host="evil.example")[0] == 421
    assert client.ask("GET", "/label.html")[1]["Cross-Origin-Opener-Policy"] == "same-origin"
    assert session.answers == []


def test_two_servers_have_two_tokens(session: FakeSession, page: Path) -> None:
    with serving(session) as one, serving(session) as other:
        assert one.token != other.token


def test_a_loop_of_answers(client: Client, session: FakeSession) -> None:
    state = client.get("/api/state")
    assert state["labels"] == ["dog", "<b>bird</b> & co"]
    assert state["answers"]["dog"] == {"yes": 0, "no": 0, "unsure": 0}
    assert state["estimate"]["dog"] is None
    first = client.get("/api/next?label=dog&how=mixed&count=2")
    assert [one["window"] for one in first] == [0, 1]
    assert first[0] == {
        **{"window": 0, "path": "a.wav", "start": 0.0, "end": 1.0, "label": "dog", "score": None},
        **{"how": "uncertain", "why": "most uncertain", "given": None},
    }
    state = client.post("/api/answer", {**ANSWER, "window": 0, "how": "random"})
    assert session.answers == [(0, "dog", "yes", "random")]
    assert state["answers"]["dog"]["yes"] == 1 and state["estimate"]["dog"] == [0.75, 0.5, 0.9, 1]
    found = client.get("/api/next?label=dog&how=top")
    assert len(found) == 1 and found[0]["window"] == 5 and found[0]["score"] == 5 / 6
    assert len(client.get("/api/next?label=%3Cb%3Ebird%3C%2Fb%3E%20%26%20co&how=random&count=50")) == 6
    undone = client.post("/api/undo", {})
    assert undone["undone"]["window"] == 0 and undone["state"]["answers"]["dog"]["yes"] == 0
    assert client.post("/api/undo", {})["undone"] is None
    assert client.post("/api/label", {"label": "wind"})["labels"][-1] == "wind"
    assert client.post("/api/start", {"label": "rain", "by": "label:Rain"})["labels"][-1] == "rain"
    assert session.starts == [("rain", "label:Rain")]
    assert "no answer yet" in client.post("/api/write", {}, 400)["error"]
    client.post("/api/answer", ANSWER)
    assert [Path(file).name for file in client.post("/api/write", {})["written"]] == ["labels.csv", "report.html"]


@pytest.mark.parametrize(
    ("window", "before", "after", "first", "last"),
    [
        (1, 2.5, 3, 10.0, 16.5),
        (0, 5, 0.5, 0.0, 1.5),  # the recording begins there
        (2, 1, 20, 88.0, 90.0),  # and ends there
        (1, 10, 60, 2.5, 62.5),  # 60 s at most
        (1, 0, 0, 12.5, 13.5),
    ],
)
def test_sound_is_a_slice_with_its_times(client, window, before, after, first, last) -> None:
    status, headers, content = client.ask("GET", f"/api/sound?window={window}&before={before}&after={after}")
    assert status == 200 and headers["Content-Type"] == "audio/wav"
    assert (float(headers["X-From"]), float(headers["X-To"])) == (first, pytest.approx(last))
    with soundfile.SoundFile(io.BytesIO(content)) as sound:
        assert (sound.samplerate, sound.channels, sound.subtype) == (RATE, 1, "PCM_16")
        samples = sound.read(dtype="float64")
    expected = ramp(90)[round(first * RATE) : round(last * RATE)]
    assert samples.shape == expected.shape
    assert np.abs(samples * 32768 / 32767 - expected).max() <= 0.51 / 32767


def test_sound_is_mono_at_48_khz_at_most(client: Client) -> None:
    _, _, content = client.ask("GET", "/api/sound?window=3")
    with soundfile.SoundFile(io.BytesIO(content)) as sound:
        assert (sound.samplerate, sound.channels, sound.frames) == (48000, 1, 48000)
        assert sound.read()[24000] == pytest.approx(0.015 / 2, abs=1e-4)  # the mean of both channels


def test_a_recording_that_is_gone_or_broken(client: Client, session: FakeSession) -> None:
    assert client.get("/api/sound?window=4", 410)["error"].startswith("gone.wav is no longer there")
    assert "broken.wav" in client.get("/api/sound?window=5", 422)["error"]
    (session.folder / "a.wav").unlink()
    assert "a.wav" in client.get("/api/sound?window=0", 410)["error"]
    client.post("/api/answer", {**ANSWER, "window": 0})  # listened to before
    assert len(session.answers) == 1


def test_a_recording_that_goes_while_it_is_read(client: Client, session: FakeSession, monkeypatch) -> None:
    monkeypatch.setattr(FakeSession, "sound_of", lambda self, window: (self.folder / "moved.wav", 0.0, 1.0))
    assert "moved.wav" in client.get("/api/sound?window=0", 410)["error"]


def test_a_full_disk_counts_nothing(client: Client, session: FakeSession) -> None:
    session.is_full = True
    assert "No space left" in client.post("/api/answer", ANSWER, 507)["error"]
    session.is_full = False
    assert client.post("/api/answer", ANSWER)["answers"]["dog"]["yes"] == 1


def test_errors_of_the_session_are_one_line(client: Client, session: FakeSession, monkeypatch, capfd) -> None:
    def fail(error: Exception) -> None:
        def raise_error(self: FakeSession) -> None:
            raise error

        monkeypatch.setattr(FakeSession, "state", raise_error)

    for error, status, text in (
        (RunError("the store is of another model"), 409, "the store is of another model"),
        (OSError(28, "No space left on device"), 507, "No space left"),
        (OSError(5, "Input/output error"), 500, "Input/output error"),
        (ZeroDivisionError("by zero"), 500, "the server failed: ZeroDivisionError: by zero"),
    ):
        fail(error)
        assert text in client.get("/api/state", status)["error"]
    assert "ZeroDivisionError" in capfd.readouterr().err
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("path", "value", "status", "text"),
    [
        ("answer", {**ANSWER, "window": 99}, 404, "no window 99"),
        ("answer", {**ANSWER, "window": -1}, 400, "window"),
        ("answer", {**ANSWER, "window": "2"}, 400, "window"),
        ("answer", {**ANSWER, "window": True}, 400, "window"),
        ("answer", {**ANSWER, "window": 1e300}, 400, "window"),
        ("answer", {**ANSWER, "verdict": "maybe"}, 400, "verdict"),
        ("answer", {**ANSWER, "how": "guess"}, 400, "how"),
        ("answer", {**ANSWER, "label": "cat"}, 400, "unknown label 'cat'"),
        ("answer", {**ANSWER, "label": "x" * 101}, 400, "label"),
        ("answer", {**ANSWER, "file": "/etc/passwd"}, 400, "file"),
        ("answer", {"window": 2}, 400, "it has no label"),
        ("answer", [], 400, "the answer"),
        ("undo", {"all": True}, 400, "all"),
        ("label", {"label": ""}, 400, "label"),
        ("label", {"label": "a;b"}, 400, "semicolon"),
        ("start", {"label": "dog", "by": "/etc/passwd"}, 400, "by"),
        ("start", {"label": "dog", "by": "a.wav#t=1,2"}, 400, "by"),
        ("start", {"label": "dog", "by": "group:9"}, 400, "no group:9"),
        ("nothing", {}, 404, "no such request"),
        ("state", {}, 404, "no such request"),
    ],
)
def test_what_is_posted_is_checked(client, session, path, value, status, text) -> None:
    assert text in client.post(f"/api/{path}", value, status)["error"]
    assert session.answers == [] and session.labels == ["dog", "<b>bird</b> & co"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("next?how=mixed", 400),
        ("next?label=dog&how=best", 400),
        ("next?label=dog&how=top&count=0", 400),
        ("next?label=dog&how=top&count=101", 400),
        ("next?label=dog&how=top&count=nan", 400),
        ("next?label=dog&how=top&label=dog", 400),
        ("next?label=%ff&how=top", 400),
        ("next?" + "&".join(f"a{i}=1" for i in range(50)), 400),
        ("state?x=1", 400),
        ("sound", 400),
        ("sound?window=7", 404),
        ("sound?window=-1", 400),
        ("sound?window=1e3", 400),
        ("sound?window=0&before=nan", 400),
        ("sound?window=0&after=inf", 400),
        ("sound?window=0&before=-1", 400),
        ("sound?window=0&path=/etc/passwd", 400),
        ("sound?path=/etc/passwd", 400),
        ("answer", 404),
        ("../label.html", 404),
    ],
)
def test_what_an_address_asks_is_checked(client: Client, query: str, status: int) -> None:
    assert client.get(f"/api/{query}", status)["error"]


def test_bodies_are_bounded_and_json(client: Client, session: FakeSession) -> None:
    for body in (b"", b"{", b"\xff", b"[" * 60000, b'{"window": NaN}', b'"' + b"a" * (server.MAX_BODY - 2) + b'"'):
        assert client.ask("POST", "/api/answer", body)[0] == 400, body[:20]
    assert client.ask("POST", "/api/answer", b" " * (server.MAX_BODY + 1))[0] == 413
    for length in ("99999999999999999999", "65537"):
        assert client.ask("POST", "/api/undo", b"{}", Content_Length=length)[0] == 413
    for length in ("-1", "x", "1e3", "²"):
        assert client.ask("POST", "/api/undo", b"{}", Content_Length=length.encode().decode("latin-1"))[0] == 411
    assert client.ask("POST", "/api/undo", b"2\r\n{}\r\n0\r\n\r\n", Transfer_Encoding="chunked")[0] == 411
    assert session.answers == []


def test_a_name_that_is_not_utf8_is_listed(client: Client, session: FakeSession) -> None:
    session.windows[0] = ("bad-\udcff.wav", 0.0)
    assert client.get("/api/next?label=dog&how=top&count=9")[-1]["path"] == "bad-\udcff.wav"
    assert client.get("/api/sound?window=0", 410)["error"]


def test_a_port_that_is_taken_and_a_page_that_is_not_built(session: FakeSession, page: Path) -> None:
    with serving(session) as opened:
        port = opened.server_address[1]
        with pytest.raises(OptionError, match=rf"port {port} is taken.*--port"):
            server.open_label_server(port)
    (page / "label.html").unlink()
    with pytest.raises(RunError, match="make web"):
        server.open_label_server(0)


def test_a_real_session(page: Path, make_tiny_bundle: Callable[..., Path], tmp_path: Path, monkeypatch) -> None:
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    archive = write_archive(tmp_path / "recordings", 12, 5)
    session = Session.open(archive, tmp_path / "out", make_tiny_bundle("bare", **CARD), ["loud"])
    with serving(session) as opened:
        client = Client(opened.server_address[1], opened.token)
        (first,) = client.get("/api/next?label=loud&how=mixed")
        answer = {"window": first["window"], "label": "loud", "verdict": "no", "how": first["how"]}
        client.post("/api/answer", {**answer, "window": 60}, 404)
        with monkeypatch.context() as broken:
            broken.setattr("sondino.annotation.answers.os.fsync", full)
            assert "this answer does not count" in client.post("/api/answer", answer, 507)["error"]
        assert client.get("/api/state")["answers"]["loud"]["no"] == 0
        assert client.post("/api/answer", answer)["answers"]["loud"]["no"] == 1
        (archive / first["path"]).unlink()
        found = client.get(f"/api/sound?window={first['window']}", 410)["error"]
        assert found.startswith(f"{first['path']} is no longer there")
        assert client.post("/api/undo", {})["undone"]["window"] == first["window"]
