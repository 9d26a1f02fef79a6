"""The results of a benchmark run, and the machine that it ran on."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sondino.arrow import AsTable, arrow_of_dicts
from sondino.benchmark.given import Combination, NamedModel
from sondino.processors import cores

if TYPE_CHECKING:
    import pyarrow


@dataclass
class Measured:
    """The results of one combination.

    Attributes:
        combination: what was measured.
        rounds: the worker's results, one a round.
        weighed: its result on memory and energy; None until it is known.
        error: why it cannot be measured, an error message.
        unweighed: why memory and energy cannot be measured where times can, an error message.
    """

    combination: Combination
    rounds: list[dict[str, Any]] = field(default_factory=list)
    weighed: dict[str, Any] | None = None
    error: str | None = None
    unweighed: str | None = None


@dataclass
class Bench(AsTable):
    """A run of the bench; `to_arrow` and `to_pandas` give the table of bench.csv.

    Attributes:
        measured: one a combination.
        missing: runtimes that are not installed, and what installs them.
        not_run: models that are damaged or that nothing installed here can run, and why.
        seconds: lengths of clips.
        machine: what it ran on, and when.
        stopped: whether it was interrupted.
    """

    measured: list[Measured]
    missing: dict[str, str]
    not_run: dict[NamedModel, str]
    seconds: list[float]
    machine: dict[str, str]
    stopped: bool = False

    def to_arrow(self) -> pyarrow.Table:
        """A row for each combination, clip length and batch, for pyarrow; raises MissingExtra without pyarrow."""
        from sondino.benchmark.results import FIELDS, KINDS, bench_rows

        return arrow_of_dicts(bench_rows(self), KINDS, FIELDS)

    @property
    def failed(self) -> bool:
        """Whether something could not be measured."""
        return bool(self.not_run) or any(each.error or each.unweighed for each in self.measured)


def machine() -> dict[str, str]:
    """What the figures were measured on: processor, system, Python, version and date."""
    from datetime import UTC, datetime

    from sondino.version import __version__

    return {
        "processor": _processor(),
        "processors": str(cores()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sondino": __version__,
        "date": datetime.now(tz=UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
