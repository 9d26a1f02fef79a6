"""A session of labelling: the one face of this package for the page's server, the command and the benchmark."""

from __future__ import annotations

import threading
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sondino.annotation.answers import ANSWERS, Answer, Answers, check_label
from sondino.annotation.choose import WAYS, Answered, ranked, space_of, spread, way_of
from sondino.annotation.classifier import Rows, fit, held_out, logits, probability
from sondino.annotation.estimate import advice_of, precision_of
from sondino.annotation.results import (
    BUNDLE,
    CLIPS,
    Decided,
    LabelResult,
    choose_threshold,
    curve_of,
    write_bundle,
    write_labels,
    write_report,
    write_tables,
)
from sondino.annotation.starts import Given, disagreement, read_given, start_scores
from sondino.annotation.windows import Store, open_store
from sondino.audio.fragment import stretch_of
from sondino.errors import OptionError, SondinoError, require, unknown_name
from sondino.files import free_folder, make_folder
from sondino.model.model import Model
from sondino.probing.linear import Linear
from sondino.progress import Report

GIVEN_ROWS = 250
"""Windows with given labels for, and as many against a label, that its classifier is fitted on beside the answers."""
WINDOWS = "windows"
"""Folder of the store."""
REFIT = 10
"""Answers after which it is computed again where the classifier and given labels disagree."""

Verdict = Literal["yes", "no", "unsure"]
How = Literal["mixed", "uncertain", "similar", "different", "top", "random", "disagree"]
"""How candidates are chosen; "mixed" takes the others in turn, and "disagree" needs given labels."""


