"""In-batch softmax: each row's item against the other items of the global batch."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from data_pipeline.errors import UserError
from trainer.models.layers import random_rows
from trainer.models.towers import towers_of
from trainer.objectives.negatives import NegativeSampler
from trainer.objectives.objective import BATCH_BITS, BATCH_ITEMS, Batch, Objective, penalties
from trainer.objectives.sampled import EXCLUDED_LOGIT, positive_weights

# Makes the item tower's random numbers differ from the user tower's.
_ITEM_STREAM = np.uint32(0x85EBCA6B)


class InBatchSoftmax(Objective):
    """Softmax cross-entropy over the items of the global batch, with logQ correction.

    Popular items are in the batch more often. The logQ correction subtracts log(the item's share of the
    training rows) from every score (Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling", section 3).
    Items that the user has rated are excluded, except the row's own item. Every device computes the item
    vectors of the whole global batch from their indices. This gives the same loss on any number of devices,
    and no vectors are exchanged.

    Args:
        model: a model with towers (`trainer.models.towers`).

    Raises:
        UserError: the model has no towers.
    """

    needs_batch_items = True

    def __init__(
        self, model: keras.Model, negatives: NegativeSampler, *, positive_from: float | None
    ) -> None:
        towers = towers_of(model)
        if towers is None:
            raise UserError(
                f"objective.name=in-batch-softmax needs a model with towers (mf, two-tower), got {model.name}"
            )
        self._towers = towers
        self._negatives = negatives
        self._positive_from = positive_from

    def losses(self, model: keras.Model, batch: Batch, bits: tf.Tensor) -> tf.Tensor:
        dtype = model.trainable_variables[0].value.dtype
        candidates = batch[BATCH_ITEMS]
        position = tf.cast(batch["position"], tf.int32)
        with random_rows(bits):
            users = self._towers.user(batch["user_index"], training=True)
        penalty = penalties(self._towers.user, dtype)
        # A candidate's dropout depends on its row, not on the device that computes it.
        with random_rows(batch[BATCH_BITS] ^ _ITEM_STREAM):
            items = self._towers.item(candidates, training=True)
        item_penalty = penalties(self._towers.item, dtype)
        penalty += tf.gather(item_penalty, position) if item_penalty.shape.rank else item_penalty

        logits = tf.cast(tf.matmul(users, items, transpose_b=True), dtype)
        logits -= self._negatives.log_share(candidates, dtype)[None]
        rows, columns = logits.shape
        pair_users = tf.repeat(batch["user_index"][:, None], columns, axis=1)
        pair_items = tf.repeat(candidates[None], rows, axis=0)
        is_positive = tf.range(columns)[None] == position[:, None]
        # Padding rows have item 0. Other rows with the positive item are excluded as seen.
        is_included = is_positive | ((pair_items > 0) & ~self._negatives.is_seen(pair_users, pair_items))
        logits = tf.where(is_included, logits, tf.constant(EXCLUDED_LOGIT, dtype))
        positive = tf.reduce_sum(tf.where(is_positive, logits, tf.zeros_like(logits)), axis=1)
        return tf.reduce_logsumexp(logits, axis=1) - positive + penalty

    def weights(self, batch: Batch) -> tf.Tensor:
        return positive_weights(batch, self._positive_from)
