"""How many processors this process may use, by its affinity and a container's quota, and how many work with it."""

import math
import os
from pathlib import Path

_limit: int | None = None


def limit_cores(most: int) -> None:
    """Let this process count on no more processors than these: others share its machine.

    Args:
        most: processors.
    """
    global _limit
    _limit = most


def launched() -> int:
    """How many processes `torchrun` or `accelerate launch` started together with this one, itself included."""
    given = os.environ.get("WORLD_SIZE", "1")
    return int(given) if given.isdecimal() else 1


def cores() -> int:
    """Processors that this process may use: its affinity, the quota of its control groups rounded up, and its limit."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = cpu_quota()
    allowed = allowed if quota is None else max(1, min(allowed, math.ceil(quota)))
    return allowed if _limit is None else min(allowed, _limit)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that this process gets at most; None: no limit, or no control groups.

    Args:
        root: holds proc and sys.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            mounts = ["", "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [controllers, "cpu", "cpu,cpuacct"]
        else:
            continue
        # Each group above limits it too. In a container the path may be the host's, of which only its end is there.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            folder = root / "sys/fs/cgroup" / mount
            found += [_granted(folder.joinpath(*parts[:depth])) for depth in range(len(parts) + 1)]
    return min((share for share in found if share is not None), default=None)


def _granted(group: Path) -> float | None:
    """The limit of one control group, of either version."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        share = int(quota) / int(period)  # "max", or -1, where there is no limit
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None
