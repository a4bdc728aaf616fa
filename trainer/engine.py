"""The compiled heart: one call trains a block of K steps.

A step is the same arithmetic on any number of replicas:

    local      = sum over the replica's rows of  w * loss / B        (B: global batch size)
    gradients  = all-reduced sum of grad(local)  *  B / all-reduced sum(w)

which is the gradient of the weighted mean over the global batch; padding rows weigh 0. All sums travel in one
packed vector, so that a step makes one collective.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

# Dynamic loss scaling for float16: the customary constants (Micikevicius et al. 2018; Keras's own defaults).
INITIAL_LOSS_SCALE = 2.0**15
LOSS_SCALE_GROWTH_STEPS = 2000


class Engine:
    """Trains a Keras model block by block under a strategy, with the mean squared error.

    Args:
        model: from a dictionary of columns to one rating a row.
        optimizer: built here on the model's trainable variables.
        strategy: the default strategy for one device.
        global_batch_size: rows of a step over all replicas.
        block_steps: K, the steps a superbatch has room for.
        use_loss_scaling: for float16 compute.

    Create it inside `strategy.scope()`.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        strategy: tf.distribute.Strategy,
        global_batch_size: int,
        block_steps: int,
        use_loss_scaling: bool = False,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.strategy = strategy
        self.loss_scale = _LossScale() if use_loss_scaling else None
        self._global_batch_size = global_batch_size
        self._block_steps = block_steps
        self._variables = [variable.value for variable in model.trainable_variables]
        self._dtype = self._variables[0].dtype
        optimizer.build(model.trainable_variables)
        # Our gradients are already summed over the replicas; Keras's own all-reduce would sum them again.
        optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars

        # Alone on a device the whole block is one XLA program. Across replicas the optimizer's update cannot
        # be part of one (it merges the replicas), so only forward and backward are.
        self._is_alone = strategy.num_replicas_in_sync == 1
        self._local_sums = tf.function(self._forward_backward, jit_compile=not self._is_alone)
        self._block = tf.function(self._train_block, jit_compile=self._is_alone)

    def train_block(self, superbatch: Any, num_steps: int, *, stop: bool = False) -> tuple[Any, bool]:
        """Trains the first `num_steps` steps of a superbatch.

        Args:
            superbatch: per replica, columns [K, B / replicas], `rating` and `weight` among them.
            stop: whether this worker was asked to stop.

        Returns:
            The steps' losses, [K] with zeros past `num_steps` (a tensor: nothing waits for the device until
            it is read), and whether any worker was asked to stop, the same answer on all.
        """
        losses, num_stops = self._block(superbatch, tf.constant(num_steps), tf.constant(float(stop)))
        return losses, stop if self._is_alone else bool(num_stops > 0)

    def _train_block(
        self, superbatch: Any, num_steps: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        losses = tf.zeros([self._block_steps], self._dtype)
        k = tf.constant(0)
        # Not `in tf.range(num_steps)`: XLA would compile anew for every other number of steps.
        while k < num_steps:
            gradients, loss = self.strategy.run(self._global_gradients, args=(superbatch, k))
            self._apply(gradients)
            losses = tf.tensor_scatter_nd_update(losses, [[k]], [self._shared(loss)])
            k += 1
        if not self._is_alone:
            stop = self._shared(self.strategy.run(_all_reduce_sum, args=(stop,)))
        return losses, stop

    def _global_gradients(
        self, superbatch: dict[str, tf.Tensor], k: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Replica: gradients and loss of step k of the whole global batch, the same on all replicas."""
        gradients, loss, weight = self._local_sums({name: column[k] for name, column in superbatch.items()})
        if not self._is_alone:
            packed = tf.concat([*(tf.reshape(g, [-1]) for g in gradients), [loss, weight]], axis=0)
            sizes = [variable.shape.num_elements() for variable in self._variables]
            *parts, loss, weight = tf.split(_all_reduce_sum(packed), [*sizes, 1, 1])
            gradients = [tf.reshape(part, v.shape) for part, v in zip(parts, self._variables, strict=True)]
            loss, weight = loss[0], weight[0]
        to_mean = self._global_batch_size / weight
        unscale = to_mean if self.loss_scale is None else to_mean / self.loss_scale.scale
        return [gradient * unscale for gradient in gradients], loss * to_mean

    def _forward_backward(self, batch: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Replica: gradients of its rows' part of the loss, that part, and the rows' weight."""
        rating = tf.cast(batch["rating"], self._dtype)
        weight = tf.cast(batch["weight"], self._dtype)
        inputs = {name: column for name, column in batch.items() if name not in ("rating", "weight")}
        with tf.GradientTape() as tape:
            predicted = tf.cast(self.model(inputs, training=True)[:, 0], self._dtype)
            loss = tf.reduce_sum(weight * tf.square(predicted - rating)) / self._global_batch_size
            scaled = loss if self.loss_scale is None else loss * self.loss_scale.scale
        gradients = tape.gradient(scaled, self._variables, unconnected_gradients="zero")
        return [tf.convert_to_tensor(gradient) for gradient in gradients], loss, tf.reduce_sum(weight)

    def _apply(self, gradients: list[Any]) -> None:
        if self.loss_scale is None:
            self.strategy.run(self._update, args=(gradients,))
            return
        # A sum over replicas is finite only if each replica's part is: one check speaks for all of them.
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(self._shared(g))) for g in gradients])
        if finite:
            self.strategy.run(self._update, args=(gradients,))
        self.loss_scale.update(finite)

    def _update(self, gradients: list[tf.Tensor]) -> None:
        """Replica: one step of the optimizer."""
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def _shared(self, per_replica: Any) -> tf.Tensor:
        """The value that all replicas hold alike."""
        return self.strategy.experimental_local_results(per_replica)[0]


class _LossScale(tf.Module):
    """float16's dynamic loss scale: halved when a gradient overflows, doubled after 2,000 good steps."""

    def __init__(self) -> None:
        super().__init__(name="loss_scale")
        self.scale = tf.Variable(INITIAL_LOSS_SCALE, trainable=False, name="scale")
        self.good_steps = tf.Variable(0, trainable=False, name="good_steps")

    def update(self, finite: tf.Tensor) -> None:
        """Takes note of one step: whether its gradients were finite."""
        good_steps = tf.where(finite, self.good_steps + 1, 0)
        grow = good_steps >= LOSS_SCALE_GROWTH_STEPS
        scale = tf.where(finite, tf.where(grow, self.scale * 2, self.scale), self.scale / 2)
        self.scale.assign(tf.maximum(scale, 1.0))
        self.good_steps.assign(tf.where(grow, 0, good_steps))


def _all_reduce_sum(value: tf.Tensor) -> tf.Tensor:
    # identity: a value given from outside has no device of its replica yet, which the reduction needs.
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))
