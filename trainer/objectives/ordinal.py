"""Ordinal regression: ratings as ordered grades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.models.inputs import output_dtype
from trainer.models.layers import random_rows
from trainer.objectives.objective import Batch, Objective, penalties

HEAD_NAME = "ordinal"


@keras.saving.register_keras_serializable(package="reeltrain")
class OrdinalHead(keras.layers.Layer):
    """Turns a score into an expected rating and grade logits: [batch, 1] -> [batch, 1 + (grades - 1)].

    P(rating > grade k) = sigmoid(score - t_k), with trained thresholds t_1 < t_2 < ... (proportional odds
    model, McCullagh 1980). The first column is the expected rating, the others are the logits score - t_k.

    Args:
        grades: the distinct ratings, ascending.
        shares: each grade's share of the training rows. With the initial thresholds, a score of 0 predicts
            these shares.
    """

    def __init__(self, grades: Sequence[float], shares: Sequence[float], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.grades = np.asarray(grades, np.float64)
        self.shares = np.asarray(shares, np.float64)
        below = np.cumsum(shares)[:-1]
        thresholds = np.log(below / (1 - below))
        # The distances between thresholds are softplus(steps), so the thresholds stay in order.
        steps = np.log(np.expm1(np.diff(thresholds)))
        self.first = self._weight("first_threshold", thresholds[:1])
        self.steps = self._weight("threshold_steps", steps)
        self.built = True

    def call(self, score: tf.Tensor) -> tf.Tensor:
        score = tf.cast(score, self.compute_dtype)
        first = tf.cast(self.first.value, score.dtype)
        steps = tf.nn.softplus(tf.cast(self.steps.value, score.dtype))
        logits = score - tf.concat([first, first + tf.cumsum(steps)], axis=0)
        gaps = tf.constant(np.diff(self.grades), score.dtype)
        expected = float(self.grades[0]) + tf.reduce_sum(tf.sigmoid(logits) * gaps, axis=1, keepdims=True)
        return tf.concat([expected, logits], axis=1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], len(self.grades))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grades": self.grades.tolist(), "shares": self.shares.tolist()}

    def _weight(self, name: str, value: np.ndarray) -> Any:
        def initializer(shape: tuple, dtype: str) -> tf.Tensor:
            return tf.constant(value, dtype, shape)

        return self.add_weight(shape=value.shape, initializer=initializer, name=name, autocast=False)


def with_ordinal_head(model: keras.Model, grades: Sequence[float], shares: Sequence[float]) -> keras.Model:
    """The model followed by an `OrdinalHead`: column 0 of the output is the expected rating."""
    head = OrdinalHead(grades, shares, dtype=output_dtype(), name=HEAD_NAME)
    return keras.Model(model.input, head(model.output), name=model.name)


class Ordinal(Objective):
    """Sum over k of the binary cross-entropy of "is the rating above grade k?".

    Args:
        model: a model made by `with_ordinal_head`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._grades_but_highest = model.get_layer(HEAD_NAME).grades[:-1]

    def losses(self, model: keras.Model, batch: Batch, bits: tf.Tensor) -> tf.Tensor:
        columns = {name: batch[name] for name in ("user_index", "item_index")}
        with random_rows(bits):
            logits = model(columns, training=True)[:, 1:]
        rating = tf.cast(batch["rating"], logits.dtype)[:, None]
        is_above = tf.cast(rating > tf.constant(self._grades_but_highest, logits.dtype), logits.dtype)
        cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=is_above, logits=logits)
        return tf.reduce_sum(cross_entropy, axis=1) + penalties(model, logits.dtype)
