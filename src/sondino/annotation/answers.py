"""The answers on disk: lines of JSON that are only ever added, each on disk before the call that adds it returns.

A line is an answer, the taking back of one, a new label, or how a label starts. Processes that add to one file take
turns; each reads what the others have added. What was taken back stays in the file: it is the history.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from sondino.errors import OptionError, RunError
from sondino.files import sync_folder
from sondino.lists import BETWEEN_LABELS
from sondino.locks import open_locked
from sondino.text import printable

ANSWERS = "answers.jsonl"
MOST_CHARACTERS = 100
"""Of a label."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """The verdict of somebody on a window.

    Attributes:
        path: of its recording, below the archive.
        start: of the window, seconds.
        end: seconds.
        label: that was asked about.
        verdict: "yes", "no" or "unsure".
        how: the way the window was chosen.
        score: the classifier's probability before this answer; None where there was no classifier.
        who: name of the listener.
        model: the fingerprint of the model whose windows they are.
        time: UTC, ISO 8601.
    """

    path: str
    start: float
    end: float
    label: str
    verdict: Literal["yes", "no", "unsure"]
    how: str
    score: float | None
    who: str
    model: str
    time: str = ""

    @property
    def key(self) -> tuple[str, float, str]:
        """What was asked: answers of one key replace each other."""
        return self.path, round(self.start, 3), self.label


class Answers:
    """The answers of a file.

    Attributes:
        file: lines of JSON.
        labels: in the order in which they were added.
        starts: label -> how it starts.
        standing: number of a line -> its answer, of those that were not taken back, in the order of the file.
        damaged: lines that could not be read.
    """

    def __init__(self, file: Path) -> None:
        """Read a file; it need not be there.

        Raises:
            RunError: it cannot be read.
        """
        self.file = file
        self.labels: list[str] = []
        self.starts: dict[str, str] = {}
        self.standing: dict[int, Answer] = {}
        self.damaged = 0
        self._read = self._lines = 0
        self.read()

    def read(self) -> bool:
        """Read what was added since; only whole lines count. Returns whether there was anything."""
        try:
            with self.file.open("rb") as opened:
                opened.seek(self._read)
                new = opened.read()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise RunError(f"{self.file} cannot be read ({error.strerror or error})") from error
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.split(b"\n")[:-1]:
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, msgspec.ValidationError):
                self.damaged += 1
                log.warning("%s, line %d is damaged and left out", printable(self.file), self._lines + 1)
            self._lines += 1
        return bool(whole)

    def _take(self, line: dict[str, Any]) -> None:
        if "verdict" in line:
            answer = msgspec.convert(line, Answer)
            self.standing[self._lines] = answer
            self._add_label(answer.label)
        elif "undo" in line:
            self.standing.pop(int(line["undo"]), None)
        elif "by" in line:
            self._add_label(str(line["label"]))
            self.starts[str(line["label"])] = str(line["by"])
        else:
            self._add_label(str(line["label"]))

    def _add_label(self, label: str) -> None:
        if label not in self.labels:
            self.labels.append(label)

    def latest(self, label: str | None = None) -> list[Answer]:
        """The answers that count, of one label or all: of a window that was asked about twice the later one."""
        found: dict[tuple[str, float, str], Answer] = {}
        for answer in self.standing.values():
            if label is None or answer.label == label:
                found.pop(answer.key, None)
                found[answer.key] = answer
        return list(found.values())

    def add(self, answer: Answer) -> None:
        """Add an answer; it is on disk when this returns.

        Raises:
            RunError: it could not be written, and does not count.
        """
        with self._locked() as opened:
            self._append(opened, {**asdict(answer), "time": _now()}, "this answer does not count")

    def undo(self, who: str) -> Answer | None:
        """Take back the latest standing answer of somebody; None where there is none.

        Raises:
            RunError: it could not be written, and the answer stands.
        """
        with self._locked() as opened:
            self.read()
            number = max((n for n, answer in self.standing.items() if answer.who == who), default=None)
            if number is None:
                return None
            answer = self.standing[number]
            self._append(opened, {"undo": number, "who": who, "time": _now()}, "the answer stands")
        return answer

    def add_label(self, label: str, who: str) -> None:
        """Add a label, where it is not there.

        Raises:
            OptionError: it cannot be a label.
            RunError: it could not be written.
        """
        check_label(label)
        if label not in self.labels:
            with self._locked() as opened:
                self._append(opened, {"label": label, "who": who, "time": _now()}, "the label was not added")

    def start(self, label: str, by: str, who: str) -> None:
        """Record how a label starts.

        Raises:
            OptionError: it cannot be a label.
            RunError: it could not be written.
        """
        check_label(label)
        with self._locked() as opened:
            line = {"label": label, "by": by, "who": who, "time": _now()}
            self._append(opened, line, "the start is as it was")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open to be added to, while no other process or thread adds to it."""
        try:
            lock = open_locked(self.file.with_name(f".{self.file.name}.lock"), wait=True)
            assert lock is not None  # it was waited for
            with lock:
                new = not self.file.exists()
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
                opened = os.open(self.file, flags, 0o666)
                try:
                    if new:
                        sync_folder(self.file.parent)
                    yield opened
                finally:
                    os.close(opened)
        except OSError as error:
            raise self._failed(error, "nothing was added") from error

    def _append(self, opened: int, line: dict[str, Any], then: str) -> None:
        """Add a line and put it on disk, or leave the file as it was."""
        content = json.dumps(line).encode() + b"\n"
        _drop_torn(opened)
        size = os.fstat(opened).st_size
        try:
            if os.write(opened, content) < len(content):  # the disk took a part
                raise OSError(28, "No space left on device")
            os.fsync(opened)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(opened, size)
            raise self._failed(error, then) from error
        self.read()

    def _failed(self, error: OSError, then: str) -> RunError:
        reason = error.strerror or error
        return RunError(f"{self.file} could not be written ({reason}): {then}; make room on the disk, and do it again")


def _drop_torn(opened: int) -> None:
    """Remove a last line that has no end: its process was killed, and its call never returned."""
    size = os.fstat(opened).st_size
    end = size
    while end:
        first = max(0, end - 4096)
        os.lseek(opened, first, os.SEEK_SET)
        block = os.read(opened, end - first)
        if b"\n" in block:
            end = first + block.rfind(b"\n") + 1
            break
        end = first
    if end != size:
        os.ftruncate(opened, end)


def check_label(label: str) -> None:
    """Raises OptionError where a text cannot be a label."""
    if not label.strip() or label != label.strip():
        raise OptionError("a label is empty, or has spaces around it: give its name")
    if BETWEEN_LABELS in label or not label.isprintable() or len(label) > MOST_CHARACTERS:
        raise OptionError(
            f"{printable(label)[:MOST_CHARACTERS]!r} cannot be a label: give up to {MOST_CHARACTERS} characters, "
            f"without {BETWEEN_LABELS!r}, tabs and line breaks"
        )


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="milliseconds")
