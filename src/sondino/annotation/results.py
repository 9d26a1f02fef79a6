"""What comes out of labelling: a list of labels, tables for other programs, a model with the head, and a report."""

from __future__ import annotations

import base64
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.annotation.classifier import held_out
from sondino.annotation.estimate import Estimate
from sondino.audio.reading import read
from sondino.embedding.detect import MIN_CONFIDENCE
from sondino.embedding.detection_tables import Format, file_of, write_one
from sondino.embedding.detections import Detection, Recording
from sondino.encoder.head import Head
from sondino.errors import SondinoError
from sondino.files import make_folder, replacing, write_whole
from sondino.lists import BETWEEN_LABELS
from sondino.metrics.intervals import wilson
from sondino.model.bundle import copy_with_head
from sondino.model.model import Model
from sondino.probing.linear import Linear
from sondino.reporting.curves import curves_section
from sondino.reporting.excerpt import MIME, excerpt, mp3
from sondino.reporting.html import scrolling, section, text, write_page
from sondino.tasks.labelled import BACKGROUND
from sondino.text import csv_text, percent

LABELS, BUNDLE, TABLES, REPORT = "labels.csv", "bundle", "tables", "report.html"
PRECISION = 0.8
"""The lower end of the interval of precision, on the answers, that a threshold is to keep."""
CLIPS = 12
"""Clips of each label on the page."""
RATE = 24_000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """The lowest logit that counts as yes, and what it means on the answers.

    Attributes:
        logit: the lowest.
        precision: of the answers above it.
        low: the lower end of its 95 % interval.
        recall: of the answers "yes".
        held: whether `low` is at least `PRECISION`.
    """

    logit: float
    precision: float
    low: float
    recall: float
    held: bool


def choose_threshold(logits: Array, is_yes: NDArray[np.bool_]) -> Threshold:
    """The lowest threshold at which the lower end of the precision's interval is `PRECISION` or more.

    Where there is none, the one with the highest F1.

    Args:
        logits: (answers,) of answered windows, by classifiers that did not see their recordings.
        is_yes: (answers,) one "yes" at least.
    """
    order = np.argsort(-logits, kind="stable")
    sorted_logits, hits = logits[order], np.cumsum(is_yes[order])
    counts = np.arange(1, len(order) + 1)
    ends = np.append(np.flatnonzero(np.diff(sorted_logits)), len(order) - 1)  # equal logits stay together
    precision, recall = hits / counts, hits / is_yes.sum()
    low = np.array([wilson(float(precision[end]), int(counts[end]))[0] for end in ends])
    good = np.flatnonzero(low >= PRECISION)
    if len(good):
        at, held = int(good[-1]), True
    else:
        f1 = 2 * hits[ends] / (counts[ends] + is_yes.sum())
        at, held = int(f1.argmax()), False
    end = int(ends[at])
    below = sorted_logits[end + 1] if end + 1 < len(order) else sorted_logits[end] - 1e-3
    # Half-way to the next answer: an answered window above it stays above when numbers are rounded.
    logit = float((sorted_logits[end] + below) / 2)
    return Threshold(logit, float(precision[end]), float(low[at]), float(recall[end]), held)


@dataclass(frozen=True)
class Decided:
    """An answered window of one label: its place, and the verdict."""

    window: int
    path: str
    start: float
    end: float
    yes: bool


@dataclass(frozen=True)
class LabelResult:
    """What is known of one label at the end.

    Attributes:
        label: its name.
        counts: of "yes", "no" and "unsure".
        linear: the classifier; None where there is none.
        threshold: chosen on the answers; None where there are too few.
        estimate: of the precision, from windows drawn at random.
        called: windows and recordings that the classifier calls yes at the threshold.
        best: windows that it is most sure of, among those called yes, with their places and probabilities; those
            without an answer come first.
        curve: (answers, precision, recall) after so many.
    """

    label: str
    counts: dict[str, int]
    linear: Linear | None
    threshold: Threshold | None
    estimate: Estimate | None
    called: tuple[int, int]
    best: Sequence[tuple[int, str, float, float, float]]
    curve: Sequence[tuple[int, float, float]]


