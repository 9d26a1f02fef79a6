"""A session of labelling in memory, for tests of the server and of the page: no model, answers in a list."""

from dataclasses import dataclass, field
from pathlib import Path

from sondino.annotation.session import Candidate, Session, State, Verdict
from sondino.errors import AudioError, OptionError, RunError

WHY = {
    "uncertain": "most uncertain",
    "similar": "similar to yes",
    "different": "most different",
    "top": "highest score",
    "random": "at random",
    "disagree": "differs from its given label",
}


@dataclass
class FakeSession(Session):
    """Windows of one second, in order; the score of a window is its number over their count.

    Args:
        folder: of the recordings.
        windows: name of a recording and the second at which a window of it begins.
        labels: to begin with.
        given: window -> its given label.
    """

    folder: Path
    windows: list[tuple[str, float]]
    labels: list[str] = field(default_factory=list)
    given: dict[int, str] = field(default_factory=dict)
    answers: list[tuple[int, str, str, str]] = field(default_factory=list)
    starts: list[tuple[str, str]] = field(default_factory=list)
    is_full: bool = False

    def start(self, label: str, by: str) -> None:
        if by.startswith("group:"):
            raise OptionError(f"there is no {by}: give a group from 0 to 7")
        self.add_label(label)
        self.starts.append((label, by))

    def next(self, label: str, how: str, count: int = 1) -> list[Candidate]:
        if label not in self.labels:
            raise OptionError(f"unknown label {label!r}")
        done = {window for window, of, _, _ in self.answers if of == label}
        left = [window for window in range(len(self.windows)) if window not in done]
        order = left[::-1] if how == "top" else left
        return [self._candidate(window, label, "uncertain" if how == "mixed" else how) for window in order[:count]]

    def _candidate(self, window: int, label: str, how: str) -> Candidate:
        path, start = self.windows[window]
        has_answer = any(of == label for _, of, _, _ in self.answers)
        score = window / len(self.windows) if has_answer else None
        return Candidate(window, path, start, start + 1, label, score, how, WHY[how], self.given.get(window))

    def answer(self, window: int, label: str, verdict: Verdict, how: str) -> None:
        if label not in self.labels:
            raise OptionError(f"unknown label {label!r}")
        if self.is_full:
            cause = OSError(28, "No space left on device")
            raise RunError("answers.jsonl could not be written (No space left on device): make room") from cause
        self.answers.append((window, label, verdict, how))

    def undo(self) -> Candidate | None:
        if not self.answers:
            return None
        window, label, _, how = self.answers.pop()
        return self._candidate(window, label, how)

    def add_label(self, label: str) -> None:
        if ";" in label:
            raise OptionError(f"label {label!r} has a semicolon: leave it out")
        if label not in self.labels:
            self.labels.append(label)

    def state(self) -> State:
        counts = {label: dict.fromkeys(("yes", "no", "unsure"), 0) for label in self.labels}
        random = dict.fromkeys(self.labels, 0)
        for _, label, verdict, how in self.answers:
            counts[label][verdict] += 1
            random[label] += how == "random"
        return State(
            labels=tuple(self.labels),
            answers=counts,
            windows=len(self.windows),
            files=len({path for path, _ in self.windows}),
            estimate={label: (0.75, 0.5, 0.9, count) if count else None for label, count in random.items()},
            advice={label: f"answer 5 at random for {label}" for label in self.labels},
            who="tester",
            model="fake",
        )

    def sound_of(self, window: int) -> tuple[Path, float, float]:
        if not 0 <= window < len(self.windows):
            raise OptionError(f"there is no window {window}")
        path, start = self.windows[window]
        file = self.folder / path
        if not file.is_file():
            raise AudioError(f"{path} is no longer there: put it back, or skip it")
        return file, start, start + 1

    def write(self) -> list[Path]:
        if not self.answers:
            raise OptionError("there is no answer yet")
        return [self.folder / "labels.csv", self.folder / "report.html"]
