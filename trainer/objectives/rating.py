"""Squared error of predicted ratings."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.models.layers import random_rows
from trainer.objectives.objective import Batch, Objective, penalties


class MeanSquaredError(Objective):
    """The squared error (score - rating)^2."""

    def losses(self, model: keras.Model, batch: Batch, bits: tf.Tensor) -> tf.Tensor:
        dtype = model.trainable_variables[0].value.dtype
        columns = {name: batch[name] for name in ("user_index", "item_index")}
        with random_rows(bits):
            predicted = tf.cast(model(columns, training=True)[:, 0], dtype)
        return tf.square(predicted - tf.cast(batch["rating"], dtype)) + penalties(model, dtype)
