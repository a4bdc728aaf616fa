"""A memory limit for a measurement, and files that must come from the disk (Linux, as root)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/sys/fs/cgroup/memory")
GROUPS = Path("/proc/self/cgroup")


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[Path | None]:
    """A cgroup v1 memory group for one process, removed afterwards; None where none can be made.

    What counts is all that the process allocates and the page cache that it fills. Swap there is none, or it
    would be the disk that is measured.
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
        except OSError:  # less than is in use, or more than the group above may have
            yield None
        else:
            yield group
    finally:
        group.rmdir()


def enter(group: Path) -> None:
    """Puts this process into the group; what it allocated before counts elsewhere, so begin with this."""
    (group / "cgroup.procs").write_text("0")


def peak_bytes(group: Path) -> int:
    """The most that the group's processes and their page cache had at a time."""
    return int((group / "memory.max_usage_in_bytes").read_text())


def drop_cache(path: Path) -> None:
    """Takes a file out of the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def io_bytes() -> dict[str, int]:
    """What this process has asked of files (`rchar`) and has got from the disk (`read_bytes`) so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}