@dataclass(frozen=True)
class Candidate:
    """A window to be labelled.

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
        windows: that can be labelled.
        files: recordings that are there.
        estimate: label -> (precision, low, high, drawn at random) of what the classifier calls yes; None where nothing
            was drawn at random.
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

    def __init__(self, out: Path, recordings: Path, model: Model, store: Store, answers: Answers, who: str) -> None:
        """Use `open`."""
        self.out, self.recordings, self.model, self.who = out, recordings, model, who
        self.store = store
        self.skipped, self.gone = store.skipped, store.gone
        self._answers = answers
        self._given = Given()
        self._alive = np.flatnonzero(store.alive)
        self._space = space_of(store.embeddings, self._alive)
        self._owners = store.owners(np.arange(len(store)))
        self._windows: dict[tuple[str, float], int | None] = {}
        self._fitted: dict[str, _Fitted] = {}
        self._starts: dict[str, tuple[str, NDArray[np.float32] | None]] = {}
        self._ranked_given: dict[str, tuple[int, Rows]] = {}
        self._lock = threading.RLock()

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
            MissingExtra: SciPy is not installed.
        """
        from sondino.pretrained.load import load

        require("scipy.linalg", "report")
        require("threadpoolctl", "report")
        for label in labels:
            check_label(label)
        model = model if isinstance(model, Model) else load(model)
        recordings = Path(recordings)
        out = free_folder(Path(out), _is_ours, "folder of labels")
        if model.folder.resolve() in (out, out / BUNDLE):
            raise OptionError(f"--out {out} holds the model itself: name another folder, or another model")
        make_folder(out)
        store = open_store(out / WINDOWS, recordings, model, progress)
        session = cls(out, recordings, model, store, Answers(out / ANSWERS), who)
        for label in labels:
            session.add_label(label)
        if given is not None:
            session._give(read_given(Path(given), recordings, store))
        return session

    def _give(self, given: Given) -> None:
        self._given = given
        for label in given.labels:
            self.add_label(label)

    @property
    def given_elsewhere(self) -> int:
        """How many given labels fit no window."""
        return self._given.elsewhere

    def start(self, label: str, by: str) -> None:
        """Choose what the first candidates of a label are like.

        Args:
            label: is added where it is new.
            by: an example file, a stretch ("x.wav#t=1,2"), "label:dog" (of the model's head), "group:3", or "random".

        Raises:
            OptionError: there is no such label or group.
            AudioError: there is no such file.
        """
        with self._lock:
            check_label(label)
            scores = start_scores(by, self.store, self.model, self._space)
            self._answers.start(label, by, self.who)
            self._starts[label] = by, scores

    def next(self, label: str, how: str, count: int = 1) -> list[Candidate]:
        """The next candidates: windows that have no answer for the label, at most one a recording where that suffices.

        Args:
            label: is asked about.
            how: one of `How`.
            count: how many at most; fewer where fewer are left.

        Raises:
            OptionError: an unknown label or way, or no labels were given for "disagree".
        """
        with self._lock:
            self._answers.read()
            self._check_label(label)
            if how not in get_args(How):
                raise unknown_name("way", how, get_args(How))
            fitted = self._fit(label)
            known = fitted.known
            if how == "disagree":
                rows, way = self._disagreeing(label, fitted), "disagree"
            else:
                way = way_of(how, len(known.all()))
                start = None if fitted.scores is not None else self._start_of(label)
                rows, way = ranked(
                    way, self.store.embeddings, self._space, known, fitted.scores, start, len(known.all())
                )
            rows = spread(rows, self._owners[rows], count)
            return [self._candidate(int(window), label, way) for window in rows]

    def answer(self, window: int, label: str, verdict: Verdict, how: str) -> None:
        """Record an answer; it is on disk when this returns.

        Args:
            window: of the candidate.
            label: that was asked about.
            verdict: "yes", "no" or "unsure".
            how: of the candidate.

        Raises:
            OptionError: an unknown window, label, verdict or way.
            RunError: it could not be written, and does not count.
        """
        with self._lock:
            self._check_label(label)
            if verdict not in get_args(Verdict):
                raise unknown_name("verdict", verdict, get_args(Verdict))
            if how not in WAYS:
                raise unknown_name("way", how, WAYS)
            path, start, end = self.store.place_of(window)
            self._answers.read()
            score = self._score(window, label)
            self._answers.add(Answer(path, start, end, label, verdict, how, score, self.who, self.model.fingerprint))

    def undo(self) -> Candidate | None:
        """Take back the latest answer of this listener that stands, and give its candidate; None where there is none.

        The candidate's window is -1 where the store does not hold it any more.

        Raises:
            RunError: it could not be written, and the answer stands.
        """
        with self._lock:
            answer = self._answers.undo(self.who)
            if answer is None:
                return None
            window = self._window_of(answer)
            if window is None:
                return Candidate(
                    -1, answer.path, answer.start, answer.end, answer.label, None, answer.how, WAYS[answer.how], None
                )
            return self._candidate(window, answer.label, answer.how)

    def add_label(self, label: str) -> None:
        """Add a label; nothing happens where it is there.

        Raises:
            OptionError: it is empty, has a semicolon, a line break or control characters, or over 100 characters.
            RunError: it could not be written.
        """
        with self._lock:
            self._answers.read()
            self._answers.add_label(label, self.who)

    def state(self) -> State:
        """The labels, the counts of answers, the estimates and the advice, with the answers of other processes."""
        with self._lock:
            self._answers.read()
            labels = tuple(self._answers.labels)
            counts, estimates, advice = {}, {}, {}
            of_label: dict[str, list[Answer]] = {label: [] for label in labels}
            for answer in self._answers.latest():
                of_label[answer.label].append(answer)
            for label, latest in of_label.items():
                counts[label] = {v: sum(answer.verdict == v for answer in latest) for v in get_args(Verdict)}
                estimates[label] = precision_of(latest)
                left = len(self._alive) - len({(a.path, round(a.start, 3)) for a in latest})
                fitted = self._fit(label)
                called = None
                if fitted.scores is not None:
                    called = int(np.count_nonzero(fitted.scores[fitted.known.free] >= 0))
                advice[label] = advice_of(counts[label], estimates[label], left, called)
            return State(
                labels,
                counts,
                len(self._alive),
                len(self.store.found),
                estimates,
                advice,
                self.who,
                self.model.name,
            )

    def sound_of(self, window: int) -> tuple[Path, float, float]:
        """The file (absolute), the start and the end in seconds of a window.

        Raises:
            OptionError: an unknown window.
            AudioError: the recording is no longer there.
        """
        _, start, end = self.store.place_of(window)
        return self.store.file_of(window), start, end

    def write(self) -> list[Path]:
        """Write labels, tables, the bundle and the report into `out`, and give what was written.

        Raises:
            OptionError: there is no answer yet.
            RunError: it cannot be written.
        """
        with self._lock:
            self._answers.read()
            decided = {label: self._decided(label) for label in self._answers.labels}
            decided = {label: windows for label, windows in decided.items() if windows}
            if not decided:
                raise OptionError(f"{self.out} has no answer yet: answer some candidates first")
            files = {stretch_of(name).file: file for name, file in self.store.found.items()}
            results = [self._result(label, windows) for label, windows in decided.items()]
            tables = write_tables(self.out, decided, files, self.model.sample_rate / 2)
            written = [write_labels(self.out, decided, files), tables]
            bundle = write_bundle(self.out, self.model, results)
            written += [bundle] if bundle else []
            written.append(write_report(self.out, self.model.name, str(self.recordings), results, files))
            return written

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _check_label(self, label: str) -> None:
        if label not in self._answers.labels:
            self._answers.read()
            if label not in self._answers.labels:
                raise unknown_name("label", label, self._answers.labels)

    def _window_of(self, answer: Answer) -> int | None:
        key = answer.path, answer.start
        if key not in self._windows:
            self._windows[key] = self.store.window_at(*key)
        return self._windows[key]

    def _fit(self, label: str) -> _Fitted:
        """The answers of a label and its classifier, fitted again where the answers are others than before."""
        verdicts: dict[int, str] = {}
        for answer in self._answers.latest(label):
            window = self._window_of(answer)
            if window is not None:
                verdicts[window] = answer.verdict
        before = self._fitted.get(label)
        if before is not None and before.verdicts == verdicts:
            return before

        def of(verdict: str) -> Rows:
            return np.array(sorted(w for w, given in verdicts.items() if given == verdict), np.int64)

        free = self.store.alive.copy()
        free[np.array(list(verdicts), np.int64)] = False
        known = Answered(of("yes"), of("no"), of("unsure"), np.flatnonzero(free))
        given = self._given_rows(label, verdicts)
        yes, no = np.concatenate([known.yes, given[0]]), np.concatenate([known.no, given[1]])
        linear = fit(self.store.embeddings, yes, no, known.free)
        scores = None if linear is None else logits(self.store.embeddings, linear)
        self._fitted[label] = _Fitted(verdicts, known, given, linear, scores)
        return self._fitted[label]

    def _given_rows(self, label: str, verdicts: Container[int]) -> tuple[Rows, Rows]:
        """Windows without an answer whose given labels hold a label, and those whose given labels do not; some."""
        rows = np.random.default_rng(0).permutation(sorted(self._given.of))
        free = [int(row) for row in rows if int(row) not in verdicts]
        yes = [row for row in free if label in self._given.of[row]][:GIVEN_ROWS]
        no = [row for row in free if label not in self._given.of[row]][:GIVEN_ROWS]
        return np.array(sorted(yes), np.int64), np.array(sorted(no), np.int64)

    def _score(self, window: int, label: str) -> float | None:
        scores = self._fit(label).scores
        return None if scores is None else round(probability(float(scores[window])), 6)

    def _candidate(self, window: int, label: str, how: str) -> Candidate:
        path, start, end = self.store.place_of(window)
        given = self._given.of.get(window)
        why = WAYS.get(how, how)
        if how == "similar" and not len(self._fit(label).known.yes):
            why = "similar to the start"
        shown = None if given is None else "; ".join(given)
        return Candidate(window, path, start, end, label, self._score(window, label), how, why, shown)

    def _start_of(self, label: str) -> NDArray[np.float32] | None:
        """How much each window is like the start of a label; None where it has none."""
        by = self._answers.starts.get(label)
        if by is None:
            return None
        if label not in self._starts or self._starts[label][0] != by:
            try:
                scores_of = start_scores(by, self.store, self.model, self._space)
            except SondinoError:  # an example of an earlier day that is no longer there
                scores_of = None
            self._starts[label] = by, scores_of
        return self._starts[label][1]

    def _disagreement(self, label: str) -> tuple[Rows, NDArray[np.float64]]:
        known = self._fit(label).known
        answered = dict.fromkeys(known.yes.tolist(), True) | dict.fromkeys(known.no.tolist(), False)
        rows = np.array(sorted(self._given.of), np.int64)
        return disagreement(self.store.embeddings, self._given, label, answered, self._owners[rows])

    def _disagreeing(self, label: str, fitted: _Fitted) -> Rows:
        """The free windows with given labels, those first that the classifier disagrees with most."""
        if not self._given.of:
            raise OptionError("no labels were given that the classifier could disagree with: give some with --labels")
        done = len(fitted.verdicts) // REFIT
        kept = self._ranked_given.get(label)
        if kept is None or kept[0] != done:
            rows, values = self._disagreement(label)
            kept = done, rows[np.argsort(-values, kind="stable")]
            self._ranked_given[label] = kept
        free = np.zeros(len(self.store), bool)
        free[fitted.known.free] = True
        return kept[1][free[kept[1]]]

    def _decided(self, label: str) -> list[Decided]:
        found = []
        for answer in self._answers.latest(label):
            if answer.verdict != "unsure":
                window = self._window_of(answer)
                yes = answer.verdict == "yes"
                found.append(Decided(-1 if window is None else window, answer.path, answer.start, answer.end, yes))
        return found

    def _result(self, label: str, decided: Sequence[Decided]) -> LabelResult:
        """The classifier of a label, its threshold, and what it calls yes."""
        latest = self._answers.latest(label)
        counts = {verdict: sum(answer.verdict == verdict for answer in latest) for verdict in get_args(Verdict)}
        fitted, embeddings = self._fit(label), self.store.embeddings
        known, threshold = fitted.known, None
        if len(known.yes) and len(known.no):
            yes, no = (np.concatenate(both) for both in zip((known.yes, known.no), fitted.given, strict=True))
            rows = np.concatenate([yes, no])
            values = held_out(embeddings, yes, no, known.free, self._owners[rows])
            if values is not None:
                answered = np.isin(rows, known.all())  # given labels may be wrong
                threshold = choose_threshold(values[answered], (np.arange(len(rows)) < len(yes))[answered])
        called, best = np.zeros(0, np.int64), []
        if fitted.scores is not None:
            limit = threshold.logit if threshold else 0.0
            called = self._alive[fitted.scores[self._alive] >= limit]
            called = called[np.argsort(-fitted.scores[called], kind="stable")]
            free = np.isin(called, known.free)
            for window in [*spread(called[free], self._owners[called[free]], CLIPS), *called[~free]][:CLIPS]:
                path, start, end = self.store.place_of(int(window))
                best.append((int(window), path, start, end, probability(float(fitted.scores[window]))))
        order = [(one.window, one.yes, int(self._owners[one.window])) for one in decided if one.window >= 0]
        return LabelResult(
            label,
            counts,
            fitted.linear,
            threshold,
            precision_of(latest),
            (len(called), len(np.unique(self._owners[called]))),
            best,
            curve_of(embeddings, order, known.free) if len(known.yes) and len(known.no) else [],
        )


@dataclass
class _Fitted:
    """The answers of a label and the classifier fitted on them.

    Attributes:
        verdicts: window -> its verdict.
        known: the same as numbers of windows.
        given: windows whose given labels say yes, and no; the classifier is fitted on these too.
        linear: the classifier; None where there is none.
        scores: its logits (windows,).
    """

    verdicts: dict[int, str]
    known: Answered
    given: tuple[Rows, Rows]
    linear: Linear | None
    scores: NDArray[np.float32] | None


def _is_ours(folder: Path) -> bool:
    return (folder / ANSWERS).exists() or (folder / WINDOWS).is_dir()
