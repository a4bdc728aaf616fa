"""The compiled heart: one call trains a block of K steps.

A step is the same arithmetic on any number of replicas:

    local      = sum over the replica's rows of  w * loss / B        (B: global batch size)
    gradients  = all-reduced sum of grad(local)  *  B / all-reduced sum(w)

which is the gradient of the weighted mean over the global batch; padding rows weigh 0. All sums travel in one
packed vector, so that a step makes one collective; then every replica makes the same update of its own copy.

Alone on a device and with small batches, the whole block is one XLA program. Else the steps are a loop in one
TensorFlow graph: its parts are XLA programs, and large tables are updated in place between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from trainer.gradients import GradientFunction, LocalGradients, chunks_of, positions
from trainer.loss_scale import LossScale
from trainer.sparse import pack_rows, sum_duplicates, unpack_rows

# From so many rows a core on, cutting the batch among the cores pays for running step by step.
STEPWISE_ROWS_PER_THREAD = 1024


class Engine:
    """Trains a Keras model block by block under a strategy, with the mean squared error.

    Args:
        model: from a dictionary of columns to one rating a row. The losses that its layers add count: a
            tensor [batch] is each row's own, a scalar one for all (a Keras regularizer).
        optimizer: built here on the model's trainable variables; one of `trainer.optimizers`.
        strategy: the default strategy for one device.
        global_batch_size: rows of a step over all replicas.
        block_steps: K, the steps a superbatch has room for.
        accumulation_steps: parts of a replica's rows that are computed one after the other.
        threads: cores of each replica on a CPU; 0 on a GPU.
        seed: of the run, for dropout.
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
        accumulation_steps: int = 1,
        threads: int = 1,
        seed: int = 0,
        use_loss_scaling: bool = False,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.strategy = strategy
        self.loss_scale = LossScale() if use_loss_scaling else None
        self._global_batch_size = global_batch_size
        self._block_steps = block_steps
        variables = model.trainable_variables
        self._sparse = [v for v in variables if hasattr(v, "table") and v.table.sparse]
        self._dense = [v for v in variables if not (hasattr(v, "table") and v.table.sparse)]
        self._dtype = variables[0].value.dtype
        optimizer.build(variables)

        self._is_alone = strategy.num_replicas_in_sync == 1
        self._replica_rows = global_batch_size // strategy.num_replicas_in_sync
        stepwise_rows = STEPWISE_ROWS_PER_THREAD * max(2, threads)
        is_whole = self._is_alone and not self._sparse and (not threads or self._replica_rows < stepwise_rows)
        can_share = not is_whole and threads and self._replica_rows % (threads * accumulation_steps) == 0
        self._shares = threads if can_share else 1
        self._chunks = chunks_of(
            self._replica_rows // self._shares,
            accumulation_steps=accumulation_steps,
            on_cpu=threads > 0 and not is_whole,
        )
        self._gradients = GradientFunction(
            model,
            variables,
            global_batch_size=global_batch_size,
            seed=seed,
            loss_scale=self.loss_scale,
        )
        compiled = (lambda f: f) if is_whole else (lambda f: tf.function(f, jit_compile=True))
        self._share_gradients = compiled(self._share)
        self._dense_update = compiled(self._update_dense)
        self._block = tf.function(self._train_block, jit_compile=is_whole)

    def train_block(
        self, superbatch: Any, num_steps: int, *, first_step: int = 0, stop: bool = False
    ) -> tuple[Any, bool]:
        """Trains the first `num_steps` steps of a superbatch.

        Args:
            superbatch: per replica, columns [K, B / replicas], `rating` and `weight` among them.
            first_step: steps trained before this block since the run began.
            stop: whether this worker was asked to stop.

        Returns:
            The steps' losses, [K] with zeros past `num_steps` (a tensor: nothing waits for the device until
            it is read), and whether any worker was asked to stop, the same answer on all.
        """
        losses, num_stops = self._block(
            superbatch, tf.constant(num_steps), tf.constant(first_step), tf.constant(float(stop))
        )
        return losses, stop if self._is_alone else bool(num_stops > 0)

    def _train_block(
        self, superbatch: Any, num_steps: tf.Tensor, first_step: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        losses = tf.zeros([self._block_steps], self._dtype)
        k = tf.constant(0)
        # Not `in tf.range(num_steps)`: XLA would compile anew for every other number of steps.
        while k < num_steps:
            sums = self.strategy.run(self._global_sums, args=(superbatch, k, first_step))
            # Any variable names the devices; on each, one call updates its own copies of all of them.
            loss = self.strategy.extended.update(
                self.optimizer.iterations.value, self._update, args=(sums,), group=False
            )
            losses = tf.tensor_scatter_nd_update(losses, [[k]], [self._shared(loss)])
            k += 1
        if not self._is_alone:
            stop = self._shared(self.strategy.run(_all_reduce_sum, args=(stop,)))
        return losses, stop

    def _global_sums(
        self, superbatch: dict[str, tf.Tensor], k: tf.Tensor, first_step: tf.Tensor
    ) -> list[LocalGradients]:
        """Replica: sums over step k's global batch, still in as many parts as it has cores if it is alone."""
        context = tf.distribute.get_replica_context()
        batch = {name: column[k] for name, column in superbatch.items()}
        batch["position"] = positions(context.replica_id_in_sync_group, self._replica_rows)
        parts = {name: tf.split(column, self._shares) for name, column in batch.items()}
        shares = [
            self._share_gradients({name: part[i] for name, part in parts.items()}, first_step + k)
            for i in range(self._shares)
        ]
        if self._is_alone:
            return shares
        num_replicas = self.strategy.num_replicas_in_sync
        vectors = [tf.add_n([_flat(share) for share in shares])]
        for table in range(len(self._sparse)):
            indices = tf.concat([share.indices[table] for share in shares], axis=0)
            rows = tf.concat([share.rows[table] for share in shares], axis=0)
            vectors.append(
                pack_rows(indices, rows, replica=context.replica_id_in_sync_group, num_replicas=num_replicas)
            )
        summed = _all_reduce_sum(tf.concat(vectors, axis=0))
        flat, *tables = tf.split(summed, [vector.shape[0] for vector in vectors])
        sizes = [variable.value.shape.num_elements() for variable in self._dense]
        *dense, loss, weight = tf.split(flat, [*sizes, 1, 1])
        gathered = [
            unpack_rows(packed, num_replicas=num_replicas, dim=variable.value.shape[-1])
            for packed, variable in zip(tables, self._sparse, strict=True)
        ]
        return [
            LocalGradients(
                dense=[tf.reshape(g, v.value.shape) for g, v in zip(dense, self._dense, strict=True)],
                indices=[indices for indices, _ in gathered],
                rows=[rows for _, rows in gathered],
                loss=loss[0],
                weight=weight[0],
            )
        ]

    def _share(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> LocalGradients:
        return self._gradients(batch, step, num_chunks=self._chunks)

    def _update(self, _variable: tf.Variable, shares: list[LocalGradients]) -> tf.Tensor:
        """Device: one step of the optimizer on its copies of all variables; returns the step's loss."""
        rows = [
            sum_duplicates(
                tf.concat([share.indices[table] for share in shares], axis=0),
                tf.concat([share.rows[table] for share in shares], axis=0),
            )
            for table in range(len(self._sparse))
        ]
        needs_norm = self.optimizer.global_clipnorm is not None or self.loss_scale is not None
        square = [tf.reduce_sum(tf.square(gradient.values)) for gradient in rows] if needs_norm else []
        dense = [[share.dense, share.loss, share.weight] for share in shares]
        loss, factor, finite = self._dense_update(dense, square)
        if rows:
            self._when(finite, lambda: self._update_sparse(rows, factor))
        # Last: the updates above count this step themselves.
        self._when(finite, lambda: self.optimizer.iterations.value.assign_add(1))
        return loss

    def _update_dense(self, shares: list, square: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Updates the dense variables; (loss, what sums are to be multiplied by, whether all are finite)."""
        gradients = [tf.add_n(parts) for parts in zip(*(dense for dense, _, _ in shares), strict=True)]
        weight = tf.add_n([weight for _, _, weight in shares])
        to_mean = tf.math.divide_no_nan(tf.cast(self._global_batch_size, self._dtype), weight)
        loss = tf.add_n([loss for _, loss, _ in shares]) * to_mean
        factor, finite = to_mean, tf.constant(True)
        clipnorm = self.optimizer.global_clipnorm
        if clipnorm is not None or self.loss_scale is not None:
            square = tf.add_n([*square, *(tf.reduce_sum(tf.square(gradient)) for gradient in gradients)])
        if self.loss_scale is not None:
            # A sum over replicas is finite only if each replica's part is: one check speaks for all of them.
            finite = tf.math.is_finite(square)
            factor = factor / tf.cast(self.loss_scale.scale, self._dtype)
        if clipnorm is not None:
            factor *= clipnorm / tf.maximum(factor * tf.sqrt(square), clipnorm)

        def update() -> None:
            for gradient, variable in zip(gradients, self._dense, strict=True):
                self.optimizer.update_step(gradient * factor, variable, self.optimizer.learning_rate.value)

        self._when(finite, update)
        if self.loss_scale is not None:
            self.loss_scale.update(finite)
        return loss, factor, finite

    def _update_sparse(self, rows: list[tf.IndexedSlices], factor: tf.Tensor) -> None:
        for gradient, variable in zip(rows, self._sparse, strict=True):
            scaled = tf.IndexedSlices(gradient.values * factor, gradient.indices)
            self.optimizer.update_step(scaled, variable, self.optimizer.learning_rate.value)

    def _when(self, finite: tf.Tensor, update: Callable[[], Any]) -> None:
        """Updates if all gradients are finite; without loss scaling that is not asked."""
        if self.loss_scale is None:
            update()
        else:

            def updated() -> tf.Tensor:
                update()
                return tf.constant(True)

            tf.cond(finite, updated, lambda: tf.constant(False))

    def _shared(self, per_replica: Any) -> tf.Tensor:
        """The value that all replicas hold alike."""
        return tf.nest.flatten(self.strategy.experimental_local_results(per_replica))[0]


def _flat(share: LocalGradients) -> tf.Tensor:
    """Dense gradients, loss and weight as one vector."""
    return tf.concat([*(tf.reshape(g, [-1]) for g in share.dense), [share.loss, share.weight]], axis=0)


def _all_reduce_sum(value: tf.Tensor) -> tf.Tensor:
    # identity: a value given from outside has no device of its replica yet, which the reduction needs.
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))
