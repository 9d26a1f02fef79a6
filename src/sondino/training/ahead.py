"""What a training loop needs next, made in threads while the net works."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

AHEAD = 3
"""Results that are ready or in preparation, beyond one per thread."""

END = object()
Task = TypeVar("Task")
Made = TypeVar("Made")


def made_ahead(
    tasks: Iterable[Task], make: Callable[[Task], Made], workers: int, waited: Callable[[float], None]
) -> Generator[tuple[Task, Made]]:
    """Each task, in order, with what `make` makes of it.

    Args:
        tasks: such as the rows of each batch.
        make: called in threads; decoding and copying release the interpreter's lock.
        workers: threads.
        waited: called with the seconds that the caller waited for each.
    """
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[tuple[Any, Future[Made]]] = deque()
        todo = iter(tasks)
        try:
            while True:
                while len(pending) < workers + AHEAD and (task := next(todo, END)) is not END:
                    pending.append((task, pool.submit(make, task)))  # type: ignore[arg-type]
                if not pending:
                    return
                task, future = pending.popleft()
                began = time.perf_counter()
                result = future.result()
                waited(time.perf_counter() - began)
                yield task, result
        finally:
            for _, future in pending:
                future.cancel()
