"""The page of `sondino label`: a server on 127.0.0.1 of the page, a JSON API on a session, and the sound of windows.

Every request of the API carries a token, which the page finds in the fragment of its address. A request names windows
by their numbers, never files.
"""

import errno
import io
import json
import math
import secrets
import wave
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec
import numpy as np

from sondino.annotation.session import Candidate, How, Session, State, Verdict
from sondino.audio.reading import info, read
from sondino.errors import AudioError, OptionError, RunError, SondinoError
from sondino.files import is_there
from sondino.loopback import HOST, PAGE, PageHandler, PageServer, open_server
from sondino.schema import check, parse_json
from sondino.text import format_error

MAX_BODY = 1 << 16
"""Bytes that a request may send."""
MAX_SECONDS = 60.0
"""Of sound in one answer."""
MAX_RATE = 48000
"""Hertz of the sound."""

Window = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
# Not an example file or a stretch: those are for the command line.
By = Annotated[str, msgspec.Meta(pattern=r"^(random|(label|group):[^\n]{1,200})$")]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)]


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """What a request may hold: an unknown field is refused."""


class _NoFields(_Request):
    pass


class _Answer(_Request):
    window: Window
    label: Label
    verdict: Verdict
    how: How


class _Label(_Request):
    label: Label


class _Start(_Request):
    label: Label
    by: By


class _Next(_Request):
    label: Label
    how: How
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1


class _Sound(_Request):
    window: Window
    before: Seconds = 0.0
    after: Seconds = 0.0


