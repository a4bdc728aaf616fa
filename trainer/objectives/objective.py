"""What all objectives have in common."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.models.layers import random_rows
from trainer.stateless_random import mix, unit_bits

# The column that holds the items of the whole global batch, [batch], on every device.
BATCH_ITEMS = "batch_item_index"
# Its rows' random numbers, uint32 [batch].
BATCH_BITS = "batch_bits"
# So that a row's pairs have other random numbers than the negatives that make them.
_PAIR_STREAM = np.uint32(0x5BD1E995)

Batch = dict[str, tf.Tensor]


class Objective:
    """One loss a row.

    Attributes:
        pairs_per_row: how many (user, item) pairs the model scores for a row.
        needs_batch_items: whether the batch must have the column `BATCH_ITEMS`.
    """

    pairs_per_row = 1
    needs_batch_items = False

    def losses(self, model: keras.Model, batch: Batch, bits: tf.Tensor) -> tf.Tensor:
        """The rows' losses, [rows], with the penalties that the model's layers add.

        Args:
            batch: columns [rows]: `user_index`, `item_index`, `rating`, `position`.
            bits: random numbers of the rows, uint32 [rows].
        """
        raise NotImplementedError

    def weights(self, batch: Batch) -> tf.Tensor:
        """How much each row counts, [rows]; 0: not at all."""
        return batch["weight"]


def penalties(model: keras.Model, dtype: tf.DType) -> tf.Tensor:
    """The sum of what the layers of the last call added to `losses`.

    A penalty is one number a row (Embedding's) or one for all rows (a Keras regularizer); so is the sum.
    """
    return sum((tf.cast(each, dtype) for each in model.losses), tf.zeros([], dtype))


def score_pairs(
    model: keras.Model, user_index: tf.Tensor, items: tf.Tensor, bits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """(scores [rows, pairs], mean penalty of a row's pairs [rows]) of each row's user and several items.

    Args:
        user_index: int32 [rows].
        items: int32 [rows, pairs].
        bits: random numbers of the rows, uint32 [rows]; each pair gets its own.
    """
    pairs = items.shape[1]
    columns = {
        "user_index": tf.reshape(tf.repeat(user_index[:, None], pairs, axis=1), [-1]),
        "item_index": tf.reshape(items, [-1]),
    }
    of_pairs = unit_bits(mix(bits ^ _PAIR_STREAM), tf.constant(np.arange(pairs, dtype=np.uint32)))
    with random_rows(tf.reshape(of_pairs, [-1])):
        # A model of one's own may end in half precision.
        scores = tf.cast(model(columns, training=True)[:, 0], model.trainable_variables[0].value.dtype)
    penalty = penalties(model, scores.dtype)
    if penalty.shape.rank:
        penalty = tf.reduce_mean(tf.reshape(penalty, [-1, pairs]), axis=1)
    return tf.reshape(scores, [-1, pairs]), penalty
