"""Work in threads: how many there can be, and results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def num_cores() -> int:
    """Cores that this process may use; where the system does not tell (macOS), those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(tasks: Iterable[Callable[[], T]], threads: ThreadPoolExecutor, *, ahead: int) -> Iterator[T]:
    """The tasks' results in their order; only so many tasks are ahead of what was asked for.

    What goes wrong while the tasks themselves are made is raised in its place, after the results before it.
    """
    waiting: deque[Future[T]] = deque()
    failed: Exception | None = None
    tasks = iter(tasks)
    try:
        while True:
            try:
                task = next(tasks)
            except StopIteration:
                break
            except Exception as error:
                failed = error
                break
            waiting.append(threads.submit(task))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if failed is not None:
            raise failed
    finally:
        for future in waiting:
            future.cancel()
