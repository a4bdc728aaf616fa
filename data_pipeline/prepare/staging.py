"""Temporary row storage on disk while a dataset is prepared: raw columns, sorted by bucket in runs."""

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
# Rows per run, the unit that is sorted by bucket in memory and then written.
RUN_ROWS = 1 << 20
# Rows processed at once: temporary arrays stay in a core's cache and in memory that is reused.
CHUNK_ROWS = 1 << 18
# A row's bucket is the upper 8 bits of its key. In each run, the rows of a range of buckets are contiguous.
NUM_BUCKETS = 256
# Rows in a group of users; each thread holds all columns of one group in memory.
MIN_GROUP_ROWS = 1 << 22
MAX_GROUPS = 16
NUM_THREADS = min(4, num_cores())


class Staging:
    """Rows in a folder of raw column files.

    The columns are `row` (row number in the source), `user` and `item` (codes), `rating` and, if the source
    has them, `timestamp` and `weight`.

    Files are accessed with plain reads and writes, so they use the page cache, not this process's memory.

    Args:
        folder: an existing folder for the column files.
        seed: seed of the stored order.
        users, items: ids that get the first codes.
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
        # Buffers for the current run and for one sorted column, reused because the system zeroes new memory.
        self._run: dict[str, np.ndarray] = {}
        self._ordered = np.empty(RUN_ROWS, np.int64)
        self._num_buffered = 0
        self._bounds: list[np.ndarray] = []  # for each run: row offsets of its buckets, and of its end

    @property
    def names(self) -> tuple[str, ...]:
        """The present columns, in the order of `DTYPES`."""
        return tuple(name for name in DTYPES if name in self._files)

    def append(self, batch: pa.RecordBatch) -> None:
        """Appends the next rows of the source."""
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
        num_copied = 0
        while num_copied < len(batch):
            count = min(len(batch) - num_copied, RUN_ROWS - self._num_buffered)
            for name, column in columns.items():
                part = column[num_copied : num_copied + count]
                self._run[name][self._num_buffered : self._num_buffered + count] = part
            num_copied += count
            self._num_buffered += count
            self.num_rows += count
            if self._num_buffered == RUN_ROWS:
                self._write_run()

    def finish(self) -> None:
        """Writes the last run; to be called after the last row."""
        if self._num_buffered:
            self._write_run()
        self._run, self._ordered = {}, np.empty(0, np.int64)

    def close(self) -> None:
        self._closing.close()

    def chunks(self, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """Yields all rows in small chunks, in file order."""
        for first in range(0, self.num_rows, CHUNK_ROWS):
            yield self._read(names, first, min(first + CHUNK_ROWS, self.num_rows))

    def each_chunk(self, names: Sequence[str], function: Callable[[dict[str, np.ndarray]], None]) -> None:
        """Calls the function with every chunk, from several threads."""
        starts = range(0, self.num_rows, CHUNK_ROWS)
        in_threads(
            lambda first: function(self._read(names, first, min(first + CHUNK_ROWS, self.num_rows))), starts
        )

    @cached_property
    def user_counts(self) -> np.ndarray:
        """The number of rows of each user, by code."""
        counts = np.zeros(len(self.users), np.int64)
        for chunk in self.chunks(["user"]):
            counts += np.bincount(chunk["user"], minlength=len(counts))
        return counts

    def user_groups(
        self, *, min_rows: int | None = None, max_groups: int = MAX_GROUPS
    ) -> list[tuple[int, int]]:
        """Ranges of user codes whose rows fit into memory; every user is in exactly one group.

        Args:
            min_rows: the target number of rows per group, default `MIN_GROUP_ROWS`.
            max_groups: bounds the number of groups to 2 x max_groups + 1.
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
        """All rows of a range of user codes."""
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
        """Ranges of buckets, in stored order, with at most about `max_rows` rows each."""
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
        begin = self.num_rows - self._num_buffered
        rows = np.arange(begin, self.num_rows, dtype=np.uint32)
        bucket = (order_keys(rows, self.seed) >> np.uint32(24)).astype(np.uint8)
        order = np.argsort(bucket, kind="stable")
        bounds = np.zeros(NUM_BUCKETS + 1, np.int64)
        np.cumsum(np.bincount(bucket, minlength=NUM_BUCKETS), out=bounds[1:])
        self._bounds.append(bounds + begin)
        for name, column in {"row": rows, **self._run}.items():
            ordered = self._ordered.view(column.dtype)[: len(rows)]
            # The default mode of `take` would buffer the output.
            np.take(column[: len(rows)], order, out=ordered, mode="wrap")
            left = memoryview(ordered.data).cast("B")
            while left:
                left = left[os.write(self._files[name], left) :]
        self._num_buffered = 0

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
                raise OSError(f"{self.folder}: a staging file ended while it was being read")
            left, offset = left[count:], offset + count


def in_threads(function: Callable, arguments: Sequence) -> None:
    """Calls the function with each argument in a thread pool; raises the first exception."""
    with ThreadPoolExecutor(NUM_THREADS, "prepare") as threads:
        for _ in threads.map(function, arguments):
            pass
