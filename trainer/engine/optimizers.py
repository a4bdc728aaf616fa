"""Keras's optimizers with an update for single rows of large tables.

A gradient is a tensor, or `tf.IndexedSlices` with unique indices: then the update reads and writes only those
rows of the variable and of the optimizer's state. t counts the steps of the run from 1. Weight decay is
decoupled (Loshchilov & Hutter 2019): w -= rate weight_decay w, for the updated rows.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from trainer.config import OptimizerConfig
from trainer.engine.sparse_rows import sum_duplicates
from trainer.models.tables import table_of

Gradient = Any  # tf.Tensor or tf.IndexedSlices; TensorFlow ships no types


class _ForFit:
    """What Keras's `apply`, and so `fit` on one device, does otherwise than the engine."""

    def _apply_weight_decay(self, variables: list) -> None:
        """Does nothing: `update_step` decays the weights, of a sparse table only the rows in question."""

    def _backend_update_step(self, grads: list, trainable_variables: list, learning_rate: Any) -> None:
        """Sums the gradients of a row that the batch looks up several times, as the engine does."""
        grads = [sum_duplicates(g.indices, g.values) if isinstance(g, tf.IndexedSlices) else g for g in grads]
        super()._backend_update_step(grads, trainable_variables, learning_rate)  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="reeltrain")
class Adam(_ForFit, keras.optimizers.Adam):
    """Adam with an exact bias correction; lazy on large tables.

    Keras 3.15 rounds beta_1 and beta_2 to float32: 1 - beta_2^t, and with it the first steps, have a relative
    error of 1e-5, in float32 and float64. Here 1 - beta^t is -expm1(t log beta).

        m += (g - m) (1 - beta_1)
        v += (g^2 - v) (1 - beta_2)
        w -= rate sqrt(1 - beta_2^t) / (1 - beta_1^t)  m / (sqrt(v) + epsilon)

    Source: Kingma & Ba 2015, section 2, last paragraph; epsilon 1e-7 is Keras's. Lazy: rows outside the batch
    keep w, m and v, as in torch.optim.SparseAdam.

    Raises:
        ValueError: `amsgrad`, which this update does not have.
    """

    def build(self, variables: list) -> None:
        if self.amsgrad:
            raise ValueError("amsgrad must be False, got True")
        super().build(variables)

    def update_step(self, gradient: Gradient, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        step = tf.cast(self.iterations.value + 1, dtype)
        correction_1 = -tf.math.expm1(step * math.log(self.beta_1))
        correction_2 = -tf.math.expm1(step * math.log(self.beta_2))
        rate = tf.cast(learning_rate, dtype) * tf.sqrt(correction_2) / correction_1
        momentum = self._momentums[self._get_variable_index(variable)]
        velocity = self._velocities[self._get_variable_index(variable)]
        g = _values(gradient)
        m, v = _read(momentum, gradient), _read(velocity, gradient)
        m += (g - m) * (1 - self.beta_1)
        v += (tf.square(g) - v) * (1 - self.beta_2)
        _write(momentum, gradient, m)
        _write(velocity, gradient, v)
        w = _decayed(variable, gradient, self.weight_decay, learning_rate)
        _write(variable, gradient, w - rate * m / (tf.sqrt(v) + self.epsilon))


@keras.saving.register_keras_serializable(package="reeltrain")
class Adagrad(_ForFit, keras.optimizers.Adagrad):
    """Adagrad, row-wise on embedding tables: one accumulator per row instead of one per weight.

        a += g^2                    for a table's row: a += mean of g^2 over the row
        w -= rate g / sqrt(a + epsilon)

    Source: Duchi et al. 2011 with Keras's a = 0.1 at the start and epsilon 1e-7; row-wise as in FBGEMM's
    EXACT_ROWWISE_ADAGRAD. A row without a gradient does not change, so dense and sparse tables train alike.
    """

    def build(self, variables: list) -> None:
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)

        def initializer(shape: tuple, dtype: str) -> tf.Tensor:
            # Keras's own Constant is rounded to float32 first.
            return tf.constant(self.initial_accumulator_value, dtype, shape)

        self._accumulators = [
            self.add_variable(
                shape=(variable.shape[0], 1) if table_of(variable) else variable.shape,
                initializer=initializer,
                dtype=variable.dtype,
                name=f"{variable.path.replace('/', '_')}_accumulator",
            )
            for variable in variables
        ]

    def update_step(self, gradient: Gradient, variable: Any, learning_rate: Any) -> None:
        accumulator = self._accumulators[self._get_variable_index(variable)]
        g = _values(gradient)
        square = tf.square(g)
        # In `fit` the variable is TensorFlow's, which does not say whether it is a table.
        if accumulator.shape != variable.shape:
            square = tf.reduce_mean(square, axis=1, keepdims=True)
        a = _read(accumulator, gradient) + square
        _write(accumulator, gradient, a)
        w = _decayed(variable, gradient, self.weight_decay, learning_rate)
        _write(variable, gradient, w - tf.cast(learning_rate, w.dtype) * g / tf.sqrt(a + self.epsilon))


@keras.saving.register_keras_serializable(package="reeltrain")
class SGD(_ForFit, keras.optimizers.SGD):
    """Stochastic gradient descent, with momentum if it is above 0; lazy on large tables.

        v = momentum v - rate g
        w += v

    Source: Keras. Lazy: rows outside the batch keep w and v.

    Raises:
        ValueError: `nesterov`, which this update does not have.
    """

    def build(self, variables: list) -> None:
        if self.nesterov:
            raise ValueError("nesterov must be False, got True")
        super().build(variables)

    def update_step(self, gradient: Gradient, variable: Any, learning_rate: Any) -> None:
        w = _decayed(variable, gradient, self.weight_decay, learning_rate)
        change = -tf.cast(learning_rate, w.dtype) * _values(gradient)
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            change += self.momentum * _read(velocity, gradient)
            _write(velocity, gradient, change)
        _write(variable, gradient, w + change)


# Add new names to `trainer.config.OptimizerConfig`, too.
OPTIMIZERS = {"adam": Adam, "adagrad": Adagrad, "sgd": SGD}


def make_optimizer(config: OptimizerConfig) -> keras.optimizers.Optimizer:
    """The configured optimizer, not yet built."""
    own = {"momentum": config.momentum} if config.name == "sgd" else {}
    return OPTIMIZERS[config.name](
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay or None,
        global_clipnorm=config.global_clipnorm,
        **own,
    )


def _tensorflow(variable: Any) -> Any:
    """The TensorFlow variable of a Keras one; Keras's `apply` passes the former."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _values(gradient: Gradient) -> tf.Tensor:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _read(variable: Any, gradient: Gradient) -> tf.Tensor:
    """The variable, or only its rows with a gradient."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.gather(_tensorflow(variable), gradient.indices)
    return tf.convert_to_tensor(_tensorflow(variable))


def _write(variable: Any, gradient: Gradient, new: tf.Tensor) -> None:
    if isinstance(gradient, tf.IndexedSlices):
        _tensorflow(variable).scatter_update(tf.IndexedSlices(new, gradient.indices))
    else:
        _tensorflow(variable).assign(new)


def _decayed(variable: Any, gradient: Gradient, weight_decay: float | None, rate: Any) -> tf.Tensor:
    w = _read(variable, gradient)
    return w - tf.cast(rate, w.dtype) * weight_decay * w if weight_decay else w
