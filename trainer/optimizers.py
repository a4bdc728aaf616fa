"""The optimizers that a configuration names."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.config import OptimizerConfig


class Adam(keras.optimizers.Adam):
    """Keras's Adam with its bias correction in the variable's precision.

    Keras 3.15 rounds beta_1 and beta_2 to float32 first, so that in float64 the first steps are wrong by
    1e-5 of themselves. In float32 the two agree to rounding.

        m += (g - m) (1 - beta_1)
        v += (g^2 - v) (1 - beta_2)
        w -= rate sqrt(1 - beta_2^t) / (1 - beta_1^t)  m / (sqrt(v) + epsilon)

    Source: Kingma & Ba 2015, section 2, last paragraph; epsilon 1e-7 is Keras's.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        correction_1 = 1 - tf.pow(tf.constant(self.beta_1, dtype), step)
        correction_2 = 1 - tf.pow(tf.constant(self.beta_2, dtype), step)
        rate = tf.cast(learning_rate, dtype) * tf.sqrt(correction_2) / correction_1
        m = self._momentums[self._get_variable_index(variable)]
        v = self._velocities[self._get_variable_index(variable)]
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (tf.square(gradient) - v) * (1 - self.beta_2))
        self.assign_sub(variable, rate * m / (tf.sqrt(v) + self.epsilon))


OPTIMIZERS = {"adam": Adam, "sgd": keras.optimizers.SGD}


def make_optimizer(config: OptimizerConfig) -> keras.optimizers.Optimizer:
    """The configured optimizer, not yet built."""
    return OPTIMIZERS[config.name](learning_rate=config.learning_rate)
