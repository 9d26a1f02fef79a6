"""How fast a classifier becomes good when windows are labelled one after another, by the way that they are chosen.

    python benchmarks/label.py esc10/labels.csv game_sounds/labels.csv

A list has the columns path and label, and perhaps package: clips of one package, or of one recording of ESC, stay on
one side. Answers are given from the labels. Half of the clips are the archive, the other half is held out; each clip is
one window, its embedding the mean of its own. The first answer is one clip of the target. Five targets, five seeds.

Then label errors planted at 5 %, an archive of 100,000 windows, and 20 processes killed while they answer. Writes
results/label.csv, label_errors.csv and label_speed.csv.
"""

import argparse
import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from provenance import provenance, write_results
from sondino import load
from sondino.annotation.answers import ANSWERS, Answers
from sondino.annotation.choose import Answered, ranked, similarity, space_of, way_of
from sondino.annotation.classifier import fit, logits
from sondino.annotation.session import WINDOWS, Session
from sondino.annotation.starts import Given, disagreement
from sondino.annotation.windows import EMBEDDINGS, FILES, FORM, SETTINGS, TIMES
from sondino.embedding.append import settings_of
from sondino.encoder.pipeline import resolve_windowing

CHECKS = (5, 10, 20, 50, 100)
ALONE, FIRST = "mixed, without windows that stand for no", "similarity to the first, no answers"
WAYS = ("mixed", "uncertain", "top", "similar", "different", "random", ALONE, FIRST)
TARGETS = SEEDS = 5
SHARE, SHOWN = 0.05, 50
LARGE = 100_000
Array = NDArray[np.float32]


def read_clips(file: Path) -> tuple[list[Path], NDArray[np.str_], NDArray[np.str_]]:
    """Paths, labels and groups that stay on one side."""
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    paths = [file.parent / row["path"] for row in rows]
    esc = re.compile(r"\d-(\d+)-[A-Z]")
    groups = [row.get("package") or (m[1] if (m := esc.search(row["path"])) else row["path"]) for row in rows]
    return paths, np.array([row["label"] for row in rows]), np.array(groups)


