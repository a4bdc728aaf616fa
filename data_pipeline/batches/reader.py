"""Reads what the order asks for into superbatches, in NumPy: one reader for each share of the batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.windows import StepBlock, Windows
from data_pipeline.dataset.columns import DTYPES, Columns

# Windows that are being read while one is in use, and the threads that do it: enough to keep a disk busy with
# several reads at a time (measured, see docs/LOG.md).
WINDOWS_AHEAD = 3
READ_THREADS = 4

Superbatch = dict[str, np.ndarray]


def make_readers(
    columns: Columns, order: BatchOrder, blocks: Sequence[StepBlock], *, shards: range, num_shards: int
) -> list[PermutationReader | WindowReader]:
    """A reader for each of a worker's shards.

    Args:
        blocks: the run's; nothing behind their last is read.
    """
    assert len(columns) == order.num_rows
    windows = order.windows
    if windows is None:
        return [PermutationReader(columns, order, shard, num_shards) for shard in shards]
    pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="reeltrain-read")
    last = 0
    if blocks:
        block = blocks[len(blocks) - 1]
        *_, part = windows.parts(block)
        last = block.epoch * windows.per_epoch + part.window
    return [
        WindowReader(columns, windows, shard, num_shards, last_window=last, pool=pool) for shard in shards
    ]


class PermutationReader:
    """Superbatches of few rows, gathered one by one from whole columns."""

    def __init__(self, columns: Columns, order: BatchOrder, shard: int, num_shards: int) -> None:
        self._columns = columns
        self._order = order
        self._shard = shard
        self._num_shards = num_shards

    def superbatch(self, block: StepBlock, block_steps: int) -> Superbatch:
        """A block's rows: user_index, item_index, rating, weight, each [block_steps, rows of the shard]."""
        rows = self._order.rows(
            block, block_steps=block_steps, shard=self._shard, num_shards=self._num_shards
        )
        absent = rows < 0
        filled: Superbatch = {}
        for name in self._columns.names:
            filled[name] = getattr(self._columns, name).take(rows, mode="clip")
            filled[name][absent] = 0
        filled.setdefault("weight", (~absent).astype(np.float32))
        return filled


@dataclass
class _Window:
    """A shard's rows of a window, while they are being read and after.

    Attributes:
        number: counted from the run's beginning.
        values: column name -> [rows + 1]; the last is 0, what slot -1 stands for.
    """

    number: int
    values: dict[str, np.ndarray]
    reading: list[Future[None]] = field(default_factory=list)


class WindowReader:
    """Superbatches of many rows, from windows that are read whole, each once, ahead of their use.

    Ask for blocks in their order; another order is answered as well, but reads windows again.
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
        """A block's rows: user_index, item_index, rating, weight, each [block_steps, rows of the shard]."""
        shape = (block_steps, self._rows)
        filled = {name: np.empty(shape, DTYPES[name]) for name in self._columns.names}
        weight = filled.setdefault("weight", np.ones(shape, np.float32))
        for part in self._windows.parts(block):
            window = self._read(block.epoch * self._windows.per_epoch + part.window)
            slots = self._slots_of(block.epoch, part.window)[part.in_window]
            for name, values in window.values.items():
                # "wrap" is not only for slot -1: the default mode would fill a copy of `out`.
                np.take(values, slots, out=filled[name][part.in_block], mode="wrap")
            if "weight" not in window.values and part.window == self._windows.per_epoch - 1:
                weight[part.in_block] = slots >= 0
        for array in filled.values():
            array[block.num_steps :] = 0
        return filled

    def _read(self, number: int) -> _Window:
        """A window, whole; those behind it are then on their way."""
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
        epoch, of_epoch = divmod(number, self._windows.per_epoch)
        runs = self._windows.runs(epoch, of_epoch, **self._share)
        num_rows = sum(run.num_rows for run in runs)
        window = _Window(number, {})

        def read(name: str, values: np.ndarray) -> None:
            done = 0
            for run in runs:
                self._columns.read(name, run.first, values[done : done + run.num_rows])
                done += run.num_rows
            values[num_rows] = 0

        for name in self._columns.names:
            values = window.values[name] = np.empty(num_rows + 1, DTYPES[name])
            window.reading.append(self._pool.submit(read, name, values))
        return window

    def _slots_of(self, epoch: int, window: int) -> np.ndarray:
        """As `Windows.slots`; kept, since an epoch's windows have the same, but for the last."""
        key = (epoch, window == self._windows.per_epoch - 1)
        if self._slots[0] != key:
            self._slots = (key, self._windows.slots(epoch, window, **self._share))
        return self._slots[1]
