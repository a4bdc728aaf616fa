"""Limits the memory of a process (as root), and drops files from the page cache (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/sys/fs/cgroup/memory")
GROUPS = Path("/proc/self/cgroup")


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[Path | None]:
    """A cgroup v1 memory group for one process, removed afterwards; None if it cannot be made.

    The limit covers memory that the process allocates and the page cache that it fills. The machine should
    have no swap: the speed of swapping would be measured.
    """
    try:
        groups = dict(line.split(":", 2)[1:] for line in GROUPS.read_text().splitlines())
        group = MEMORY / groups["memory"].strip("/") / f"reeltrain-benchmark-{os.getpid()}"
        group.mkdir()
    except (OSError, KeyError):
        yield None
        return
    try:
        try:
            (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        except OSError:  # lower than the memory in use, or higher than the parent group's limit
            yield None
        else:
            yield group
    finally:
        group.rmdir()


def enter(group: Path) -> None:
    """Moves this process into the group. Memory allocated before is not counted, so call it first."""
    (group / "cgroup.procs").write_text("0")


def peak_bytes(group: Path) -> int:
    """Peak memory of the group's processes and their page cache."""
    return int((group / "memory.max_usage_in_bytes").read_text())


def drop_cache(path: Path) -> None:
    """Drops a file from the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def io_bytes() -> dict[str, int]:
    """Bytes that this process has requested from files (`rchar`) and read from disk (`read_bytes`) so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}
