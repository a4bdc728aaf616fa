"""Ratings as ordered grades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.models.inputs import output_dtype
from trainer.models.layers import random_rows
from trainer.objectives.objective import Batch, Objective, penalties

HEAD = "ordinal"


@keras.saving.register_keras_serializable(package="reeltrain")
class OrdinalHead(keras.layers.Layer):
    """A score becomes the probabilities of grades: [batch, 1] -> [batch, 1 + grades - 1].

    P(rating > grade k) = sigmoid(score - t_k), with thresholds t_1 < t_2 < ... trained along (proportional
    odds, McCullagh 1980). The first column is the expected rating, the others are score - t_k.

    Args:
        grades: the different ratings, ascending.
        shares: how many of the training rows have each, of all; the thresholds begin where a score of 0
            predicts them.
    """

    def __init__(self, grades: Sequence[float], shares: Sequence[float], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.grades = np.asarray(grades, np.float64)
        self.shares = np.asarray(shares, np.float64)
        below = np.cumsum(shares)[:-1]
        thresholds = np.log(below / (1 - below))
        # softplus of the steps keeps the thresholds in order.
        steps = np.log(np.expm1(np.diff(thresholds)))
        self.first = self._weight("first_threshold", thresholds[:1])
        self.steps = self._weight("threshold_steps", steps)
        self.built = True

    def call(self, score: tf.Tensor) -> tf.Tensor:
        score = tf.cast(score, self.compute_dtype)
        first = tf.cast(self.first.value, score.dtype)
        steps = tf.nn.softplus(tf.cast(self.steps.value, score.dtype))
        logits = score - tf.concat([first, first + tf.cumsum(steps)], axis=0)
        rises = tf.constant(np.diff(self.grades), score.dtype)
        expected = float(self.grades[0]) + tf.reduce_sum(tf.sigmoid(logits) * rises, axis=1, keepdims=True)
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
    """The model with `OrdinalHead` behind it: column 0 of its output is a rating."""
    head = OrdinalHead(grades, shares, dtype=output_dtype(), name=HEAD)
    return keras.Model(model.input, head(model.output), name=model.name)


class Ordinal(Objective):
    """Binary cross-entropy of each "is the rating above grade k?", summed over k; needs `OrdinalHead`.

    Args:
        model: of `with_ordinal_head`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._lower = model.get_layer(HEAD).grades[:-1]

    def losses(self, model: keras.Model, batch: Batch, bits: tf.Tensor) -> tf.Tensor:
        columns = {name: batch[name] for name in ("user_index", "item_index")}
        with random_rows(bits):
            logits = model(columns, training=True)[:, 1:]
        above = tf.cast(
            tf.cast(batch["rating"], logits.dtype)[:, None] > tf.constant(self._lower, logits.dtype),
            logits.dtype,
        )
        cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=above, logits=logits)
        return tf.reduce_sum(cross_entropy, axis=1) + penalties(model, logits.dtype)
