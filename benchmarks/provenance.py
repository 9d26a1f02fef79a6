"""Versions and machine of a measurement, written to every row of results/*.csv."""

import csv
import datetime
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def provenance(*packages: str) -> dict[str, str]:
    """Versions of Python and packages, the commit, the processor and the date."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "sondino": version("sondino"),
        "commit": (commit.stdout.strip() if commit.returncode == 0 else "none") + ("+changes" if changed else ""),
        "cpu": processor(),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def processor() -> str:
    """The processor's name, if the system provides it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_results(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write results/NAME.csv and print it."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(file.read_text())
    return file


def keep_rows(name: str, rows: Sequence[Mapping[str, Any]], *key: str) -> list[dict[str, Any]]:
    """The rows of results/NAME.csv with new ones in place of those whose cells `key` are the same; then the others."""
    file = RESULTS / f"{name}.csv"
    old: list[dict[str, str]] = []
    if file.exists():
        with file.open(newline="") as table:
            old = list(csv.DictReader(table))
    every = {tuple(str(row[one]) for one in key): row for row in [*old, *rows]}.values()
    names = list(dict.fromkeys(name for row in every for name in row))
    return [{name: row.get(name, "") for name in names} for row in every]