def curve_of(
    embeddings: NDArray[np.floating], order: Sequence[tuple[int, bool, int]], free: NDArray[np.int64]
) -> list[tuple[int, float, float]]:
    """Precision and recall on all answers, of classifiers fitted on the first so many.

    Of those that it was fitted on, each is scored by a classifier that did not see its recording.

    Args:
        embeddings: (windows, dim).
        order: (window, whether it has the label, its recording), in the order of the answers.
        free: windows without an answer.
    """
    from sondino.annotation.classifier import fit

    windows = np.array([window for window, _, _ in order], np.int64)
    is_yes = np.array([yes for _, yes, _ in order], bool)
    owners = np.array([owner for _, _, owner in order], np.int64)
    steps = [n for n in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if n < len(order)] + [len(order)]
    found = []
    for n in steps:
        yes, no = windows[:n][is_yes[:n]], windows[:n][~is_yes[:n]]
        own = np.concatenate([owners[:n][is_yes[:n]], owners[:n][~is_yes[:n]]])
        linear, seen = fit(embeddings, yes, no, free), held_out(embeddings, yes, no, free, own)
        if linear is None or seen is None:
            continue
        rest = linear.logits(np.asarray(embeddings[windows[n:]], np.float32))[:, 0]
        called = np.concatenate([seen, rest]) >= 0
        truth = np.concatenate([np.arange(n) < len(yes), is_yes[n:]])
        right = int((called & truth).sum())
        found.append((n, right / int(called.sum()) if called.any() else 1.0, right / max(1, int(truth.sum()))))
    return found


# ---- files --------------------------------------------------------------------------------------------------------


def write_labels(out: Path, decided: dict[str, list[Decided]], files: dict[str, str]) -> Path:
    """Write labels.csv: path (from its own folder), start, end and label of every window with an answer.

    Several labels of a window stand in one cell. A window that has none of the labels, and was asked about all, has
    the label `BACKGROUND`, which makers of classifiers take as none.
    """
    rows: dict[tuple[str, float, float], dict[str, bool]] = defaultdict(dict)
    for label, windows in decided.items():
        for one in windows:
            rows[one.path, one.start, one.end][label] = one.yes
    table = []
    for (path, start, end), verdicts in sorted(rows.items()):
        names = [label for label, yes in verdicts.items() if yes]
        if names or len(verdicts) == len(decided):
            cell = BETWEEN_LABELS.join(names) if names else BACKGROUND
            table.append((_from(out, files.get(path, path)), round(start, 6), round(end, 6), cell))
    write_whole(out / LABELS, csv_text(("path", "start", "end", "label"), table).encode())
    return out / LABELS


