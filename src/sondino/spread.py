"""Work in parts over many processes and machines: with Ray, or a range of the parts for any batch queue."""

import json
import logging
import math
import os
import re
import socket
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sondino.errors import OptionError, RunError, SondinoError, require
from sondino.processors import cores, limit_cores
from sondino.text import format_error

TRIES = 3
"""Times that a worker may be ended while it is at one part, or at one clip."""

Answer = tuple[dict[str, Any], bytes]
"""What comes back of a part: facts that JSON can hold, and bytes."""

Work = Callable[[int, str, Mapping[int, str]], Answer]
"""Make a part, from its task, without some of its units, each with the reason; and answer."""

Open = Callable[[], tuple[Work, Callable[[int, str, int], None]]]
"""What a worker does first: it gives the work, and what tries one unit of a part alone."""


@dataclass(frozen=True)
class PartTask:
    """A part that is to be made.

    Attributes:
        units: clips or files, each of which may be left out.
        task: what a worker needs to know of it besides its number.
    """

    units: int
    task: str = ""


@dataclass(frozen=True)
class Cluster:
    """Where work is spread to, and how.

    Attributes:
        address: HOST:PORT of a Ray cluster; "auto": the one that this machine belongs to, otherwise one of this machine
            alone; "local": one of this machine alone.
        workers: processes; None: as many as the cluster has room for.
        cpus: processors of each.
        gpus: of each, fractions too.
    """

    address: str = "auto"
    workers: int | None = None
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"workers is {self.workers}: give 1 or more")
        if self.cpus < 1:
            raise OptionError(f"cpus per worker is {self.cpus}: give 1 or more")
        if not (self.gpus >= 0 and math.isfinite(self.gpus)):
            raise OptionError(f"gpus per worker is {self.gpus}: give 0 or more")
        if self.address not in ("auto", "local") and not re.fullmatch(r"[^\s/:]+:\d+", self.address):
            raise OptionError(f"the address of Ray is {self.address!r}: give auto, local or HOST:PORT, on a machine of "
                              "the cluster")  # fmt: skip


