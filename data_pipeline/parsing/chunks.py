"""Parts of a source, typed in threads, handed on in order: a bad row ends it, or is dropped and counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import pyarrow as pa

from data_pipeline.errors import UserError
from data_pipeline.threads import in_order, num_cores

# So many dropped rows are named in a report.
NUM_NAMED = 5
_NUM_THREADS = min(num_cores(), 8)


@dataclass(frozen=True)
class Chunk:
    """A piece of a source after typing.

    Attributes:
        batch: its good rows.
        num_bad: how many were not.
        raw_bytes: how much of the file was read for it.
        name_bad: names so many of the bad rows, first ones first: file, line or row, rule and value.
    """

    batch: pa.RecordBatch
    num_bad: int = 0
    raw_bytes: int = 0
    name_bad: Callable[[int], list[str]] = field(default=lambda _: [])


def good_rows(
    parts: Iterable[Chunk], report: ReadReport, *, drop: bool, name: str
) -> Iterator[pa.RecordBatch]:
    """The batches of the parts; fills the report.

    Raises:
        UserError: a bad row that is not to be dropped, or no good row at all.
    """
    for part in parts:
        report.bytes_read += part.raw_bytes
        if part.num_bad and not drop:
            raise UserError(part.name_bad(1)[0])
        if part.num_bad:
            report.dropped_rows += part.num_bad
            if len(report.first_dropped) < NUM_NAMED:
                report.first_dropped += part.name_bad(NUM_NAMED - len(report.first_dropped))
        if len(part.batch):
            report.rows += len(part.batch)
            yield part.batch
    if not report.rows:
        dropped = (
            f", {report.dropped_rows:,} dropped, the first: {report.first_dropped[0]}"
            if report.first_dropped
            else ""
        )
        raise UserError(f"{name}: a ratings file needs rows, got none{dropped}")


def parsed(tasks: Iterable[Callable[[], Chunk]]) -> Iterator[Chunk]:
    """Does the tasks in threads, a few ahead of what was asked for, so that memory stays bounded."""
    return in_order(tasks, _threads(os.getpid()), ahead=_NUM_THREADS + 2)


@cache
def _threads(_: int) -> ThreadPoolExecutor:
    """The process's own; a fork has none.

    They live as long as the process: a generator that was left unfinished is closed by the garbage collector,
    maybe within a thread's start or end, where waiting for threads to end would last for ever.
    """
    return ThreadPoolExecutor(_NUM_THREADS, "parse")


@dataclass
class ReadReport:
    """What reading met so far; filled while batches are read.

    Attributes:
        total_bytes, bytes_read: of the files, compressed as they are; 0 where there are none.
        rows: handed out in batches.
        dropped_rows: bad rows left out with `bad_rows=drop`.
        first_dropped: a few of them, each as its error would read.
    """

    total_bytes: int = 0
    bytes_read: int = 0
    rows: int = 0
    dropped_rows: int = 0
    first_dropped: list[str] = field(default_factory=list)