def _from(folder: Path, file: str) -> str:
    try:
        return Path(os.path.relpath(file, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return Path(file).as_posix()


def write_tables(out: Path, decided: dict[str, list[Decided]], files: dict[str, str], top_frequency: float) -> Path:
    """Write the "yes" of each recording as a selection table of Raven and a label track of Audacity, in a new folder.

    Tables that an earlier call wrote are replaced.
    """
    found: dict[str, list[Detection]] = defaultdict(list)
    for label, windows in decided.items():
        for one in windows:
            if one.yes:
                found[one.path].append(Detection(one.start, one.end, label, 1.0))
    forms: tuple[Format, ...] = ("raven", "audacity")
    with replacing(out / TABLES, lambda folder: True, "folder of tables") as folder:
        for path, detections in found.items():
            detections.sort(key=lambda one: (one.start, one.label))
            last = max(one.end for one in detections)
            best = detections[0].label, 1.0
            recording = Recording(path, files.get(path, path), last, tuple(detections), best)
            for form in forms:
                table = file_of(folder, path, form)
                make_folder(table.parent)
                write_one(table, [recording], form, top_frequency)
    return out / TABLES


def write_bundle(out: Path, model: Model, results: Sequence[LabelResult]) -> Path | None:
    """Write the model with a head of the labels that have a classifier; None where none has.

    Biases are moved so that each label's threshold lies at `MIN_CONFIDENCE`, the default of `sondino classify`.
    """
    kept = [result for result in results if result.linear is not None]
    if not kept:
        return None
    at = float(np.log(MIN_CONFIDENCE / (1 - MIN_CONFIDENCE)))
    weights, biases = [], []
    for result in kept:
        assert result.linear is not None
        weights.append(result.linear.weight[0])
        biases.append(result.linear.bias[0] - (result.threshold.logit if result.threshold else 0.0) + at)
    answers = sum(sum(result.counts.values()) for result in kept)
    head = Head(
        "labelled",
        tuple(result.label for result in kept),
        True,
        ((np.array(weights, np.float32), np.array(biases, np.float32)),),
        note=f"Logistic regression on {answers} answers by ear; the threshold of each label is {MIN_CONFIDENCE:g}.",
    )
    name = {"name": out.resolve().name, "backbone": model.config.get("backbone") or model.config["name"]}
    copy_with_head(model.folder, out / BUNDLE, head, name)
    return out / BUNDLE


def write_report(out: Path, model: str, archive: str, results: Sequence[LabelResult], files: dict[str, str]) -> Path:
    """Write the report: what was found, precision and recall by answers, and clips to play."""
    plots = _curves(results)
    note = (
        "On all answers, of classifiers fitted on the first so many; recordings that one was fitted on are scored by "
        "another. Answers are of windows that were hard or likely, so both may be lower than in the archive."
    )
    write_page(
        out / REPORT,
        "Labelled by ear",
        f"{archive}, embedded by {model}",
        [
            section("results", "What was found", _found_table(results)),
            curves_section(plots, "Precision and recall by answers", note),
            *(_clips_section(number, result, files) for number, result in enumerate(results)),
        ],
        {"curves": plots} if plots else {},
        ["curves.js"] if plots else [],
    )
    return out / REPORT


def _found_table(results: Sequence[LabelResult]) -> str:
    names = (
        "label",
        "yes",
        "no",
        "not sure",
        "precision at random",
        "windows called yes",
        "in recordings",
    )
    rows = ""
    for result in results:
        cells = [*(str(result.counts[verdict]) for verdict in ("yes", "no", "unsure")), _estimate(result.estimate)]
        cells += [f"{result.called[0]:,}", f"{result.called[1]:,}"] if result.linear else ["–", "–"]
        rows += (
            f'<tr><th scope="row">{text(result.label)}</th>' + "".join(f"<td>{text(c)}</td>" for c in cells) + "</tr>"
        )
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    table = scrolling("Table of labels", f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")
    items = "".join(f"<li>{text(result.label)}: {text(_threshold(result.threshold))}</li>" for result in results)
    return f"{table}<h3>Thresholds</h3><ul>{items}</ul>"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not measured"
    share, low, high, count = estimate
    return f"{percent(share, 0)} ({percent(low, 0)} to {percent(high, 0)}) of {count}"


def _threshold(threshold: Threshold | None) -> str:
    if threshold is None:
        return "0.5, not checked: too few answers"
    precision, recall = percent(threshold.precision, 0), percent(threshold.recall, 0)
    how = f"{precision} of the answers above it are yes, and {recall} of the yes are above it"
    bound = f"at least {percent(PRECISION, 0)} with 95 % confidence" if threshold.held else "highest F1"
    return f"{how} ({bound})"


def _curves(results: Sequence[LabelResult]) -> dict[str, Any] | None:
    places = sorted({n for result in results for n, _, _ in result.curve})
    charts = []
    for result in results:
        if len(result.curve) < 2:
            continue
        known = {n: (precision, recall) for n, precision, recall in result.curve}
        series = [
            {"name": name, "values": [known[n][i] if n in known else None for n in places], "colour": i}
            for i, name in enumerate(("precision", "recall"))
        ]
        charts.append({"title": result.label, "series": series})
    return {"unit": "answer", "places": places, "charts": charts} if charts else None


def _clips_section(number: int, result: LabelResult, files: dict[str, str]) -> str:
    items = ""
    for _, path, start, end, probability in result.best[:CLIPS]:
        try:
            sound = read(files.get(path, path), RATE, start, end - start)
            short, rate = excerpt(sound, RATE)
            uri = f"data:{MIME};base64,{base64.b64encode(mp3(short, rate)).decode()}"
        except SondinoError:
            continue  # gone meanwhile
        name = text(f"{path}, {start:g} to {end:g} s, {percent(probability, 0)}")
        items += f'<li><p>{name}</p><audio controls preload="none" src="{uri}" aria-label="{name}"></audio></li>'
    if not items:
        return ""
    note = "The most probable windows, with their probabilities: those without an answer first."
    return section(f"clips-{number}", f"Called {result.label}", f"<ul>{items}</ul>", note)