def parse_part_range(given: str) -> tuple[int, int]:
    """Which share of the parts "3/10" means: the third of ten.

    Raises:
        OptionError: it is something else.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", given.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise OptionError(f"the part range is {given!r}: give I/N, such as 3/10 for the third tenth of the parts")
    return int(found[1]), int(found[2])


def parts_of_range(part_range: tuple[int, int], count: int) -> range:
    """The parts of a share: neighbours, and each part in exactly one share.

    Args:
        part_range: (i, n), the i-th of n shares, from 1.
        count: of all parts.
    """
    share, shares = part_range
    return range(count * (share - 1) // shares, count * share // shares)


def spread(
    open_work: Open, parts: Mapping[int, PartTask], cluster: Cluster, names: Callable[[int, int], str]
) -> Generator[tuple[int, Answer]]:
    """Make parts with Ray, and give the answer of each as it comes, in any order.

    A part whose worker is ended three times (by a decoder's crash, by the system for want of memory) is searched: each
    of its units is tried alone, and the part made again without those that end their worker. Machines that leave the
    cluster cost their parts in progress, which others make again.

    Args:
        open_work: called once in each worker.
        parts: by their numbers.
        cluster: where.
        names: (part, unit) to the name of the unit, for messages.

    Raises:
        MissingExtra: Ray is not installed.
        RunError: there is no such cluster or no room in it, a worker raised an error, or a part ends its worker and no
            unit alone does.
    """
    with _connected(cluster) as workers:
        failed = dict(parts)
        rows = [_row(number, part.task) for number, part in parts.items()]
        for number, _, answer in _run(open_work, rows, cluster, workers):
            failed.pop(number)
            yield number, answer
        if not failed:
            return
        deadly = {(number, unit): f"it ended the process that read or embedded it, {TRIES} times"
                  for number, part in failed.items() for unit in range(part.units)}  # fmt: skip
        rows = [_row(number, parts[number].task, unit) for number, unit in deadly]
        for number, unit, _ in _run(open_work, rows, cluster, workers):
            deadly.pop((number, unit))
        rows = [
            _row(number, part.task, without={unit: why for (of, unit), why in deadly.items() if of == number})
            for number, part in failed.items()
        ]
        for number, _, answer in _run(open_work, rows, cluster, workers):
            failed.pop(number)
            yield number, answer
        if failed:
            number = next(iter(failed))
            raise RunError(
                f"{len(failed)} parts ended their worker {TRIES} times, and no clip of them does so alone; the first "
                f"begins with {names(number, 0)}: give each worker more memory, with fewer workers or "
                "more processors each"
            )


class _Worker:
    """What an actor of Ray holds: the work, opened once."""

    def __init__(self, open_work: Open, cpus: int, here: str) -> None:
        limit_cores(cpus)
        with suppress(OSError):
            os.chdir(here)  # paths are relative to where the command was given
        self._error = ""
        try:
            self._work, self._attempt = open_work()
        except Exception as error:  # reported by the driver: Ray would start it again and again
            self._error = _report(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Take a row of `_row`, and give one with the answer."""
        error, content = self._error, b""
        facts: dict[str, Any] = {}
        try:
            if not error and row["unit"] >= 0:
                self._attempt(row["part"], row["task"], row["unit"])
            elif not error:
                without = {int(unit): reason for unit, reason in json.loads(row["without"]).items()}
                facts, content = self._work(row["part"], row["task"], without)
        except Exception as found:  # a clip that only raises has ended no process, and must not pass for one that did
            error = _report(found)
        state = {"part": row["part"], "unit": row["unit"], "error": error}
        return state | {"facts": json.dumps(facts), "content": content}


def _report(error: Exception) -> str:
    """What the driver raises for an error of a worker: the machine, and what went wrong."""
    return f"{socket.gethostname()}: {error if isinstance(error, SondinoError) else format_error(error)}"


def _row(part: int, task: str, unit: int = -1, without: Mapping[int, str] | None = None) -> dict[str, Any]:
    """A part to make, or one unit of it to try alone, as Ray holds it."""
    return {"part": part, "task": task, "unit": unit, "without": json.dumps(without or {})}


def _run(
    open_work: Open, rows: Sequence[dict[str, Any]], cluster: Cluster, workers: int
) -> Iterator[tuple[int, int, Answer]]:
    """Part, unit and answer of each row; those that end their worker are left out."""
    data = require("ray.data", "ray")
    # Until Ray 2.64, for which the extra has a bound, there is no other way to say how often an actor is restarted.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    # One row a block, and no read task: a source that reads waits for ever where the workers take all processors.
    made = data.from_items(list(rows), override_num_blocks=len(rows)).map(
        _Worker,
        fn_constructor_args=(open_work, cluster.cpus, str(Path.cwd())),
        # One at a time: what waits in a worker that ends would count as having ended it.
        compute=data.ActorPoolStrategy(size=min(workers, len(rows)), max_tasks_in_flight_per_actor=1),
        num_cpus=cluster.cpus,
        num_gpus=cluster.gpus or None,
        max_restarts=-1,  # a long job outlives many machines; it is the tries of each part that are bounded
        max_task_retries=TRIES - 1,
    )
    for found in made.iter_rows():
        if found["error"]:
            raise RunError(found["error"])
        yield found["part"], found["unit"], (json.loads(found["facts"]), found["content"])


@contextmanager
def _connected(cluster: Cluster) -> Iterator[int]:
    """A connection to the cluster, and how many workers it has room for."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads leave their core to the other workers
    ray = require("ray", "ray")
    data = require("ray.data", "ray")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    local: dict[str, Any] = quiet | {"num_cpus": cores(), "include_dashboard": False}
    began = not ray.is_initialized()
    try:
        with _no_standard_error():  # Ray says there that it says nothing
            if not began:
                pass
            elif cluster.address == "local":
                ray.init(address="local", **local)
            elif cluster.address == "auto":
                try:
                    ray.init(address="auto", **quiet)
                except ConnectionError:
                    ray.init(address="local", **local)
            else:
                ray.init(address=cluster.address, **quiet)
    except Exception as error:
        raise RunError(f"no Ray cluster answers at {cluster.address} ({type(error).__name__}): start one with `ray "
                       "start --head`, or give --ray local for this machine alone") from error  # fmt: skip
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # parts that end their worker: looked into at the end
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield _room(ray, cluster)
    finally:
        if began:
            ray.shutdown()


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """Drop what native code writes to standard error meanwhile."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _room(ray: Any, cluster: Cluster) -> int:
    """Workers that fit on the machines of the cluster, at most as many as asked for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = 0
    for resources in nodes:
        by_cpu = int(resources.get("CPU", 0) // cluster.cpus)
        by_gpu = int(resources.get("GPU", 0) / cluster.gpus + 1e-9) if cluster.gpus else by_cpu
        fitting += min(by_cpu, by_gpu)
    if not fitting:
        most = max((int(resources.get("CPU", 0)) for resources in nodes), default=0)
        gpus = sum(resources.get("GPU", 0) for resources in nodes)
        raise RunError(
            f"no machine of the Ray cluster has {cluster.cpus} processors and {cluster.gpus:g} GPUs: the largest has "
            f"{most} processors, and there are {gpus:g} GPUs; ask for less with --cpus-per-worker and --gpus-per-worker"
        )
    return fitting if cluster.workers is None else min(cluster.workers, fitting)
