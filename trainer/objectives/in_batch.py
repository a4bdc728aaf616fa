"""Each row's item against the items of the whole global batch."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from data_pipeline.errors import UserError
from trainer.models.layers import random_rows
from trainer.models.towers import towers_of
from trainer.objectives.negatives import Negatives
from trainer.objectives.objective import BATCH_BITS, BATCH_ITEMS, Batch, Objective, penalties
from trainer.objectives.sampled import NEVER, positives_only

_ITEM_STREAM = np.uint32(0x85EBCA6B)


class InBatchSoftmax(Objective):
    """-log of the row's item's share of exp(score - log of its share of training rows) in the batch.

    All scores are lowered by log(share): an item is in the batch as often as it is popular (logQ; Yi et al.
    2019, "Sampling-Bias-Corrected Neural Modeling", section 3). Items that the user has rated do not count,
    but for the row's own. Every device computes the item vectors of the whole global batch, whose indices it
    is given: so the loss is the same on any number of devices and no vectors travel.

    Args:
        model: with towers (`trainer.models.towers`).

    Raises:
        UserError: it has none.
    """

    needs_batch_items = True

    def __init__(self, model: keras.Model, negatives: Negatives, *, positive_from: float | None) -> None:
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
        own = tf.cast(batch["position"], tf.int32)
        with random_rows(bits):
            users = self._towers.user(batch["user_index"], training=True)
        penalty = penalties(self._towers.user, dtype)
        # A candidate's dropout is that of its row, on whichever device the row is.
        with random_rows(batch[BATCH_BITS] ^ _ITEM_STREAM):
            items = self._towers.item(candidates, training=True)
        of_items = penalties(self._towers.item, dtype)
        penalty += tf.gather(of_items, own) if of_items.shape.rank else of_items

        logits = tf.cast(tf.matmul(users, items, transpose_b=True), dtype)
        logits -= self._negatives.log_share(candidates, dtype)[None]
        rows, columns = logits.shape
        users_again = tf.repeat(batch["user_index"][:, None], columns, axis=1)
        items_again = tf.repeat(candidates[None], rows, axis=0)
        is_own = tf.range(columns)[None] == own[:, None]
        # Padding has item 0. A candidate may be the row's own item again: seen.
        counts = is_own | ((items_again > 0) & ~self._negatives.is_seen(users_again, items_again))
        logits = tf.where(counts, logits, tf.constant(NEVER, dtype))
        positive = tf.reduce_sum(tf.where(is_own, logits, tf.zeros_like(logits)), axis=1)
        return tf.reduce_logsumexp(logits, axis=1) - positive + penalty

    def weights(self, batch: Batch) -> tf.Tensor:
        return positives_only(batch, self._positive_from)
