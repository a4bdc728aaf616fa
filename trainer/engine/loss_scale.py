"""Dynamic loss scaling for float16."""

from __future__ import annotations

import tensorflow as tf

# The usual 2^15 (Micikevicius et al. 2018) overflows in the first steps, which are then skipped; their number
# depends on the rows that a device sums. Gradients are divided by the batch: 2^11 leaves room on both sides.
INITIAL_LOSS_SCALE = 2.0**11
# The usual value, also Keras's default.
GROWTH_STEPS = 2000


class LossScale(tf.Module):
    """The factor of the loss: halved when a gradient overflows, doubled after 2,000 good steps."""

    def __init__(self) -> None:
        super().__init__(name="loss_scale")
        self.scale = tf.Variable(INITIAL_LOSS_SCALE, trainable=False, name="scale")
        self.good_steps = tf.Variable(0, trainable=False, name="good_steps")

    def update(self, finite: tf.Tensor) -> None:
        """Records whether the gradients of a step were finite."""
        good_steps = tf.where(finite, self.good_steps + 1, 0)
        grow = good_steps >= GROWTH_STEPS
        scale = tf.where(finite, tf.where(grow, self.scale * 2, self.scale), self.scale / 2)
        self.scale.assign(tf.maximum(scale, 1.0))
        self.good_steps.assign(tf.where(grow, 0, good_steps))