def scores_of(scores: Array, truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Average precision, and the highest recall at a precision of 0.9."""
    hits = np.cumsum(truth[np.argsort(-scores, kind="stable")])
    precision = hits / np.arange(1, len(truth) + 1)
    new = np.diff(hits, prepend=0) > 0
    return float(precision[new].mean()), float(hits[precision >= 0.9].max(initial=0) / hits[-1])


def one_run(
    vectors: Array, is_yes: NDArray[np.bool_], groups: NDArray[np.str_], way: str, seed: int
) -> dict[int, tuple[float, float]]:
    """The scores on held-out clips after so many answers."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.unique(groups))
    held = np.isin(groups, names[: len(names) // 2])
    pool, truth = vectors[~held], is_yes[~held]
    tested, test_truth = vectors[held], is_yes[held]
    if not test_truth.any() or not truth.any():
        return {}
    first = int(rng.choice(np.flatnonzero(truth)))
    space = space_of(pool, np.arange(len(pool)))
    if way == FIRST:
        found = scores_of(similarity(tested, space, pool[[first]]), test_truth)
        return dict.fromkeys(CHECKS, found)
    answered, found_at = [first], {}
    while True:
        rows = np.array(answered)
        free = np.setdiff1d(np.arange(len(pool)), rows)
        known = Answered(np.sort(rows[truth[rows]]), np.sort(rows[~truth[rows]]), rows[:0], free)
        linear = fit(pool, known.yes, known.no, free[:0] if way == ALONE else free)
        like = similarity(np.concatenate([pool, tested]), space, pool[known.yes]) if linear is None else None
        if len(rows) in CHECKS:
            scores = logits(tested, linear) if linear else like[len(pool) :]  # type: ignore[index]
            found_at[len(rows)] = scores_of(scores, test_truth)
        if len(rows) == CHECKS[-1]:
            return found_at
        if way == "random":  # of all windows; the session draws among those that the classifier calls yes
            answered.append(int(rng.choice(free)))
            continue
        step = way_of("mixed" if way == ALONE else way, len(rows))
        now = logits(pool, linear) if linear else None
        order, _ = ranked(step, pool, space, known, now, like[: len(pool)] if like is not None else None, len(rows))
        answered.append(int(order[0]))


def curves(sets: dict[str, tuple[Array, NDArray[np.str_], NDArray[np.str_]]]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, (vectors, labels, groups) in sets.items():
        targets = np.random.default_rng(0).permutation(np.unique(labels))[:TARGETS]
        for way in WAYS:
            began = time.monotonic()
            runs = [one_run(vectors, labels == t, groups, way, seed) for t in targets for seed in range(SEEDS)]
            runs = [run for run in runs if run]
            for answers in CHECKS:
                values = np.array([run[answers] for run in runs])
                mean, error = values.mean(0), values.std(0, ddof=1) / len(values) ** 0.5
                rows.append({
                    "set": name, "way": way, "answers": answers, "average_precision": round(float(mean[0]), 4),
                    "ap_standard_error": round(float(error[0]), 4), "recall_at_precision_0.9": round(float(mean[1]), 4),
                    "recall_standard_error": round(float(error[1]), 4), "runs": len(runs),
                })  # fmt: skip
            print(name, way, f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return rows


def errors(sets: dict[str, tuple[Array, NDArray[np.str_], NDArray[np.str_]]]) -> list[dict[str, object]]:
    """How many planted errors are among the first shown: the labels in turn, each with its own order."""
    rows: list[dict[str, object]] = []
    for name, (vectors, labels, groups) in sets.items():
        owners = np.unique(groups, return_inverse=True)[1]
        kinds = np.unique(labels)
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            wrong = np.sort(rng.permutation(len(labels))[: round(SHARE * len(labels))])
            given_labels = labels.copy()
            for clip in wrong:
                given_labels[clip] = rng.choice(kinds[kinds != labels[clip]])
            given = Given({clip: (str(label),) for clip, label in enumerate(given_labels)}, tuple(map(str, kinds)))
            orders = []
            for kind in given.labels:
                windows, values = disagreement(vectors, given, kind, {}, owners)
                orders.append(windows[np.argsort(-values, kind="stable")].tolist())
            shown: list[int] = []
            for turn in range(len(labels)):
                shown += [order[turn] for order in orders if order[turn] not in shown]
            found = len(set(shown[:SHOWN]) & set(wrong.tolist()))
            rows.append({"set": name, "seed": seed, "clips": len(labels), "planted": len(wrong), "shown": SHOWN,
                         "found": found, "found_by_chance": round(SHOWN * len(wrong) / len(labels), 1)})  # fmt: skip
    return rows


# ---- a large archive, and kills -----------------------------------------------------------------------------------


def write_archive(folder: Path, out: Path, windows: int, files: int, answers: int) -> None:
    """An archive of short files, whose store holds synthetic windows, and answers to some of them."""
    model = load()
    folder.mkdir()
    (out / WINDOWS).mkdir(parents=True)
    each, rng, lines = windows // files, np.random.default_rng(0), []
    for number in range(files):
        path = folder / f"{number:05d}.wav"
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 16000, 0, "NONE", ""))
            sound.writeframes(bytes(3200))
        facts = path.stat()
        lines.append([path.name, facts.st_size, facts.st_mtime_ns, each, ""])
    settings = settings_of(model, resolve_windowing(model), "none")
    (out / WINDOWS / SETTINGS).write_text(json.dumps({"form": FORM, "dim": model.dim, "settings": settings}))
    (out / WINDOWS / FILES).write_text(json.dumps(lines) + "\n")
    with (out / WINDOWS / EMBEDDINGS).open("wb") as vectors:
        for _ in range(files):
            vectors.write(rng.standard_normal((each, model.dim)).astype(np.float16).tobytes())
    starts = np.arange(each) * 1.95
    times = np.column_stack([starts, starts + 1.95])
    (out / WINDOWS / TIMES).write_bytes(np.tile(times, (files, 1)).tobytes())
    with (out / ANSWERS).open("w") as lines_out:
        for number in range(answers):
            line = {"path": f"{number % files:05d}.wav", "start": float(starts[number // files]), "end": 0.0,
                    "label": "dog", "verdict": "yes" if number % 3 == 0 else "no", "how": "top", "score": None,
                    "who": "", "model": model.fingerprint, "time": ""}  # fmt: skip
            lines_out.write(json.dumps(line) + "\n")


def in_large(folder: Path, out: Path) -> None:
    """Open a large archive, and print what each step took, and the most memory."""

    def memory() -> float:
        text = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]

    model = load(threads=1)
    model.embed(np.zeros((1, 16000), np.float32))
    from sondino.probing.linear import fit_linear

    next(fit_linear(np.eye(4), np.eye(4, dtype=bool)[:, :1], [1.0], True))  # loads SciPy
    before = memory()
    facts: dict[str, float] = {}

    def timed(name: str, began: float) -> None:
        facts[name] = round(time.perf_counter() - began, 3)

    began = time.perf_counter()
    session = Session.open(folder, out, model)
    timed("open_seconds", began)
    began = time.perf_counter()
    session.next("dog", "uncertain")
    timed("first_next_seconds", began)
    window = session.next("dog", "uncertain")[0].window
    began = time.perf_counter()
    session.answer(window, "dog", "yes", "uncertain")
    timed("answer_seconds", began)
    began = time.perf_counter()
    session._fit("dog")
    timed("refit_seconds", began)
    for way in ("uncertain", "top", "similar", "different", "random"):
        began = time.perf_counter()
        session.next("dog", way, 6)
        timed(f"next_{way}_seconds", began)
    facts["memory_mb"], facts["memory_before_mb"] = round(memory(), 0), round(before, 0)
    print(json.dumps(facts))


def answering(folder: Path, out: Path) -> None:
    """Answer for ever, and print how many answers have returned."""
    session = Session.open(folder, out, load(threads=1), ["dog"])
    for number in range(10**9):
        candidate = session.next("dog", "mixed")[0]
        session.answer(candidate.window, "dog", "yes" if number % 3 else "no", candidate.how)
        print(number + 1, flush=True)


def child(what: str, folder: Path, out: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, f"--{what}", str(folder), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def large(place: Path) -> list[dict[str, object]]:
    folder, out = place / "recordings", place / "out"
    write_archive(folder, out, LARGE, 1000, 500)
    runs = []
    for _ in range(3):
        printed, _ = child("in-large", folder, out).communicate()
        runs.append(json.loads(printed))
    found: dict[str, object] = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((600, 1024)).astype(np.float32)
    fit(wide, np.arange(10), np.arange(10, 20), np.arange(500, 600))  # loads SciPy
    began = time.perf_counter()
    fit(wide, np.arange(170), np.arange(170, 500), np.arange(500, 600))
    return [{"windows": LARGE, "recordings": 1000, "answers": 500, **found,
             "fit_1024_dimensions_seconds": round(time.perf_counter() - began, 3)}]  # fmt: skip


def kills(place: Path, times: int = 20) -> dict[str, object]:
    """Kill processes while they answer; count the answers that had returned, and those that are there."""
    folder, out = place / "few", place / "few_out"
    write_archive(folder, out, 4000, 20, 0)
    rng, returned, lost = random.Random(0), 0, 0
    for _ in range(times):
        process = child("answering", folder, out)
        assert process.stdout is not None
        said = int(process.stdout.readline())  # it has begun
        time.sleep(rng.uniform(0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        returned += int(rest[-1]) if rest else said
        lost += max(0, returned - len(Answers(out / ANSWERS).standing))
        returned = len(Answers(out / ANSWERS).standing)  # one may be there whose call had not returned
    return {"kills": times, "answers_after_kills": returned, "answers_lost": lost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="*")
    parser.add_argument("--in-large", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--answering", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_large:
        return in_large(*options.in_large)
    if options.answering:
        return answering(*options.answering)
    versions = provenance("numpy", "scipy", "onnxruntime")
    model = load()
    sets = {}
    for file in options.lists:
        paths, labels, groups = read_clips(file)
        sets[file.parent.name] = model.embed(paths), labels, groups
    with TemporaryDirectory() as folder:
        speed = large(Path(folder))
        speed[0].update(kills(Path(folder)))
    write_results("label_speed", [{**row, **versions} for row in speed])
    write_results("label_errors", [{**row, **versions} for row in errors(sets)])
    write_results("label", [{**row, **versions} for row in curves(sets)])
    return None


if __name__ == "__main__":
    main()