class _Refusal(Exception):
    """A request that is answered with a status and one line of text."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class LabelServer(PageServer):
    """A server of the page and of a session, which is to be set before it serves.

    Attributes:
        session: is used by several threads.
        token: without which the session is not reached.
    """

    session: Session

    def __init__(self, port: int) -> None:
        super().__init__(port, partial(LabelHandler, directory=str(PAGE)))
        self.token = secrets.token_urlsafe(32)

    @property
    def address(self) -> str:
        """Of the page, with the token, which the browser sends to nobody by itself."""
        return f"http://{HOST}:{self.server_address[1]}/#{self.token}"


def open_label_server(port: int) -> LabelServer:
    """A server of the page on localhost, not yet serving.

    Args:
        port: 0: any that is free.

    Raises:
        OptionError: the port is taken, or may not be used.
        RunError: the page was not built.
    """
    if not (PAGE / "label.html").is_file():
        raise RunError(f"{PAGE} holds no label.html: run `make web` in sondino's own folder, which needs Node.js")
    return open_server(port, LabelServer)


def wav_slice(file: Path, start: float, end: float, before: float, after: float) -> tuple[bytes, float, float]:
    """A stretch of a recording as a WAV: mono, 16 bits, at the file's rate up to `MAX_RATE`, of `MAX_SECONDS` at most.

    Args:
        file: the recording.
        start: of the window, in seconds.
        end: of the window, in seconds.
        before: seconds that are wanted before the window, as far as the recording has them.
        after: seconds that are wanted after it.

    Returns:
        The WAV, and where it begins and ends in the recording, in seconds.

    Raises:
        AudioError: it is missing, is not audio, or ends before the window.
    """
    rate = min(info(file).sample_rate, MAX_RATE)
    first = max(0.0, start - before)
    samples = read(file, rate, first, min(end + after - first, MAX_SECONDS))
    whole = np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2")
    written = io.BytesIO()
    with wave.open(written, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(whole.tobytes())
    return written.getvalue(), first, first + len(whole) / rate


class LabelHandler(PageHandler):
    """Serves the page, and below /api/ the session."""

    server: LabelServer

    def do_GET(self) -> None:
        """Answer with a file of the page, or for /api/ from the session."""
        if self.path.startswith("/api/"):
            self._respond({"state": self._state, "next": self._next, "sound": self._sound}, self._query)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        """Change the session."""
        routes = {"answer": self._record, "undo": self._undo, "label": self._add, "start": self._start}
        self._respond({**routes, "write": self._write}, self._body)

    def send_head(self) -> Any:
        """Open a file of the page, which is label.html."""
        if self.path.partition("?")[0] == "/":
            self.path = "/label.html"
        return super().send_head()

    # ---- what is asked for ---------------------------------------------------------------------------------------

    def _state(self, given: Any) -> State:
        check(given, _NoFields, "the request", error=OptionError)
        return self.server.session.state()

    def _next(self, given: Any) -> list[Candidate]:
        asked = check(given, _Next, "the request", error=OptionError)
        return self.server.session.next(asked.label, asked.how, asked.count)

    def _sound(self, given: Any) -> None:
        asked = check(given, _Sound, "the request", error=OptionError)
        file, start, end = self._window(asked.window)
        try:
            wav, first, last = wav_slice(file, start, end, asked.before, asked.after)
        except AudioError as error:
            status = HTTPStatus.UNPROCESSABLE_ENTITY if is_there(file) else HTTPStatus.GONE
            raise _Refusal(status, str(error)) from error
        self._send(HTTPStatus.OK, wav, "audio/wav", {"X-From": repr(first), "X-To": repr(last)})

    def _record(self, given: Any) -> State:
        answer = check(given, _Answer, "the answer", error=OptionError)
        with suppress(AudioError):  # who listened to a recording before it was moved may still answer
            self._window(answer.window)
        self.server.session.answer(answer.window, answer.label, answer.verdict, answer.how)
        return self.server.session.state()

    def _undo(self, given: Any) -> dict[str, Any]:
        check(given, _NoFields, "the request", error=OptionError)
        undone = self.server.session.undo()
        return {"undone": None if undone is None else asdict(undone), "state": asdict(self.server.session.state())}

    def _add(self, given: Any) -> State:
        self.server.session.add_label(check(given, _Label, "the label", error=OptionError).label)
        return self.server.session.state()

    def _start(self, given: Any) -> State:
        asked = check(given, _Start, "the start", error=OptionError)
        self.server.session.start(asked.label, asked.by)
        return self.server.session.state()

    def _write(self, given: Any) -> dict[str, Any]:
        check(given, _NoFields, "the request", error=OptionError)
        return {"written": [str(file) for file in self.server.session.write()]}

    def _window(self, window: int) -> tuple[Path, float, float]:
        """The file, start and end of a window that is there."""
        try:
            return self.server.session.sound_of(window)
        except OptionError as error:
            raise _Refusal(HTTPStatus.NOT_FOUND, str(error)) from error

    # ---- requests and answers ------------------------------------------------------------------------------------

    def _respond(self, routes: Mapping[str, Callable[[Any], Any]], read_given: Callable[[], Any]) -> None:
        """Answer a request of the API; whatever is wrong becomes a status and {"error": text}."""
        try:
            if not secrets.compare_digest(
                self.headers.get("X-Token", "").encode("utf-8", "replace"), self.server.token.encode()
            ):
                raise _Refusal(HTTPStatus.FORBIDDEN, "the token is missing or wrong: open the address that was printed")
            route = routes.get(self.path.partition("?")[0].removeprefix("/api/"))
            if route is None:
                raise _Refusal(HTTPStatus.NOT_FOUND, "there is no such request")
            found = route(read_given())
            if found is not None:
                self._send_json(HTTPStatus.OK, found)
        except _Refusal as refusal:
            self._send_error(refusal.status, str(refusal))
        except (SondinoError, OSError) as error:
            if isinstance(error, (ConnectionError, TimeoutError)):
                raise
            self._send_error(_status(error), str(error) if isinstance(error, SondinoError) else format_error(error))
        except Exception as error:
            self.server.handle_error(self.connection, self.client_address)
            self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"the server failed: {format_error(error)}")

    def _query(self) -> dict[str, Any]:
        """The fields of an address; numbers as numbers."""
        try:
            pairs = parse_qsl(self.path.partition("?")[2], keep_blank_values=True, errors="strict", max_num_fields=10)
        except ValueError as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "the address cannot be read") from error
        fields = dict(pairs)
        if len(fields) < len(pairs):
            raise _Refusal(HTTPStatus.BAD_REQUEST, "a field is given twice")
        kinds: dict[str, Callable[[str], Any]] = {"window": int, "count": int, "before": float, "after": float}
        return {name: _number(kinds[name], text) if name in kinds else text for name, text in fields.items()}

    def _body(self) -> Any:
        """The JSON of a request."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "the length of the request is missing")
        if len(length) > 9 or int(length) > MAX_BODY:
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request is over {MAX_BODY} bytes")
        try:
            return parse_json(self.rfile.read(int(length)))
        except ValueError as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "the request is not JSON") from error

    def _send_error(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True  # a body may be left unread
        self._send_json(status, {"error": text}, {"Connection": "close"})

    def _send_json(self, status: HTTPStatus, value: Any, headers: Mapping[str, str] | None = None) -> None:
        # As ASCII: names of files may have bytes that are not UTF-8.
        text = json.dumps(value, default=asdict)
        self._send(status, text.encode("ascii"), "application/json", headers or {})

    def _send(self, status: HTTPStatus, content: bytes, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _status(error: Exception) -> HTTPStatus:
    """The status that stands for an error: 507 where the disk did not take what was to be written."""
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and (isinstance(error, RunError) or cause.errno in (errno.ENOSPC, errno.EDQUOT)):
        return HTTPStatus.INSUFFICIENT_STORAGE
    if isinstance(error, OSError):
        return HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, RunError):
        return HTTPStatus.CONFLICT
    return HTTPStatus.GONE if isinstance(error, AudioError) else HTTPStatus.BAD_REQUEST


def _number(kind: Callable[[str], float], text: str) -> Any:
    """A number in an address; text that is none stays, and is refused by its name later."""
    try:
        value = kind(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
