"""One step of the optimizer, from the gradients of the whole global batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.engine.gradients import LocalGradients
from trainer.engine.loss_scale import LossScale
from trainer.engine.sparse_rows import sum_duplicates


class Update:
    """Applies summed gradients to one device's copies of all variables.

    Args:
        optimizer: built on the variables; one of `trainer.engine.optimizers`.
        dense, sparse: the Keras variables; `sparse` are tables with gradients of single rows.
        global_batch_size: the sums were divided by it.
        loss_scale: the gradients were multiplied by it, if given.
        compiled: compiles a function; sparse tables are updated outside of it, in place.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        *,
        dense: Sequence[Any],
        sparse: Sequence[Any],
        global_batch_size: int,
        loss_scale: LossScale | None,
        compiled: Callable[[Callable], Callable],
    ) -> None:
        self._optimizer = optimizer
        self._dense = dense
        self._sparse = sparse
        self._global_batch_size = global_batch_size
        self._loss_scale = loss_scale
        self._update_dense = compiled(self._dense_update)

    def __call__(self, parts: list[LocalGradients]) -> tf.Tensor:
        """Applies the sum of the parts; returns the loss of the step."""
        rows = [
            sum_duplicates(
                tf.concat([part.indices[table] for part in parts], axis=0),
                tf.concat([part.rows[table] for part in parts], axis=0),
            )
            for table in range(len(self._sparse))
        ]
        needs_norm = self._optimizer.global_clipnorm is not None or self._loss_scale is not None
        square = [tf.reduce_sum(tf.square(gradient.values)) for gradient in rows] if needs_norm else []
        dense = [[part.dense, part.loss, part.weight] for part in parts]
        loss, factor, finite = self._update_dense(dense, square)
        if rows:
            self._when(finite, lambda: self._sparse_update(rows, factor))
        # Last, because the updates above add this step to the count themselves.
        self._when(finite, lambda: self._optimizer.iterations.value.assign_add(1))
        return loss

    def _dense_update(self, parts: list, square: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Updates the dense variables; (loss, factor of the sums, whether all are finite)."""
        gradients = [tf.add_n(parts) for parts in zip(*(dense for dense, _, _ in parts), strict=True)]
        weight = tf.add_n([weight for _, _, weight in parts])
        to_mean = tf.math.divide_no_nan(tf.cast(self._global_batch_size, weight.dtype), weight)
        loss = tf.add_n([loss for _, loss, _ in parts]) * to_mean
        factor, finite = to_mean, tf.constant(True)
        clipnorm = self._optimizer.global_clipnorm
        if clipnorm is not None or self._loss_scale is not None:
            square = tf.add_n([*square, *(tf.reduce_sum(tf.square(gradient)) for gradient in gradients)])
        if self._loss_scale is not None:
            # A sum over replicas is finite only if every replica's part is: one check covers all of them.
            finite = tf.math.is_finite(square)
            factor = factor / tf.cast(self._loss_scale.scale, weight.dtype)
        if clipnorm is not None:
            factor *= clipnorm / tf.maximum(factor * tf.sqrt(square), clipnorm)

        def update() -> None:
            rate = self._optimizer.learning_rate.value
            for gradient, variable in zip(gradients, self._dense, strict=True):
                self._optimizer.update_step(gradient * factor, variable, rate)

        self._when(finite, update)
        if self._loss_scale is not None:
            self._loss_scale.update(finite)
        return loss, factor, finite

    def _sparse_update(self, rows: list[tf.IndexedSlices], factor: tf.Tensor) -> None:
        for gradient, variable in zip(rows, self._sparse, strict=True):
            scaled = tf.IndexedSlices(gradient.values * factor, gradient.indices)
            self._optimizer.update_step(scaled, variable, self._optimizer.learning_rate.value)

    def _when(self, finite: tf.Tensor, update: Callable[[], Any]) -> None:
        """Updates if all gradients are finite; without loss scaling they are not checked."""
        if self._loss_scale is None:
            update()
        else:

            def updated() -> tf.Tensor:
                update()
                return tf.constant(True)

            tf.cond(finite, updated, lambda: tf.constant(False))
