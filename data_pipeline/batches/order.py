"""Which rows a step trains on: a function of (seed, epoch, step), in NumPy.

Up to about a million rows, an epoch is a permutation of all rows, and global batch `step` is its slice
[step x B, (step + 1) x B). For larger datasets see `windows`. Replica r of R takes the r-th of R equal slices
of the batch. So the batches are the same on any number of replicas, and training resumes from one integer,
the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data_pipeline.batches.windows import SIZES, Sizes, StepBlock, Windows, random_state


@dataclass(frozen=True)
class BatchOrder:
    """The order in which a training run uses the rows.

    Attributes:
        num_rows: rows per epoch.
        global_batch_size: rows per step, over all replicas.
        seed: determines the order of every epoch.
        sizes: only tests and benchmarks change these.
    """

    num_rows: int
    global_batch_size: int
    seed: int
    sizes: Sizes = SIZES

    @property
    def steps_per_epoch(self) -> int:
        """Steps per epoch; the last step may have fewer rows.

        >>> BatchOrder(num_rows=10, global_batch_size=4, seed=0).steps_per_epoch
        3
        """
        return -(-self.num_rows // self.global_batch_size)

    @property
    def windows(self) -> Windows | None:
        """The windows of an epoch; None if the rows are few enough for a permutation."""
        if self.num_rows <= self.sizes.permuted_rows:
            return None
        return Windows(self.num_rows, self.global_batch_size, self.seed, self.sizes)

    def rows(self, block: StepBlock, *, block_steps: int, shard: int, num_shards: int) -> np.ndarray:
        """The row numbers of one of `num_shards` equal shards of the global batch, for the steps of a block.

        Returns:
            int64 [block_steps, global_batch_size / num_shards]; -1 is padding: after the end of the epoch and
            in steps from `block.num_steps` on.
        """
        batch = self.global_batch_size
        assert batch % num_shards == 0
        windows = self.windows
        if windows is None:
            first = block.first_step * batch
            last = min(first + block.num_steps * batch, self.num_rows)
            rows = np.full(block_steps * batch, -1, np.int64)
            rows[: last - first] = _permutation(self.num_rows, self.seed, block.epoch)[first:last]
            return rows.reshape(block_steps, num_shards, batch // num_shards)[:, shard]
        rows = np.full((block_steps, batch // num_shards), -1, np.int64)
        for part in windows.slices(block):
            window_rows = windows.rows(block.epoch, part.window, shard=shard, num_shards=num_shards)
            rows[part.in_block] = window_rows[part.in_window]
        return rows

    def blocks(self, *, first_step: int, last_step: int, block_steps: int) -> Blocks:
        """Splits the run's steps [first_step, last_step) into blocks of at most `block_steps` steps.

        >>> order = BatchOrder(num_rows=10, global_batch_size=2, seed=0)
        >>> [(b.epoch, b.first_step, b.num_steps)
        ...  for b in order.blocks(first_step=1, last_step=7, block_steps=3)]
        [(0, 1, 2), (0, 3, 2), (1, 0, 2)]
        """
        return Blocks(self.steps_per_epoch, first_step, last_step, block_steps)


@dataclass(frozen=True)
class Blocks(Sequence[StepBlock]):
    """A lazy sequence of blocks of steps.

    Blocks start at multiples of `block_steps` within an epoch and never cross its end, so the same steps
    share a block whether or not the run was interrupted.
    """

    steps_per_epoch: int
    first_step: int
    last_step: int
    block_steps: int

    def __len__(self) -> int:
        if self.first_step >= self.last_step:
            return 0
        return self._number(self.last_step - 1) - self._number(self.first_step) + 1

    def __getitem__(self, index: int) -> StepBlock:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        epoch, number = divmod(self._number(self.first_step) + index, self._blocks_per_epoch)
        epoch_begin = epoch * self.steps_per_epoch
        begin = max(number * self.block_steps, self.first_step - epoch_begin)
        end = min((number + 1) * self.block_steps, self.steps_per_epoch, self.last_step - epoch_begin)
        return StepBlock(epoch, begin, end - begin)

    @property
    def _blocks_per_epoch(self) -> int:
        return -(-self.steps_per_epoch // self.block_steps)

    def _number(self, step: int) -> int:
        """The number of the block, counted from the start of the run, that contains a step."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return epoch * self._blocks_per_epoch + within // self.block_steps


@lru_cache(maxsize=2)
def _permutation(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    return random_state(seed, epoch).permutation(num_rows)
