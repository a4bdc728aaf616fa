"""Reads the rows of one shard of the batch into NumPy superbatches, ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.windows import StepBlock, Windows
from data_pipeline.dataset.columns import DTYPES, Columns

# Windows read ahead of the current one, and reading threads: enough to keep several reads in flight on a disk
# (measured, see docs/LOG.md).
WINDOWS_AHEAD = 3
READ_THREADS = 4

Superbatch = dict[str, np.ndarray]


def make_readers(
    columns: Columns, order: BatchOrder, blocks: Sequence[StepBlock], *, shards: range, num_shards: int
) -> list[PermutationReader | WindowReader]:
    """One reader for each shard of a worker.

    Args:
        blocks: the blocks of the run; no window after the last block is read.
    """
    assert len(columns) == order.num_rows
    windows = order.windows
    if windows is None:
        return [PermutationReader(columns, order, shard, num_shards) for shard in shards]
    pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="reeltrain-read")
    last = 0
    if blocks:
        block = blocks[len(blocks) - 1]
        *_, part = windows.slices(block)
        last = block.epoch * windows.per_epoch + part.window
    return [
        WindowReader(columns, windows, shard, num_shards, last_window=last, pool=pool) for shard in shards
    ]


class PermutationReader:
    """Superbatches of a small dataset: rows gathered from whole columns in memory."""

    def __init__(self, columns: Columns, order: BatchOrder, shard: int, num_shards: int) -> None:
        self._columns = columns
        self._order = order
        self._shard = shard
        self._num_shards = num_shards

    def superbatch(self, block: StepBlock, block_steps: int) -> Superbatch:
        """The rows of a block: user_index, item_index, rating, weight, each [block_steps, shard rows]."""
        rows = self._order.rows(
            block, block_steps=block_steps, shard=self._shard, num_shards=self._num_shards
        )
        is_padding = rows < 0
        filled: Superbatch = {}
        for name in self._columns.names:
            filled[name] = getattr(self._columns, name).take(rows, mode="clip")
            filled[name][is_padding] = 0
        filled.setdefault("weight", (~is_padding).astype(np.float32))
        return filled


@dataclass
class _Window:
    """One shard's rows of a window, read or being read.

    Attributes:
        number: counted from the start of the run.
        values: column name -> [rows + 1]; the extra last value is 0, for the padding slot -1.
        reading: pending reads, one per column.
    """

    number: int
    values: dict[str, np.ndarray]
    reading: list[Future[None]] = field(default_factory=list)


class WindowReader:
    """Superbatches of a large dataset: whole windows are read ahead, each once.

    Blocks should be requested in order; any other order works but reads windows again.
    """

    def __init__(
        self,
        columns: Columns,
        windows: Windows,
        shard: int,
        num_shards: int,
        *,
        last_window: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._columns = columns
        self._windows = windows
        self._share = {"shard": shard, "num_shards": num_shards}
        self._rows = windows.global_batch_size // num_shards
        self._last_window = last_window
        self._pool = pool
        self._ahead: deque[_Window] = deque()
        self._slots: tuple[tuple[int, bool] | None, np.ndarray] = (None, np.empty(0))

    def superbatch(self, block: StepBlock, block_steps: int) -> Superbatch:
        """The rows of a block: user_index, item_index, rating, weight, each [block_steps, shard rows]."""
        shape = (block_steps, self._rows)
        filled = {name: np.empty(shape, DTYPES[name]) for name in self._columns.names}
        weight = filled.setdefault("weight", np.ones(shape, np.float32))
        for part in self._windows.slices(block):
            window = self._read(block.epoch * self._windows.per_epoch + part.window)
            slots = self._slots_of(block.epoch, part.window)[part.in_window]
            for name, values in window.values.items():
                # mode="wrap" maps slot -1 to the last value; the default mode would also buffer `out`.
                np.take(values, slots, out=filled[name][part.in_block], mode="wrap")
            if "weight" not in window.values and part.window == self._windows.per_epoch - 1:
                weight[part.in_block] = slots >= 0
        for array in filled.values():
            array[block.num_steps :] = 0
        return filled

    def _read(self, number: int) -> _Window:
        """Returns a window once it is completely read; starts reading the windows after it."""
        while self._ahead and self._ahead[0].number < number:
            self._ahead.popleft()
        if self._ahead and self._ahead[0].number > number:
            self._ahead.clear()
        begin = self._ahead[-1].number + 1 if self._ahead else number
        for next_number in range(begin, min(number + WINDOWS_AHEAD, self._last_window) + 1):
            self._ahead.append(self._begin_reading(next_number))
        window = self._ahead[0]
        for reading in window.reading:
            reading.result()
        window.reading.clear()
        return window

    def _begin_reading(self, number: int) -> _Window:
        epoch, window_of_epoch = divmod(number, self._windows.per_epoch)
        row_ranges = self._windows.row_ranges(epoch, window_of_epoch, **self._share)
        num_rows = sum(row_range.num_rows for row_range in row_ranges)
        window = _Window(number, {})

        def read(name: str, values: np.ndarray) -> None:
            done = 0
            for row_range in row_ranges:
                self._columns.read(name, row_range.first, values[done : done + row_range.num_rows])
                done += row_range.num_rows
            values[num_rows] = 0

        for name in self._columns.names:
            values = window.values[name] = np.empty(num_rows + 1, DTYPES[name])
            window.reading.append(self._pool.submit(read, name, values))
        return window

    def _slots_of(self, epoch: int, window: int) -> np.ndarray:
        """`Windows.slots`, cached: all windows of an epoch except the last share their slots."""
        key = (epoch, window == self._windows.per_epoch - 1)
        if self._slots[0] != key:
            self._slots = (key, self._windows.slots(epoch, window, **self._share))
        return self._slots[1]
