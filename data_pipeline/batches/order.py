"""A position in the data is an integer: which rows make up which batch, in NumPy alone.

The order of rows is a function of (seed, epoch): up to about a million a permutation, of which global batch
`step` is rows [step x B, (step + 1) x B); beyond, see `windows`. Replica r of R takes the r-th of R equal
slices of the batch. So the batches are the same on any number of replicas and training resumes at any step
from one integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data_pipeline.batches.windows import SIZES, Sizes, StepBlock, Windows, random_state


@dataclass(frozen=True)
class BatchOrder:
    """The order of a training run's rows.

    Attributes:
        num_rows: rows of an epoch.
        global_batch_size: rows of a step over all replicas.
        seed: makes the run's orders.
        sizes: fixed, but for tests and studies of the order.
    """

    num_rows: int
    global_batch_size: int
    seed: int
    sizes: Sizes = SIZES

    @property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch may be short of rows.

        >>> BatchOrder(num_rows=10, global_batch_size=4, seed=0).steps_per_epoch
        3
        """
        return -(-self.num_rows // self.global_batch_size)

    @property
    def windows(self) -> Windows | None:
        """The epoch's windows; None where the rows are few enough to be permuted."""
        if self.num_rows <= self.sizes.permuted_rows:
            return None
        return Windows(self.num_rows, self.global_batch_size, self.seed, self.sizes)

    def rows(self, block: StepBlock, *, block_steps: int, shard: int, num_shards: int) -> np.ndarray:
        """Row numbers that one of `num_shards` equal shares of the global batch trains on in a block.

        Returns:
            int64 [block_steps, global_batch_size / num_shards]; -1 where there is no row: past the epoch's
            end, and in the steps past `block.num_steps`.
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
        for part in windows.parts(block):
            of_window = windows.rows(block.epoch, part.window, shard=shard, num_shards=num_shards)
            rows[part.in_block] = of_window[part.in_window]
        return rows

    def blocks(self, *, first_step: int, last_step: int, block_steps: int) -> Blocks:
        """The run's steps [first_step, last_step), counted from its start, in blocks of up to `block_steps`.

        >>> order = BatchOrder(num_rows=10, global_batch_size=2, seed=0)
        >>> [(b.epoch, b.first_step, b.num_steps)
        ...  for b in order.blocks(first_step=1, last_step=7, block_steps=3)]
        [(0, 1, 2), (0, 3, 2), (1, 0, 2)]
        """
        return Blocks(self.steps_per_epoch, first_step, last_step, block_steps)


@dataclass(frozen=True)
class Blocks(Sequence[StepBlock]):
    """Blocks of steps, each computed when asked for: a run may be long.

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
        """Which block of the run, counted from its start, a step is in."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return epoch * self._blocks_per_epoch + within // self.block_steps


@lru_cache(maxsize=2)
def _permutation(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    return random_state(seed, epoch).permutation(num_rows)
