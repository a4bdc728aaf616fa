"""The row order of datasets too large to permute: chunks of stored rows, shuffled in windows.

An epoch's sequence is all chunks of consecutive stored rows, concatenated in a random order that depends on
(seed, epoch). A window is W consecutive steps: the next W batches' worth of rows of that sequence. Within a
window, position j of the batch owns W consecutive rows of the sequence, one per step, rotated by a random
offset that depends on (seed, epoch, j). Therefore:

- Any contiguous range of batch positions owns consecutive rows of the sequence. A worker reads only its own
  chunks, in contiguous reads, and needs memory for the rows of a window only.
- Two rows of a chunk that are in the same step in one epoch are unlikely to be so in the next.
- The rows of a window are a function of (seed, epoch, window).

This shuffles as well as a full permutation only if the rows are stored in random order, as `prepare` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Sizes:
    """Constants of the order: changing one changes the order of every seed.

    Attributes:
        permuted_rows: the largest dataset for which an epoch is a permutation of all rows: 4 MB per column
            stay in the cache (measured, ns per randomly gathered row: 1.6 from 2^20 rows, 5.8 from 2^22, 8.6
            from 2^24).
        chunk_rows: rows per chunk, 64 KB per column (measured, rows/s from a cold file: half with chunks 4
            times smaller, the same with chunks 4 times larger).
        window_rows: rows per window; 256 KB per column are shuffled within a core's cache.
        min_window_steps: the fewest steps per window, so that large batches are spread over several
            steps too.
    """

    permuted_rows: int = 2**20
    chunk_rows: int = 2**14
    window_rows: int = 2**16
    min_window_steps: int = 4


SIZES = Sizes()


@dataclass(frozen=True)
class StepBlock:
    """Consecutive steps of one epoch, trained by one compiled call."""

    epoch: int
    first_step: int
    num_steps: int


@dataclass(frozen=True)
class WindowSlice:
    """The steps of a block that are in one window, as a slice of the window and as a slice of the block."""

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
    """Which stored rows each window has, and which of its steps uses which row.

    The number of steps per window depends only on the batch size, not on shards or on steps per call.
    """

    num_rows: int
    global_batch_size: int
    seed: int
    sizes: Sizes

    @property
    def steps(self) -> int:
        """W, the steps per window; the last window of an epoch may have fewer."""
        return max(self.sizes.window_rows // self.global_batch_size, self.sizes.min_window_steps)

    @property
    def per_epoch(self) -> int:
        """Windows per epoch."""
        return -(-self.num_rows // (self.steps * self.global_batch_size))

    def slices(self, block: StepBlock) -> Iterator[WindowSlice]:
        """Splits a block at the window boundaries."""
        done = 0
        while done < block.num_steps:
            window, within = divmod(block.first_step + done, self.steps)
            count = min(self.steps - within, block.num_steps - done)
            yield WindowSlice(window, slice(within, within + count), slice(done, done + count))
            done += count

    def row_ranges(self, epoch: int, number: int, *, shard: int, num_shards: int) -> list[RowRange]:
        """The stored rows that one shard reads for a window, in slot order."""
        begin = number * self.steps * self.global_batch_size
        first, last = (begin + slot for slot in self._slot_range(number, shard, num_shards))
        chunks, starts, _ = self._layout(epoch)
        ranges = []
        at = int(np.searchsorted(starts, first, side="right")) - 1
        while first < last:
            end = min(last, int(starts[at + 1]))
            ranges.append(
                RowRange(int(chunks[at]) * self.sizes.chunk_rows + first - int(starts[at]), end - first)
            )
            first, at = end, at + 1
        return ranges

    def slots(self, epoch: int, number: int, *, shard: int, num_shards: int) -> np.ndarray:
        """For each step and batch position of a shard, which of the rows it reads for the window is used.

        Returns:
            int64 [steps of the window, global_batch_size / num_shards], counted from the first row of
            `row_ranges`; -1 is padding in the last step of the epoch. All windows of an epoch except the last
            have the same slots.
        """
        share = self.global_batch_size // num_shards
        positions = np.arange(shard * share, (shard + 1) * share)
        steps, num_full = self._size(number)
        owned = steps - (positions >= num_full)  # rows of each position
        first_slots = self._first_slot(number, positions)
        rotation = self._layout(epoch)[2][positions]
        step = np.arange(steps)[:, None]
        # A position without a row in the last step rotates within the steps before it.
        slots = first_slots - first_slots[:1] + (step + rotation) % np.maximum(owned, 1)
        return np.where(step < owned, slots, -1)

    def rows(self, epoch: int, number: int, *, shard: int, num_shards: int) -> np.ndarray:
        """A shard's stored rows of a window, int64 [steps, global_batch_size / num_shards]; -1 is padding."""
        ranges = self.row_ranges(epoch, number, shard=shard, num_shards=num_shards)
        stored = [np.arange(each.first, each.first + each.num_rows) for each in ranges]
        stored.append(np.array([-1]))  # slot -1 is the last element
        return np.concatenate(stored)[self.slots(epoch, number, shard=shard, num_shards=num_shards)]

    def _size(self, number: int) -> tuple[int, int]:
        """(steps of a window, number of batch positions that have a row in the last of them)."""
        batch = self.global_batch_size
        rows = min(self.num_rows - number * self.steps * batch, self.steps * batch)
        steps = -(-rows // batch)
        return steps, rows - (steps - 1) * batch

    def _first_slot(self, number: int, position: np.ndarray) -> np.ndarray:
        """The first slot of a batch position, counted from the start of the window."""
        steps, num_full = self._size(number)
        return position * (steps - 1) + np.minimum(position, num_full)

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
    """(chunks in the epoch's order, chunk boundaries in its sequence, rotation of each batch position)."""
    num_chunks = -(-num_rows // chunk_rows)
    random = random_state(seed, epoch)
    chunks = random.permutation(num_chunks)
    rotations = random.randint(steps, size=global_batch_size)
    lengths = np.full(num_chunks, chunk_rows, np.int64)
    lengths[chunks == num_chunks - 1] = num_rows - (num_chunks - 1) * chunk_rows
    return chunks, np.concatenate([[0], np.cumsum(lengths)]), rotations


def random_state(seed: int, epoch: int) -> np.random.RandomState:
    """The random numbers of an epoch. RandomState's stream is frozen: a NumPy upgrade keeps the batches."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, epoch])))
