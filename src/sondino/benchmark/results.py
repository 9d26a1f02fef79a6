"""Results of the bench: bench.csv (a row a combination, clip length and batch size), bench.json, and the table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from sondino.arrow import Kinds
from sondino.benchmark.record import Bench, Measured
from sondino.console import new_table
from sondino.files import write_json, write_whole
from sondino.text import csv_of_dicts, printable

BENCH_FORMAT = "sondino-bench-1"

QUIET = 0.9
"""Share of a core that a process gets at least where nothing else runs."""

_COLD = ("cold_start_ms", "start_ms", "import_ms", "load_ms", "first_ms")
FIELDS = (
    *("model", "peer", "source", "runtime", "runtime_version", "precision", "threads", "seconds", "batch"),
    *("milliseconds", "milliseconds_fastest_round", "milliseconds_slowest_round", "milliseconds_p95"),
    *("real_time_factor", "front_end_ms", "net_ms", "busy_threads", "calls", "rounds"),
    *(*_COLD, "cold_start_ms_fastest_round", "cold_start_ms_slowest_round", "peak_memory_bytes", "file_bytes"),
    *("dim", "parameters", "macs_per_10s", "joules_per_10s", "joules_how", "error"),
    *("processor", "processors", "system", "python", "sondino", "date"),
)
KINDS: Kinds = {
    **dict.fromkeys(("model", "source", "runtime", "runtime_version", "precision", "joules_how", "error"), "string"),
    **dict.fromkeys(("processor", "processors", "system", "python", "sondino", "date"), "string"),
    **dict.fromkeys(("threads", "batch", "calls", "rounds", "dim", "parameters", "file_bytes"), "int64"),
    "peer": "bool",
}
"""Types of those fields that are not float64."""


def write_results(done: Bench, out: Path) -> None:
    """Write bench.csv and bench.json into a folder.

    Raises:
        RunError: it cannot be written.
    """
    write_whole(out / "bench.csv", csv_of_dicts(bench_rows(done), FIELDS).encode())
    write_json(
        out / "bench.json",
        {
            "format": BENCH_FORMAT,
            "machine": done.machine,
            "seconds": done.seconds,
            "stopped": done.stopped,
            "not_installed": done.missing,
            "not_run": [{**asdict(model), "error": why} for model, why in done.not_run.items()],
            "measured": [asdict(each) for each in done.measured],
        },
    )


def bench_rows(done: Bench) -> list[dict[str, Any]]:
    """Every field of every combination, length and batch; one row with `error` where it could not be measured.

    Milliseconds are for one clip: the median of the rounds' medians, the fastest and the slowest round's; the p95 is
    of all calls. The real-time factor is seconds of work for one second of audio. Bytes, joules and counts are given
    where they are known.
    """
    found: list[dict[str, Any]] = []
    for model, why in done.not_run.items():
        found.append({"model": model.name, "peer": model.peer, "source": model.source, "error": why, **done.machine})
    for each in done.measured:
        facts = _combination_facts(each) | done.machine
        lengths = each.rounds[0]["clips"] if each.rounds else []
        if each.error or not lengths:
            found.append({**facts, "error": each.error or "stopped before it was measured"})
            continue
        found += [{**facts, **_clip(each, at)} for at in range(len(lengths))]
    return found


def _combination_facts(each: Measured) -> dict[str, Any]:
    """The facts that do not depend on the clip."""
    how, weighed = each.combination, each.weighed or {}
    facts: dict[str, Any] = {
        "model": how.model.name,
        "peer": how.model.peer,
        "source": how.model.source,
        "runtime": how.runtime,
        "precision": how.precision,
        "threads": how.threads,
        "rounds": len(each.rounds),
        "joules_per_10s": weighed.get("joules_per_10s"),
        "joules_how": weighed.get("joules_how"),
    }
    if not each.rounds:
        return facts
    first = each.rounds[0]
    facts |= {name: median(one[name] for one in each.rounds) for name in _COLD}
    facts["cold_start_ms_fastest_round"] = min(one["cold_start_ms"] for one in each.rounds)
    facts["cold_start_ms_slowest_round"] = max(one["cold_start_ms"] for one in each.rounds)
    facts["runtime_version"] = first["version"]
    facts |= {name: first[name] for name in ("file_bytes", "dim")}
    facts |= {name: weighed.get(name) or first[name] for name in ("parameters", "macs_per_10s")}
    if each.unweighed:
        facts["error"] = f"memory and energy: {each.unweighed}"
    return facts


def _clip(each: Measured, at: int) -> dict[str, Any]:
    """The figures of one clip length and batch size."""
    measured = [one["clips"][at] for one in each.rounds]
    medians = [median(one["milliseconds"]) for one in measured]
    every = [value for one in measured for value in one["milliseconds"]]
    seconds, typical = measured[0]["seconds"], median(medians)
    return {
        "seconds": seconds,
        "batch": measured[0]["batch"],
        "milliseconds": typical,
        "milliseconds_fastest_round": min(medians),
        "milliseconds_slowest_round": max(medians),
        "milliseconds_p95": float(np.percentile(every, 95)),
        "real_time_factor": typical / (1000 * seconds),
        "front_end_ms": _median(measured, "front_end_ms"),
        "net_ms": _median(measured, "net_ms"),
        "busy_threads": _median(measured, "busy_threads"),
        "calls": len(every),
        "peak_memory_bytes": ((each.weighed or {}).get("peak_memory_bytes") or {}).get(f"{seconds:g}"),
    }


def _median(measured: list[dict[str, Any]], name: str) -> float | None:
    values = [one[name] for one in measured if one.get(name) is not None]
    return median(values) if values else None


def to_table(done: Bench) -> Table | None:
    """A row a combination, with its figures for each clip length side by side; None if nothing was measured.

    The fastest combination of a model and number of threads, by the first length, is in bold.
    """
    good = [each for each in done.measured if each.rounds and not each.error]
    if not good:
        return None
    shown = new_table()
    for name in ("model", "runtime", "precision"):
        shown.add_column(name, overflow="fold")
    first = done.seconds[0]
    lengths = [column for seconds in done.seconds for column in (f"{seconds:g} s", "p95")]
    for name in ("threads", *lengths, f"{first:g} s of 8", "mel", "cold", "peak", "file"):
        shown.add_column(name, justify="right")
    times: dict[tuple[Any, ...], list[float]] = {}
    for each in good:
        same = (each.combination.model, each.combination.threads)
        times.setdefault(same, []).append(_clip(each, 0)["milliseconds"])
    last = good[0].combination.model
    for each in good:
        how = each.combination
        if how.model != last:
            shown.add_section()
        last = how.model
        rivals = times[how.model, how.threads]
        best = len(rivals) > 1 and _clip(each, 0)["milliseconds"] == min(rivals)
        shown.add_row(*map(printable, _line(each)), style="bold" if best else None)
    return shown


def _line(each: Measured) -> list[str]:
    how, facts = each.combination, _combination_facts(each)
    clips = [_clip(each, at) for at in range(len(each.rounds[0]["clips"]))]
    alone = [clip for clip in clips if clip["batch"] == 1]
    return [
        *(how.model.name, how.runtime, how.precision, str(how.threads)),
        *(_ms(clip[name]) for clip in alone for name in ("milliseconds", "milliseconds_p95")),
        _ms(next(clip["milliseconds"] for clip in clips if clip["batch"] > 1)),
        _ms(clips[0]["front_end_ms"]),
        f"{facts['cold_start_ms']:,.0f}",
        _megabytes(clips[0]["peak_memory_bytes"]),
        _megabytes(facts["file_bytes"]),
    ]


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _megabytes(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:.1f}" if value < 100e6 else f"{value / 1e6:.0f}"


def format_notes(done: Bench) -> list[str]:
    """Notes to the table: its columns, the spread of the rounds, and what may have disturbed the times."""
    good = [each for each in done.measured if each.rounds and not each.error]
    lines = []
    if good:
        length = f"{done.seconds[0]:g} s"
        lines.append(
            f"ms for a clip by itself, and for one of {length} in batches of 8; mel: the front-end of that; "
            "cold: ms from the start of the process to the first embedding; peak: MB that a process holds while it "
            "embeds a stream; file: MB to ship"
        )
        spreads = [_spread(each) for each in good]
        rounds = min(len(each.rounds) for each in good)
        if rounds > 1:
            lines.append(
                f"medians of {rounds} rounds, which lie {median(spreads):.0%} apart (median of the lines above), "
                f"{max(spreads):.0%} at the most"
            )
        how = next((h for each in good if (h := (each.weighed or {}).get("joules_how"))), None)
        if how:
            lines.append(f"joules are in bench.csv: {how}")
    return lines + _crowded(good) + _disturbed(good)


def _spread(each: Measured) -> float:
    first = _clip(each, 0)
    return (first["milliseconds_slowest_round"] - first["milliseconds_fastest_round"]) / first["milliseconds"]


def _crowded(good: list[Measured]) -> list[str]:
    """Notes on combinations that used more cores than they were allowed, if any."""
    found = []
    for each in good:
        busy = max(_clip(each, at)["busy_threads"] for at in range(len(each.rounds[0]["clips"])))
        if busy > each.combination.threads + 0.2:
            how = each.combination
            found.append(
                f"{how.model.name} in {how.runtime} used {busy:.1f} cores, more than its {how.threads} threads"
            )
    return found


def _disturbed(good: list[Measured]) -> list[str]:
    """A note if other processes ran at the same time: a thread that computes all the time should have a core."""
    alone = [_clip(each, 0)["busy_threads"] for each in good if each.combination.threads == 1]
    if not alone or median(alone) > QUIET:
        return []
    return [
        f"other processes ran on this machine: a process got {median(alone):.0%} of the core that it could have used, "
        "and times are that much too long"
    ]


def format_failures(done: Bench) -> list[str]:
    """An error message for each model and runtime that could not be measured."""
    lines = {f"{model.name}: {why}": None for model, why in done.not_run.items()}
    for each in done.measured:
        why = each.error or (each.unweighed and f"memory and energy: {each.unweighed}")
        if why:
            how = each.combination
            lines[f"{how.model.name} in {' '.join(filter(None, (how.runtime, how.precision)))}: {why}"] = None
    return list(lines)
