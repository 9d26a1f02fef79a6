"""The options that spread a command's work over processes and machines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyclopts import Parameter

from sondino.errors import OptionError

if TYPE_CHECKING:
    from sondino.spread import Cluster


@Parameter(name="*")
@dataclass(frozen=True)
class Spread:
    """Where the work is done."""

    ray: str | None = None
    """spread the work with Ray: auto (the cluster of this machine, otherwise this machine alone), local (this machine
    alone) or HOST:PORT of a cluster."""
    workers: int | None = None
    """of Ray; default: as many as fit."""
    cpus_per_worker: int = 1
    """processors of each worker."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker; 0.5 puts two on one."""
    part_range: str | None = None
    """I/N: make the I-th of N shares of the parts alone, in any batch queue."""

    def check(self) -> None:
        """Raises OptionError for options that are out of range or do not go together."""
        if self.ray is None and (self.workers is not None or self.cpus_per_worker != 1 or self.gpus_per_worker):
            raise OptionError("--workers, --cpus-per-worker and --gpus-per-worker are of Ray: add --ray auto")
        if self.ray is not None and self.part_range is not None:
            raise OptionError("--part-range is for work without Ray: leave one of --ray and --part-range out")
        self.cluster()
        self.share()

    def cluster(self) -> "Cluster | None":
        """The cluster that the options name; None without --ray."""
        from sondino.spread import Cluster

        if self.ray is None:
            return None
        return Cluster(self.ray, self.workers, self.cpus_per_worker, self.gpus_per_worker)

    def share(self) -> tuple[int, int] | None:
        """Which share of the parts the options name, such as (3, 10); None without --part-range."""
        from sondino.spread import parse_part_range

        return None if self.part_range is None else parse_part_range(self.part_range)
