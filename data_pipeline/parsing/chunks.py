"""Parses a source in threads and yields its chunks in order; bad rows are errors, or dropped and counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import pyarrow as pa

from data_pipeline.errors import UserError
from data_pipeline.threads import in_order, num_cores

# The number of dropped rows that a report describes.
NUM_DESCRIBED = 5
_NUM_THREADS = min(num_cores(), 8)


@dataclass(frozen=True)
class Chunk:
    """Part of a source, parsed to typed columns.

    Attributes:
        batch: the good rows.
        num_bad: the number of bad rows.
        raw_bytes: bytes of the file that were read for this chunk.
        describe_bad: describes the first n bad rows, one line each: file, line or row, rule and value.
    """

    batch: pa.RecordBatch
    num_bad: int = 0
    raw_bytes: int = 0
    describe_bad: Callable[[int], list[str]] = field(default=lambda _: [])


def good_rows(
    chunks: Iterable[Chunk], report: ReadReport, *, drop: bool, name: str
) -> Iterator[pa.RecordBatch]:
    """Yields the batches of the chunks and updates the report.

    Raises:
        UserError: a bad row if `drop` is false, or no good row at all.
    """
    for chunk in chunks:
        report.bytes_read += chunk.raw_bytes
        if chunk.num_bad and not drop:
            raise UserError(chunk.describe_bad(1)[0])
        if chunk.num_bad:
            report.dropped_rows += chunk.num_bad
            if len(report.first_dropped) < NUM_DESCRIBED:
                report.first_dropped += chunk.describe_bad(NUM_DESCRIBED - len(report.first_dropped))
        if len(chunk.batch):
            report.rows += len(chunk.batch)
            yield chunk.batch
    if not report.rows:
        dropped = (
            f", {report.dropped_rows:,} dropped, the first: {report.first_dropped[0]}"
            if report.first_dropped
            else ""
        )
        raise UserError(f"{name}: a ratings file needs rows, got none{dropped}")


def parse_in_threads(tasks: Iterable[Callable[[], Chunk]]) -> Iterator[Chunk]:
    """Runs parsing tasks in threads, only a few ahead of the consumer, so that memory stays bounded."""
    return in_order(tasks, _threads(os.getpid()), ahead=_NUM_THREADS + 2)


@cache
def _threads(_process_id: int) -> ThreadPoolExecutor:
    """The thread pool of a process, keyed by process id, because threads do not survive a fork.

    The pool lives as long as the process. The garbage collector may close an unfinished generator while a
    thread starts or ends; shutting down a pool there would deadlock.
    """
    return ThreadPoolExecutor(_NUM_THREADS, "parse")


@dataclass
class ReadReport:
    """Counts of a read in progress; updated while batches are read.

    Attributes:
        total_bytes, bytes_read: size of the (compressed) files and bytes read so far; 0 without files.
        rows: good rows yielded so far.
        dropped_rows: bad rows dropped because of `bad_rows=drop`.
        first_dropped: error messages of the first few dropped rows.
    """

    total_bytes: int = 0
    bytes_read: int = 0
    rows: int = 0
    dropped_rows: int = 0
    first_dropped: list[str] = field(default_factory=list)
