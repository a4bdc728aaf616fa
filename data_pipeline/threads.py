"""Thread pools: the number of usable cores, and results in submission order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def num_cores() -> int:
    """Cores this process may use; all cores where the system does not report affinity (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(tasks: Iterable[Callable[[], T]], threads: ThreadPoolExecutor, *, ahead: int) -> Iterator[T]:
    """Runs tasks in a thread pool and yields their results in the order of the tasks.

    An exception raised by the iterable `tasks` itself is raised after the results of the tasks before it.

    Args:
        ahead: the number of tasks submitted before the oldest result is waited for; bounds the memory.
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
