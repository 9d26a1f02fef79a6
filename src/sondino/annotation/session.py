"""A session of labelling: the one face of this package for the page's server, the command and the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sondino.model.model import Model
from sondino.progress import Report

Verdict = Literal["yes", "no", "unsure"]
How = Literal["mixed", "uncertain", "similar", "different", "top", "random", "disagree"]
"""How candidates are chosen; "mixed" takes the others in turn, and "disagree" needs given labels."""


@dataclass(frozen=True)
class Candidate:
    """A window to be judged.

    Attributes:
        window: its number in the store; it stays the same while the store grows.
        path: of its recording, relative to the archive.
        start: seconds in the recording.
        end: seconds in the recording.
        label: that is asked about.
        score: the classifier's probability of the label; None before there is a classifier.
        how: the way it was chosen, never "mixed": what `Session.answer` is to be given.
        why: the same in words for people, such as "most uncertain".
        given: the given label of this window, where there is one.
    """

    window: int
    path: str
    start: float
    end: float
    label: str
    score: float | None
    how: str
    why: str
    given: str | None


@dataclass(frozen=True)
class State:
    """What is known so far.

    Attributes:
        labels: in the order in which they were added.
        answers: label -> {"yes": n, "no": n, "unsure": n}.
        windows: that can be judged.
        files: recordings that are there.
        estimate: label -> (precision, low, high, judged at random) of what the classifier calls yes; None where nothing
            was judged at random.
        advice: label -> one line: what to do next, or that one may stop.
        who: the name given at the start.
        model: its name.
    """

    labels: tuple[str, ...]
    answers: dict[str, dict[str, int]]
    windows: int
    files: int
    estimate: dict[str, tuple[float, float, float, int] | None]
    advice: dict[str, str]
    who: str
    model: str


class Session:
    """An archive that is being labelled. Its methods may be called from several threads."""

    @classmethod
    def open(
        cls,
        recordings: str | Path,
        out: str | Path,
        model: Model | str | Path,
        labels: Sequence[str] = (),
        who: str = "",
        given: str | Path | None = None,
        progress: Report = lambda done, total: None,
    ) -> Session:
        """Embed what is new in an archive, and read the answers so far.

        Args:
            recordings: a folder, a file or a list.
            out: folder of the store, the answers and the results.
            model: a model, or a bundle, run or published name as `sondino.load` takes it.
            labels: to begin with; more are added with `add_label`.
            who: name of the listener, for the history.
            given: existing labels to check: a list, or the archive's folder for tables beside the recordings.
            progress: called with (new files done, new files in all).

        Raises:
            AudioError: there is no audio.
            OptionError: `out` holds something else, a label cannot be used, or the given labels are refused.
            RunError: the store is of another model, in use, or cannot be written.
        """
        raise NotImplementedError

    def start(self, label: str, by: str) -> None:
        """Choose what the first candidates of a label are like.

        Args:
            label: is added where it is new.
            by: an example file, a stretch ("x.wav#t=1,2"), "label:dog" (of the model's head), "group:3", or "random".

        Raises:
            OptionError: there is no such label or group.
            AudioError: there is no such file.
        """
        raise NotImplementedError

    def next(self, label: str, how: str, count: int = 1) -> list[Candidate]:
        """The next candidates: windows that have no answer for the label, at most one a recording where that suffices.

        Args:
            label: is asked about.
            how: one of `How`.
            count: how many at most; fewer where fewer are left.

        Raises:
            OptionError: an unknown label or way.
        """
        raise NotImplementedError

    def answer(self, window: int, label: str, verdict: Verdict, how: str) -> None:
        """Record an answer; it is on disk when this returns.

        Args:
            window: of the candidate.
            label: that was asked about.
            verdict: "yes", "no" or "unsure".
            how: of the candidate.

        Raises:
            OptionError: an unknown window, label or verdict.
            RunError: it could not be written, and does not count.
        """
        raise NotImplementedError

    def undo(self) -> Candidate | None:
        """Take back the latest answer of this listener that stands, and give its candidate; None where there is none.

        Raises:
            RunError: it could not be written, and the answer stands.
        """
        raise NotImplementedError

    def add_label(self, label: str) -> None:
        """Add a label; nothing happens where it is there.

        Raises:
            OptionError: it is empty, has a semicolon, a line break or control characters, or over 100 characters.
            RunError: it could not be written.
        """
        raise NotImplementedError

    def state(self) -> State:
        """The labels, the counts of answers, the estimates and the advice, with the answers of other processes."""
        raise NotImplementedError

    def sound_of(self, window: int) -> tuple[Path, float, float]:
        """The file (absolute), the start and the end in seconds of a window.

        Raises:
            OptionError: an unknown window.
            AudioError: the recording is no longer there.
        """
        raise NotImplementedError

    def write(self) -> list[Path]:
        """Write labels, tables, the bundle and the report into `out`, and give what was written.

        Raises:
            OptionError: there is no answer yet.
            RunError: it cannot be written.
        """
        raise NotImplementedError
