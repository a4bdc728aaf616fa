"""The input pipeline: tf.data superbatches of K global batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data_pipeline.columns import Columns
from data_pipeline.order import BatchOrder, Block

# Two superbatches ready while one trains: measured enough, and bounded memory.
PREFETCH = 2


def superbatches(
    columns: Columns,
    order: BatchOrder,
    blocks: Sequence[Block],
    *,
    block_steps: int,
    shards: range,
    num_shards: int,
) -> tf.data.Dataset:
    """Superbatches for the local replicas of one worker, a pure function of (seed, epoch, step).

    Args:
        blocks: what to train, in order; start anywhere by giving fewer.
        block_steps: K, the steps a superbatch has room for.
        shards: the worker's shares of the global batch, one per local replica.
        num_shards: shares of the global batch over all workers.

    Returns:
        A dataset of dictionaries, for each block one per local replica in turn, with arrays
        [K, global_batch_size / num_shards]: `user_index`, `item_index` (int32), `rating`, `weight` (float32).
        Weights are the rows' own, 1 where the data has none. Where an epoch's last batch has no row, all four
        are 0: the unknown user and item, so that padding reads no other id's embedding.
    """

    def superbatch(number: np.ndarray) -> tuple[np.ndarray, ...]:
        block, local_replica = divmod(int(number), len(shards))
        rows = order.rows(
            blocks[block], block_steps=block_steps, shard=shards[local_replica], num_shards=num_shards
        )
        there = rows >= 0
        there_or_first = np.where(there, rows, 0)

        def taken(column: np.ndarray) -> np.ndarray:
            return np.where(there, column[there_or_first], 0)

        return (
            taken(columns.user_index),
            taken(columns.item_index),
            taken(columns.rating),
            there.astype(np.float32) if columns.weight is None else taken(columns.weight),
        )

    shape = (block_steps, order.global_batch_size // num_shards)
    names = {"user_index": tf.int32, "item_index": tf.int32, "rating": tf.float32, "weight": tf.float32}

    def element(number: tf.Tensor) -> dict[str, tf.Tensor]:
        arrays = tf.numpy_function(superbatch, [number], list(names.values()), stateful=False)
        return {name: tf.ensure_shape(a, shape) for name, a in zip(names, arrays, strict=True)}

    return (
        tf.data.Dataset.range(len(blocks) * len(shards))
        .map(element, num_parallel_calls=1, deterministic=True)
        .prefetch(PREFETCH * len(shards))
    )
