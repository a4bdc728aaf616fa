"""The interface of objectives, and what several of them share."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.models.layers import random_rows
from trainer.stateless_random import mix, unit_bits

# The column with the items of the whole global batch, int32 [batch], on every device.
BATCH_ITEMS = "batch_item_index"
# The column with the random numbers of the rows of the whole global batch, uint32 [batch].
BATCH_BITS = "batch_bits"
# Makes the random numbers of a row's pairs (for dropout) differ from the draws of its negatives.
_PAIR_STREAM = np.uint32(0x5BD1E995)

Batch = dict[str, tf.Tensor]


class Objective:
    """Computes one loss per row.

    Attributes:
        pairs_per_row: the number of (user, item) pairs that the model scores for a row.
        needs_batch_items: whether the batch must have the column `BATCH_ITEMS`.
    """

    pairs_per_row = 1
    needs_batch_items = False

    def losses(self, model: keras.Model, batch: Batch, bits: tf.Tensor) -> tf.Tensor:
        """The losses of the rows, [rows], including the penalties that the model's layers add.

        Args:
            batch: columns [rows]: `user_index`, `item_index`, `rating`, `position`.
            bits: random numbers of the rows, uint32 [rows].
        """
        raise NotImplementedError

    def weights(self, batch: Batch) -> tf.Tensor:
        """The weights of the rows, [rows]; a row of weight 0 is ignored."""
        return batch["weight"]


def penalties(model: keras.Model, dtype: tf.DType) -> tf.Tensor:
    """The sum of the penalties that the layers added to `losses` in the last call: [rows] or a scalar.

    Our Embedding adds one penalty per row, a Keras regularizer one scalar for all rows.
    """
    return sum((tf.cast(each, dtype) for each in model.losses), tf.zeros([], dtype))


def score_pairs(
    model: keras.Model, user_index: tf.Tensor, items: tf.Tensor, bits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores several items for each row's user: (scores [rows, pairs], mean penalty of the pairs [rows]).

    Args:
        user_index: int32 [rows].
        items: int32 [rows, pairs].
        bits: random numbers of the rows, uint32 [rows]; each pair gets a different one derived from them.
    """
    pairs = items.shape[1]
    columns = {
        "user_index": tf.reshape(tf.repeat(user_index[:, None], pairs, axis=1), [-1]),
        "item_index": tf.reshape(items, [-1]),
    }
    pair_bits = unit_bits(mix(bits ^ _PAIR_STREAM), tf.constant(np.arange(pairs, dtype=np.uint32)))
    with random_rows(tf.reshape(pair_bits, [-1])):
        # The output of a custom model may have half precision.
        scores = tf.cast(model(columns, training=True)[:, 0], model.trainable_variables[0].value.dtype)
    penalty = penalties(model, scores.dtype)
    if penalty.shape.rank:
        penalty = tf.reduce_mean(tf.reshape(penalty, [-1, pairs]), axis=1)
    return tf.reshape(scores, [-1, pairs]), penalty
