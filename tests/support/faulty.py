"""The `reeltrain` command with an injected bug, for tests of `verify`: faulty.py BUG ARGUMENTS."""

from __future__ import annotations

import sys

import numpy as np


def shift_one_replicas_batch() -> None:
    """The last replica trains on the wrong rows, shifted by one; a single device works correctly."""
    from data_pipeline.batches.order import BatchOrder

    rows = BatchOrder.rows

    def shifted(self, block, *, block_steps, shard, num_shards):
        own = rows(self, block, block_steps=block_steps, shard=shard, num_shards=num_shards)
        if num_shards == 1 or shard != num_shards - 1:
            return own
        return np.where(own >= 0, (own + 1) % self.num_rows, own)

    BatchOrder.rows = shifted


def reduce_nothing() -> None:
    """The all-reduce does nothing: every replica keeps its own values."""
    import tensorflow as tf

    tf.distribute.StrategyExtended.reduce_to = lambda _self, _op, value, *_args, **_kwargs: value


def fail_on_replicas() -> None:
    """Only a single device can be set up."""
    import tensorflow as tf

    def broken(*_args, **_kwargs):
        raise RuntimeError("no such strategy here")

    tf.distribute.MirroredStrategy = broken


if __name__ == "__main__":
    {f.__name__: f for f in (shift_one_replicas_batch, reduce_nothing, fail_on_replicas)}[sys.argv[1]]()
    from launch.main import main

    main(sys.argv[2:])
