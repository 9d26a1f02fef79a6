"""What the bench found: bench.csv (a row a combination, length of clip and batch), bench.json, and the table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from sondino.benchmark.record import Bench, Measured
from sondino.files import write_json, write_whole
from sondino.text import csv_of_dicts, to_bytes

BENCH_FORMAT = "sondino-bench-1"

QUIET = 0.9
"""Share of a processor that a process gets where nothing else runs, at least."""

_COLD = ("cold_start_ms", "start_ms", "import_ms", "load_ms", "first_ms")
FIELDS = (
    *("model", "peer", "source", "runtime", "runtime_version", "precision", "threads", "seconds", "batch"),
    *("milliseconds", "milliseconds_fastest_round", "milliseconds_slowest_round", "milliseconds_p95"),
    *("real_time_factor", "front_end_ms", "net_ms", "busy_threads", "calls", "rounds"),
    *(*_COLD, "cold_start_ms_fastest_round", "cold_start_ms_slowest_round", "peak_memory_bytes", "file_bytes"),
    *("dim", "parameters", "macs_per_10s", "joules_per_10s", "joules_how", "error"),
    *("processor", "processors", "system", "python", "sondino", "date"),
)


def write(done: Bench, out: Path) -> None:
    """Write bench.csv and bench.json into a folder.

    Raises:
        RunError: it cannot be written.
    """
    write_whole(out / "bench.csv", to_bytes(csv_of_dicts(rows(done), FIELDS)))
    write_json(
        out / "bench.json",
        {
            "format": BENCH_FORMAT,
            "machine": done.machine,
            "seconds": done.seconds,
            "stopped": done.stopped,
            "not_installed": done.missing,
            "not_run": [{**asdict(model), "error": why} for model, why in done.nowhere.items()],
            "measured": [asdict(each) for each in done.measured],
        },
    )


def rows(done: Bench) -> list[dict[str, Any]]:
    """Every field of every combination, length and batch; one row with `error` where it could not be measured.

    Milliseconds are for one clip: the median of the rounds' medians, the fastest and the slowest round's; the p95 is
    of all calls. The real-time factor is seconds of work for one second of sound. Bytes, joules and counts as known.
    """
    found: list[dict[str, Any]] = []
    for model, why in done.nowhere.items():
        found.append({"model": model.name, "peer": model.peer, "source": model.source, "error": why, **done.machine})
    for each in done.measured:
        about = _combination_facts(each) | done.machine
        lengths = each.rounds[0]["clips"] if each.rounds else []
        if each.error or not lengths:
            found.append({**about, "error": each.error or "stopped before it was measured"})
            continue
        found += [{**about, **_clip(each, at)} for at in range(len(lengths))]
    return found


def _combination_facts(each: Measured) -> dict[str, Any]:
    """What does not depend on the clip."""
    how, weighed = each.combination, each.weighed or {}
    about: dict[str, Any] = {
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
        return about
    first = each.rounds[0]
    about |= {name: median(one[name] for one in each.rounds) for name in _COLD}
    about["cold_start_ms_fastest_round"] = min(one["cold_start_ms"] for one in each.rounds)
    about["cold_start_ms_slowest_round"] = max(one["cold_start_ms"] for one in each.rounds)
    about["runtime_version"] = first["version"]
    about |= {name: first[name] for name in ("file_bytes", "dim")}
    about |= {name: weighed.get(name) or first[name] for name in ("parameters", "macs_per_10s")}
    if each.unweighed:
        about["error"] = f"memory and energy: {each.unweighed}"
    return about


def _clip(each: Measured, at: int) -> dict[str, Any]:
    """Of one length of clip in one size of batch."""
    told = [one["clips"][at] for one in each.rounds]
    medians = [median(one["milliseconds"]) for one in told]
    every = [value for one in told for value in one["milliseconds"]]
    seconds, typical = told[0]["seconds"], median(medians)
    return {
        "seconds": seconds,
        "batch": told[0]["batch"],
        "milliseconds": typical,
        "milliseconds_fastest_round": min(medians),
        "milliseconds_slowest_round": max(medians),
        "milliseconds_p95": float(np.percentile(every, 95)),
        "real_time_factor": typical / (1000 * seconds),
        "front_end_ms": _median(told, "front_end_ms"),
        "net_ms": _median(told, "net_ms"),
        "busy_threads": _median(told, "busy_threads"),
        "calls": len(every),
        "peak_memory_bytes": ((each.weighed or {}).get("peak_memory_bytes") or {}).get(f"{seconds:g}"),
    }


def _median(told: list[dict[str, Any]], name: str) -> float | None:
    values = [one[name] for one in told if one.get(name) is not None]
    return median(values) if values else None


def table(done: Bench) -> Table | None:
    """A line a combination, with its figures for each length of clip side by side; None where nothing was measured.

    Of a model's ways to run on so many threads, the one that is fastest for the first length is in bold.
    """
    good = [each for each in done.measured if each.rounds and not each.error]
    if not good:
        return None
    shown = Table(box=None, pad_edge=False, header_style="bold")
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
        shown.add_row(*_line(each), style="bold" if best else None)
    return shown


def _line(each: Measured) -> list[str]:
    how, about = each.combination, _combination_facts(each)
    clips = [_clip(each, at) for at in range(len(each.rounds[0]["clips"]))]
    alone = [clip for clip in clips if clip["batch"] == 1]
    return [
        *(how.model.name, how.runtime, how.precision, str(how.threads)),
        *(_ms(clip[name]) for clip in alone for name in ("milliseconds", "milliseconds_p95")),
        _ms(next(clip["milliseconds"] for clip in clips if clip["batch"] > 1)),
        _ms(clips[0]["front_end_ms"]),
        f"{about['cold_start_ms']:,.0f}",
        _megabytes(clips[0]["peak_memory_bytes"]),
        _megabytes(about["file_bytes"]),
    ]


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _megabytes(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:.1f}" if value < 100e6 else f"{value / 1e6:.0f}"


def notes(done: Bench) -> list[str]:
    """What the table does not say: what its columns are, how even the rounds were, what failed and what is missing."""
    good = [each for each in done.measured if each.rounds and not each.error]
    said = []
    if good:
        length = f"{done.seconds[0]:g} s"
        said.append(
            f"ms for a clip by itself, and for one of {length} in batches of 8; mel: the front-end of that; "
            "cold: ms from the start of the process to the first embedding; peak: MB that a process holds while it "
            "embeds a stream; file: MB to ship"
        )
        spreads = [_spread(each) for each in good]
        rounds = min(len(each.rounds) for each in good)
        if rounds > 1:
            said.append(
                f"medians of {rounds} rounds, which lie {median(spreads):.0%} apart (median of the lines above), "
                f"{max(spreads):.0%} at the most"
            )
        how = next((h for each in good if (h := (each.weighed or {}).get("joules_how"))), None)
        if how:
            said.append(f"joules are in bench.csv: {how}")
    return said + _crowded(good) + _disturbed(good)


def _spread(each: Measured) -> float:
    first = _clip(each, 0)
    return (first["milliseconds_slowest_round"] - first["milliseconds_fastest_round"]) / first["milliseconds"]


def _crowded(good: list[Measured]) -> list[str]:
    """Combinations that took more of the processors than they were allowed, if any."""
    found = []
    for each in good:
        busy = max(_clip(each, at)["busy_threads"] for at in range(len(each.rounds[0]["clips"])))
        if busy > each.combination.threads + 0.2:
            how = each.combination
            found.append(
                f"{how.model.name} in {how.runtime} kept {busy:.1f} processors busy where it was allowed {how.threads}"
            )
    return found


def _disturbed(good: list[Measured]) -> list[str]:
    """Whether something else ran meanwhile: one thread that computes all the time has a processor to itself."""
    alone = [_clip(each, 0)["busy_threads"] for each in good if each.combination.threads == 1]
    if not alone or median(alone) > QUIET:
        return []
    return [
        f"this machine was busy with something else: a process got {median(alone):.0%} of the processor that it could "
        "have used, and times are that much too long"
    ]


def failures(done: Bench) -> list[str]:
    """A sentence for each model and runtime that could not be measured."""
    said = {f"{model.name}: {why}": None for model, why in done.nowhere.items()}
    for each in done.measured:
        why = each.error or (each.unweighed and f"memory and energy: {each.unweighed}")
        if why:
            how = each.combination
            said[f"{how.model.name} in {' '.join(filter(None, (how.runtime, how.precision)))}: {why}"] = None
    return list(said)
