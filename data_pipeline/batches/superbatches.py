"""The input pipeline: tf.data elements (superbatches), each with the batches of one compiled call."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import tensorflow as tf

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.reader import make_readers
from data_pipeline.batches.windows import StepBlock
from data_pipeline.dataset.columns import DTYPES, Columns

# Two superbatches are ready while one trains: measured to be enough, and memory stays bounded.
PREFETCH = 2


def superbatches(
    columns: Columns,
    order: BatchOrder,
    blocks: Sequence[StepBlock],
    *,
    block_steps: int,
    shards: range,
    num_shards: int,
    with_batch_items: bool = False,
    lifetime: contextlib.ExitStack | None = None,
) -> tf.data.Dataset:
    """Superbatches for the local replicas of one worker; a pure function of (seed, epoch, step).

    Args:
        blocks: the blocks to train, in order; to resume, leave out the finished ones.
        block_steps: K, the number of steps in a superbatch.
        shards: the worker's shards of the global batch, one per local replica.
        num_shards: the number of shards of the global batch over all workers.
        with_batch_items: adds `batch_item_index`, int32 [K, global_batch_size]: the items of the whole global
            batch, the same for all replicas.
        lifetime: releases the columns when it closes; then all elements are padding. TensorFlow keeps
            the functions that a dataset calls, and all that they refer to, until the process ends.

    Returns:
        A dataset of dictionaries, for each block one per local replica in turn, with arrays
        [K, global_batch_size / num_shards]: `user_index`, `item_index` (int32), `rating`, `weight` (float32).
        `weight` is 1 if the data has no weights. In padding all four are 0: padding uses the embedding of the
        unknown user and item and no other. Iterate from one thread at a time.
    """
    readers = make_readers(columns, order, blocks, shards=shards, num_shards=num_shards)
    shape = (block_steps, order.global_batch_size // num_shards)
    specs = {name: (shape, tf.as_dtype(dtype)) for name, dtype in DTYPES.items()}
    if with_batch_items:
        # The only column that is read of other workers' rows.
        batch_reader = make_readers(columns.only("item_index"), order, blocks, shards=range(1), num_shards=1)[
            0
        ]
        specs["batch_item_index"] = ((block_steps, order.global_batch_size), tf.int32)

    @lru_cache(maxsize=1)  # consecutive superbatches belong to the same block
    def batch_items(block: StepBlock) -> np.ndarray:
        return batch_reader.superbatch(block, block_steps)["item_index"]

    def read(number: np.ndarray) -> list[np.ndarray]:
        block, local_replica = divmod(int(number), len(shards))
        filled = readers[local_replica].superbatch(blocks[block], block_steps)
        if with_batch_items:
            filled["batch_item_index"] = batch_items(blocks[block])
        return [filled[name] for name in specs]

    layout = tuple(specs.values())
    reading = [read]
    if lifetime is not None:
        lifetime.callback(reading.clear)

    def superbatch(number: np.ndarray) -> list[np.ndarray]:
        # Released, it is still called for what the dataset fetches ahead.
        for function in tuple(reading):
            return function(number)
        return [np.zeros(shape, dtype.as_numpy_dtype) for shape, dtype in layout]

    @tf.autograph.experimental.do_not_convert
    def element(number: tf.Tensor) -> dict[str, tf.Tensor]:
        types = [dtype for _, dtype in specs.values()]
        arrays = tf.numpy_function(superbatch, [number], types, stateful=False)
        return {
            name: tf.ensure_shape(array, shape)
            for (name, (shape, _)), array in zip(specs.items(), arrays, strict=True)
        }

    options = tf.data.Options()
    # There is nothing to tune, and tf.data's tuning thread may miss the end of the iterator: it then sleeps
    # for up to a minute, and closing the iterator waits for it (docs/LOG.md).
    options.autotune.enabled = False
    return (
        tf.data.Dataset.range(len(blocks) * len(shards))
        .map(element, num_parallel_calls=1, deterministic=True)
        .prefetch(PREFETCH * len(shards))
        .with_options(options)
    )
