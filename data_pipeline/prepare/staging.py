"""Rows on disk while a dataset is prepared: columns of codes and values, gathered by where they will lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipeline.errors import UserError
from data_pipeline.prepare.id_codes import IdCodes
from data_pipeline.prepare.stored_order import MAX_ROWS, order_keys
from data_pipeline.threads import num_cores

DTYPES: dict[str, np.dtype] = {
    "row": np.dtype(np.uint32),
    "user": np.dtype(np.int32),
    "item": np.dtype(np.int32),
    "rating": np.dtype(np.float32),
    "timestamp": np.dtype(np.int64),
    "weight": np.dtype(np.float32),
}
# Rows gathered in one piece of the files.
RUN_ROWS = 1 << 20
# Rows worked on at once: what is made of them stays in a core's cache and in memory that the process has.
CHUNK_ROWS = 1 << 18
# By the upper bits of a row's key. A range of buckets is a range of rows in every run.
NUM_BUCKETS = 256
# Rows of a group of users, all columns of which are in memory at once, in every thread.
MIN_GROUP_ROWS = 1 << 22
MAX_GROUPS = 16
NUM_THREADS = min(4, num_cores())


class Staging:
    """Ratings in a folder of raw columns: `row` (the row's number in the source), `user` and `item` (codes),
    `rating` and, where the source has them, `timestamp` and `weight`.

    Plain reads and writes: what the files take is the system's cache, not this process's memory.

    Args:
        folder: exists; the columns' files are made in it.
        seed: of the stored order.
        users, items: ids that have codes already.
    """

    def __init__(
        self, folder: Path, *, seed: int, users: pa.Array | None = None, items: pa.Array | None = None
    ) -> None:
        self.folder = folder
        self.seed = seed
        self.users, self.items = IdCodes(users), IdCodes(items)
        self.num_rows = 0
        self._files: dict[str, int] = {}
        self._closing = ExitStack()
        # The columns of the run that is coming in, and one as it is written: memory that is used again is
        # cheaper than memory that the system has to clear first.
        self._run: dict[str, np.ndarray] = {}
        self._ordered = np.empty(RUN_ROWS, np.int64)
        self._num_waiting = 0
        self._bounds: list[np.ndarray] = []  # of each run: where its buckets begin in the files, and the end

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that there are, in the order of `DTYPES`."""
        return tuple(name for name in DTYPES if name in self._files)

    def append(self, batch: pa.RecordBatch) -> None:
        """Takes the next rows of the source."""
        if self.num_rows + len(batch) > MAX_ROWS:
            raise UserError(f"a dataset has at most {MAX_ROWS:,} rows, got more")
        columns = {
            "user": self.users.codes(batch["user_id"]),
            "item": self.items.codes(batch["item_id"]),
        }
        for name in ("rating", "timestamp", "weight"):
            if name in batch.schema.names:
                columns[name] = batch[name].to_numpy(zero_copy_only=False)
        if not self._files:
            for name in ("row", *columns):
                self._open(name)
            self._run = {name: np.empty(RUN_ROWS, DTYPES[name]) for name in columns}
        taken = 0
        while taken < len(batch):
            count = min(len(batch) - taken, RUN_ROWS - self._num_waiting)
            for name, column in columns.items():
                part = column[taken : taken + count]
                self._run[name][self._num_waiting : self._num_waiting + count] = part
            taken += count
            self._num_waiting += count
            self.num_rows += count
            if self._num_waiting == RUN_ROWS:
                self._write_run()

    def finish(self) -> None:
        """After the last row."""
        if self._num_waiting:
            self._write_run()
        self._run, self._ordered = {}, np.empty(0, np.int64)

    def close(self) -> None:
        self._closing.close()

    def chunks(self, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """All rows, so many at a time that memory does not matter, in the order in which they lie."""
        for first in range(0, self.num_rows, CHUNK_ROWS):
            yield self._read(names, first, min(first + CHUNK_ROWS, self.num_rows))

    def each_chunk(self, names: Sequence[str], function: Callable[[dict[str, np.ndarray]], None]) -> None:
        """Calls the function with all chunks, from several threads."""
        starts = range(0, self.num_rows, CHUNK_ROWS)
        in_threads(
            lambda first: function(self._read(names, first, min(first + CHUNK_ROWS, self.num_rows))), starts
        )

    @cached_property
    def user_counts(self) -> np.ndarray:
        """How many rows each user has, by code."""
        counts = np.zeros(len(self.users), np.int64)
        for chunk in self.chunks(["user"]):
            counts += np.bincount(chunk["user"], minlength=len(counts))
        return counts

    def user_groups(
        self, *, min_rows: int | None = None, max_groups: int = MAX_GROUPS
    ) -> list[tuple[int, int]]:
        """Ranges of users' codes whose rows fit into memory; one user's are never in two.

        Args:
            min_rows: of most groups.
            max_groups: there may be twice as many, and one more.
        """
        size = max(min_rows or MIN_GROUP_ROWS, -(-self.num_rows // max_groups))
        ends = np.cumsum(self.user_counts)
        groups, first = [], 0
        while first < len(ends):
            before = ends[first - 1] if first else 0
            last = max(int(np.searchsorted(ends, before + size, side="right")), first + 1)
            groups.append((first, last))
            first = last
        return groups

    def rows_of_users(self, group: tuple[int, int], names: Sequence[str]) -> dict[str, np.ndarray]:
        """All rows of a range of users."""
        if group == (0, len(self.users)):
            return self._read(names, 0, self.num_rows)
        parts = []
        for first in range(0, self.num_rows, CHUNK_ROWS):
            last = min(first + CHUNK_ROWS, self.num_rows)
            user = self._read(["user"], first, last)["user"]
            inside = np.flatnonzero((user >= group[0]) & (user < group[1]))
            others = self._read([name for name in names if name != "user"], first, last)
            parts.append({"user": user[inside], **{n: column[inside] for n, column in others.items()}})
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def bucket_groups(self, max_rows: int) -> list[tuple[int, int]]:
        """Ranges of buckets, in stored order, of about `max_rows` rows at the most."""
        sizes = np.sum([np.diff(bounds) for bounds in self._bounds], axis=0)
        groups, first = [], 0
        for bucket in range(1, NUM_BUCKETS + 1):
            if bucket == NUM_BUCKETS or sizes[first : bucket + 1].sum() > max_rows:
                groups.append((first, bucket))
                first = bucket
        return groups

    def rows_of_buckets(self, group: tuple[int, int]) -> dict[str, np.ndarray]:
        """All rows of a range of buckets."""
        spans = [(int(bounds[group[0]]), int(bounds[group[1]])) for bounds in self._bounds]
        columns = {}
        for name in self.names:
            column = columns[name] = np.empty(sum(last - first for first, last in spans), DTYPES[name])
            filled = 0
            for first, last in spans:
                self._fill(name, first, column[filled : filled + last - first])
                filled += last - first
        return columns

    def _write_run(self) -> None:
        begin = self.num_rows - self._num_waiting
        rows = np.arange(begin, self.num_rows, dtype=np.uint32)
        bucket = (order_keys(rows, self.seed) >> np.uint32(24)).astype(np.uint8)
        order = np.argsort(bucket, kind="stable")
        bounds = np.zeros(NUM_BUCKETS + 1, np.int64)
        np.cumsum(np.bincount(bucket, minlength=NUM_BUCKETS), out=bounds[1:])
        self._bounds.append(bounds + begin)
        for name, column in {"row": rows, **self._run}.items():
            ordered = self._ordered.view(column.dtype)[: len(rows)]
            # In its default mode `take` fills a copy first.
            np.take(column[: len(rows)], order, out=ordered, mode="wrap")
            left = memoryview(ordered.data).cast("B")
            while left:
                left = left[os.write(self._files[name], left) :]
        self._num_waiting = 0

    def _open(self, name: str) -> None:
        file = os.open(self.folder / f"{name}.staged", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._closing.callback(os.close, file)
        self._files[name] = file

    def _read(self, names: Sequence[str], first: int, last: int) -> dict[str, np.ndarray]:
        columns = {name: np.empty(last - first, DTYPES[name]) for name in names}
        for name, column in columns.items():
            self._fill(name, first, column)
        return columns

    def _fill(self, name: str, first: int, column: np.ndarray) -> None:
        if not len(column):
            return
        left, offset = memoryview(column.data).cast("B"), first * DTYPES[name].itemsize
        while left:
            count = os.preadv(self._files[name], [left], offset)
            if not count:
                raise OSError(f"{self.folder}: ended while it was read")
            left, offset = left[count:], offset + count


def in_threads(function: Callable, arguments: Sequence) -> None:
    """Calls the function with each argument, in a few threads; the first exception is raised."""
    with ThreadPoolExecutor(NUM_THREADS, "prepare") as threads:
        for _ in threads.map(function, arguments):
            pass
