"""The order of data too large to permute: stored rows are taken in chunks, window by window.

Chunks of consecutive stored rows come in a random order of (seed, epoch); end to end they are the epoch's
sequence. A window is so many consecutive steps and as many batches of that sequence. Within it, position j of
the batch owns W consecutive rows of the sequence, one for each of its W steps, turned by a random number of
(seed, epoch, j). So

- any share of the batch's positions owns consecutive rows of the sequence: a worker reads its own chunks and
  no others, in whole pieces, and the steps of a window need no more memory than it has rows;
- two rows of a chunk that share a step in one epoch do not in the next;
- whoever knows (seed, epoch, window) knows its rows.

It is as good as a permutation of all rows where what is stored is in random order, and only there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Sizes:
    """What makes the order together with the seed: other sizes are another order.

    Attributes:
        permuted_rows: up to so many rows an epoch is a permutation of all: 4 MB a column stay in the cache
            (measured, ns a row gathered at random: 1.6 from 2^20 rows, 5.8 from 2^22, 8.6 from 2^24).
        chunk_rows: of a chunk; 64 KB a column (measured, rows/s of a cold file: half with 4 times smaller
            chunks, no more with 4 times larger ones).
        window_rows: of a window; 256 KB a column are shuffled in a core's cache.
        min_window_steps: of large batches, so that their chunks are spread over several.
    """

    permuted_rows: int = 2**20
    chunk_rows: int = 2**14
    window_rows: int = 2**16
    min_window_steps: int = 4


SIZES = Sizes()


@dataclass(frozen=True)
class StepBlock:
    """Consecutive steps of one epoch that one compiled call trains."""

    epoch: int
    first_step: int
    num_steps: int


@dataclass(frozen=True)
class WindowSlice:
    """Consecutive steps of a block that are in one window: the same steps, counted in either."""

    window: int
    in_window: slice
    in_block: slice


@dataclass(frozen=True)
class RowRange:
    """Consecutive stored rows [first, first + num_rows)."""

    first: int
    num_rows: int


@dataclass(frozen=True)
class Windows:
    """Where the rows of each window are stored, and which step takes which.

    A window's steps depend on the batch size alone: not on shards, nor on how many steps a call trains.
    """

    num_rows: int
    global_batch_size: int
    seed: int
    sizes: Sizes

    @property
    def steps(self) -> int:
        """W, the steps of a window; the epoch's last may have fewer."""
        return max(self.sizes.window_rows // self.global_batch_size, self.sizes.min_window_steps)

    @property
    def per_epoch(self) -> int:
        return -(-self.num_rows // (self.steps * self.global_batch_size))

    def parts(self, block: StepBlock) -> Iterator[WindowSlice]:
        """A block, cut where windows end."""
        done = 0
        while done < block.num_steps:
            window, within = divmod(block.first_step + done, self.steps)
            count = min(self.steps - within, block.num_steps - done)
            yield WindowSlice(window, slice(within, within + count), slice(done, done + count))
            done += count

    def runs(self, epoch: int, number: int, *, shard: int, num_shards: int) -> list[RowRange]:
        """What one shard reads for a window, in the order of its slots."""
        begin = number * self.steps * self.global_batch_size
        first, last = (begin + slot for slot in self._slot_range(number, shard, num_shards))
        chunks, starts, _ = self._layout(epoch)
        runs = []
        at = int(np.searchsorted(starts, first, side="right")) - 1
        while first < last:
            end = min(last, int(starts[at + 1]))
            runs.append(
                RowRange(int(chunks[at]) * self.sizes.chunk_rows + first - int(starts[at]), end - first)
            )
            first, at = end, at + 1
        return runs

    def slots(self, epoch: int, number: int, *, shard: int, num_shards: int) -> np.ndarray:
        """Which of the rows that the shard reads for a window is where in its share of the batches.

        Returns:
            int64 [steps of the window, global_batch_size / num_shards], counted from the first row of `runs`;
            -1 where the epoch's last step has no row. All windows of an epoch but the last have the same.
        """
        share = self.global_batch_size // num_shards
        positions = np.arange(shard * share, (shard + 1) * share)
        steps, short = self._size(number)
        owned = steps - (positions >= short)  # rows of each position
        first_slots = self._first_slot(number, positions)
        turn = self._layout(epoch)[2][positions]
        step = np.arange(steps)[:, None]
        # A position that has no row in the last step turns within those before.
        slots = first_slots - first_slots[:1] + (step + turn) % np.maximum(owned, 1)
        return np.where(step < owned, slots, -1)

    def rows(self, epoch: int, number: int, *, shard: int, num_shards: int) -> np.ndarray:
        """The shard's stored rows of a window, int64 [steps, global_batch_size / num_shards]; -1: no row."""
        runs = self.runs(epoch, number, shard=shard, num_shards=num_shards)
        stored = [np.arange(run.first, run.first + run.num_rows) for run in runs]
        # Slot -1 is the last.
        stored.append(np.array([-1]))
        return np.concatenate(stored)[self.slots(epoch, number, shard=shard, num_shards=num_shards)]

    def _size(self, number: int) -> tuple[int, int]:
        """A window's steps, and how many positions of the last of them have a row."""
        batch = self.global_batch_size
        rows = min(self.num_rows - number * self.steps * batch, self.steps * batch)
        steps = -(-rows // batch)
        return steps, rows - (steps - 1) * batch

    def _first_slot(self, number: int, position: np.ndarray) -> np.ndarray:
        """The first slot of a position, counted from the window's first."""
        steps, short = self._size(number)
        return position * (steps - 1) + np.minimum(position, short)

    def _slot_range(self, number: int, shard: int, num_shards: int) -> tuple[int, int]:
        share = self.global_batch_size // num_shards
        first, last = self._first_slot(number, np.array([shard * share, (shard + 1) * share]))
        return int(first), int(last)

    def _layout(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _epoch_layout(
            self.num_rows, self.sizes.chunk_rows, self.global_batch_size, self.steps, self.seed, epoch
        )


@lru_cache(maxsize=4)
def _epoch_layout(
    num_rows: int, chunk_rows: int, global_batch_size: int, steps: int, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chunks in the epoch's order; where each starts in its sequence, and its end; each position's turn."""
    num_chunks = -(-num_rows // chunk_rows)
    random = random_state(seed, epoch)
    chunks = random.permutation(num_chunks)
    turns = random.randint(steps, size=global_batch_size)
    lengths = np.full(num_chunks, chunk_rows, np.int64)
    lengths[chunks == num_chunks - 1] = num_rows - (num_chunks - 1) * chunk_rows
    return chunks, np.concatenate([[0], np.cumsum(lengths)]), turns


def random_state(seed: int, epoch: int) -> np.random.RandomState:
    """An epoch's random numbers. RandomState's stream is frozen, so a NumPy upgrade keeps a run's batches."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, epoch])))
