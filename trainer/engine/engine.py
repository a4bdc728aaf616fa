"""The compiled part of training: one call trains a block of K steps.

A step is the same arithmetic on any number of replicas:

    local      = sum over the replica's rows of  w * loss / B        (B: global batch size)
    gradients  = all-reduced sum of grad(local)  *  B / all-reduced sum(w)

which is the gradient of the weighted mean over the global batch; padding rows weigh 0. All sums travel in one
packed vector, so that a step makes one collective; then every replica makes the same update of its own copy.

`partition.Mode` lists what is compiled as one XLA program. On a single device with small batches it is the
whole block. Otherwise the steps are a loop in one TensorFlow graph: its parts are XLA programs, and sparse
tables are updated in place between them. Each of several replicas applies the sums of the previous step and
then computes its gradients, so that both can be one program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from trainer.engine.gradients import GradientFunction, LocalGradients, positions
from trainer.engine.loss_scale import LossScale
from trainer.engine.packing import Packing
from trainer.engine.partition import Mode, partition_steps
from trainer.engine.update import Update
from trainer.models.tables import split_variables
from trainer.objectives import MeanSquaredError, Objective
from trainer.objectives.objective import BATCH_ITEMS


class Engine:
    """Trains a Keras model block by block under a strategy.

    Args:
        model: maps a dictionary of columns to one score per row. Losses added by its layers are included: a
            tensor [batch] holds one per row, a scalar (a Keras regularizer) applies to all rows.
        optimizer: built here on the model's trainable variables; one of `trainer.engine.optimizers`.
        strategy: for a single device, the default strategy.
        objective: by default the mean squared error.
        global_batch_size: rows of a step over all replicas.
        block_steps: K, the number of steps in a superbatch.
        accumulation_steps: number of parts of a replica's rows, computed one after the other.
        threads: cores of each replica on a CPU; 0 on a GPU.
        seed: of the run, for dropout and negatives.
        use_loss_scaling: for float16 compute.

    Create it inside `strategy.scope()`.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        strategy: tf.distribute.Strategy,
        objective: Objective | None = None,
        global_batch_size: int,
        block_steps: int,
        accumulation_steps: int = 1,
        threads: int = 1,
        seed: int = 0,
        use_loss_scaling: bool = False,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.objective = objective or MeanSquaredError()
        self.strategy = strategy
        self.loss_scale = LossScale() if use_loss_scaling else None
        self._block_steps = block_steps
        variables = model.trainable_variables
        dense, sparse = split_variables(variables)
        self._dtype = variables[0].value.dtype
        optimizer.build(variables)
        num_replicas = strategy.num_replicas_in_sync
        self._partition = partition_steps(
            num_replicas=num_replicas,
            global_batch_size=global_batch_size,
            threads=threads,
            accumulation_steps=accumulation_steps,
            has_sparse_tables=bool(sparse),
            pairs_per_row=self.objective.pairs_per_row,
        )
        mode = self._partition.mode
        compiled = _as_program if mode is Mode.STEPWISE else _as_is
        self._gradients = GradientFunction(
            model,
            self.objective,
            variables,
            global_batch_size=global_batch_size,
            seed=seed,
            loss_scale=self.loss_scale,
        )
        self._share_gradients = compiled(self._share)
        self._update = Update(
            optimizer,
            dense=dense,
            sparse=sparse,
            global_batch_size=global_batch_size,
            loss_scale=self.loss_scale,
            compiled=compiled,
        )
        self._packing = Packing(dense=dense, sparse=sparse, num_replicas=num_replicas)
        self._compiled_replica_step = (_as_program if mode is Mode.FUSED_REPLICA else _as_is)(
            self._replica_step
        )
        self._flag = tf.constant if self._partition.traced_flags else bool
        self._block = _compiled(self._train_block, jit_compile=mode is Mode.WHOLE_BLOCK)

    def train_block(
        self, superbatch: Any, num_steps: int, *, first_step: int = 0, stop: bool = False
    ) -> tuple[Any, bool]:
        """Trains the first `num_steps` steps of a superbatch.

        Args:
            superbatch: per replica, columns [K, B / replicas], `rating` and `weight` among them.
            first_step: steps trained before this block since the run began.
            stop: whether this worker was asked to stop.

        Returns:
            The steps' losses, [K] with zeros past `num_steps` (a tensor: only reading it waits for the
            device), and whether any worker was asked to stop, which is the same on all workers.
        """
        losses, num_stops = self._block(
            superbatch, tf.constant(num_steps), tf.constant(first_step), tf.constant(float(stop))
        )
        return losses, stop if self._partition.is_alone else bool(num_stops > 0)

    def _train_block(
        self, superbatch: Any, num_steps: tf.Tensor, first_step: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if self._partition.is_alone:
            return self._train_alone(superbatch, num_steps, first_step), stop
        return self._train_together(superbatch, num_steps, first_step, stop)

    def _train_alone(self, superbatch: Any, num_steps: tf.Tensor, first_step: tf.Tensor) -> tf.Tensor:
        def train_step(k: tf.Tensor, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            loss = self._update(self._parts(superbatch, k, first_step, replica=tf.constant(0)))
            return k + 1, tf.tensor_scatter_nd_update(losses, [[k]], [loss])

        # Not over `tf.range(num_steps)`: XLA would compile again for every number of steps.
        _, losses = tf.while_loop(
            lambda k, _losses: k < num_steps,
            train_step,
            (tf.constant(0), tf.zeros([self._block_steps], self._dtype)),
        )
        return losses

    def _train_together(
        self, superbatch: Any, num_steps: tf.Tensor, first_step: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        extended = self.strategy.extended
        # Any variable identifies the devices: on each, one call updates the copies of all variables.
        devices = self.optimizer.iterations.value
        replica = self.strategy.run(_replica_number)

        def step(sums: Any, k: tf.Tensor, *, update: bool, differentiate: bool) -> tuple[Any, Any, Any]:
            flags = (self._flag(update), self._flag(differentiate))
            arguments = (sums, superbatch, replica, k, first_step, stop, *flags)
            # Each result is a tuple with one entry per local device; loss and stops are the same on all.
            loss, stops, packed = extended.update(devices, self._step, args=arguments, group=False)
            return loss[0], stops[0], packed

        def all_reduced(packed: tuple[tf.Tensor, ...]) -> Any:
            # Wrapped again: a loop's variables are plain tensors.
            per_replica = self.strategy.experimental_distribute_values_from_function(
                lambda context: packed[context.replica_id_in_sync_group % len(packed)]
            )
            return extended.reduce_to(tf.distribute.ReduceOp.SUM, per_replica, devices)

        def train_step(k: tf.Tensor, losses: tf.Tensor, packed: tuple[tf.Tensor, ...]) -> tuple:
            loss, _, packed = step(all_reduced(packed), k, update=True, differentiate=True)
            return k + 1, tf.tensor_scatter_nd_update(losses, [[k - 1]], [loss]), packed

        nothing = tf.zeros([self._packing.size_without_tables], self._dtype)
        _, _, packed = step(nothing, tf.constant(0), update=False, differentiate=True)
        k, losses, packed = tf.while_loop(
            lambda k, *_: k < num_steps,
            train_step,
            (tf.constant(1), tf.zeros([self._block_steps], self._dtype), packed),
        )
        loss, stops, _ = step(all_reduced(packed), k, update=True, differentiate=False)
        return tf.tensor_scatter_nd_update(losses, [[k - 1]], [loss]), stops

    def _step(self, _variable: tf.Variable, *arguments: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return self._compiled_replica_step(*arguments)

    def _replica_step(
        self,
        sums: tf.Tensor,
        superbatch: dict[str, tf.Tensor],
        replica: tf.Tensor,
        k: tf.Tensor,
        first_step: tf.Tensor,
        stop: tf.Tensor,
        update: tf.Tensor | bool,
        differentiate: tf.Tensor | bool,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Replica: the update of step k - 1, then its gradients of step k; (loss, stops, packed sums)."""

        def updated() -> tuple[tf.Tensor, tf.Tensor]:
            gradients, stops = self._packing.unpack(sums)
            return self._update([gradients]), stops

        def differentiated() -> tf.Tensor:
            parts = self._parts(superbatch, k, first_step, replica=replica)
            return self._packing.pack(parts, replica=replica, stop=stop)

        zero = tf.zeros([], self._dtype)
        loss, stops = _if(update, updated, lambda: (zero, zero))
        return loss, stops, _if(differentiate, differentiated, lambda: tf.zeros_like(sums))

    def _parts(
        self, superbatch: dict[str, tf.Tensor], k: tf.Tensor, first_step: tf.Tensor, *, replica: tf.Tensor
    ) -> list[LocalGradients]:
        """A replica's sums over its rows of step k, one part for each core that shares them."""
        # Not column[k], which XLA compiles again for every constant k.
        batch = {name: tf.gather(column, k) for name, column in superbatch.items()}
        batch["position"] = positions(replica, self._partition.replica_rows)
        shares = self._partition.shares
        parts = {
            name: [column] * shares if name == BATCH_ITEMS else tf.split(column, shares)
            for name, column in batch.items()
        }
        return [
            self._share_gradients({name: part[i] for name, part in parts.items()}, first_step + k)
            for i in range(shares)
        ]

    def _share(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> LocalGradients:
        return self._gradients(batch, step, num_chunks=self._partition.num_chunks)


def _as_program(function: Callable) -> Callable:
    return _compiled(function, jit_compile=True)


def _compiled(function: Callable, *, jit_compile: bool) -> Callable:
    # autograph=False, here and elsewhere: searching for Python control flow on tensors, which is not used,
    # took longer than tracing and compiling.
    compiled = tf.function(function, jit_compile=jit_compile, autograph=False)
    # TensorFlow counts traces by line of code, and would warn from a process's fourth run on.
    compiled._omit_frequent_tracing_warning = True
    return compiled


def _as_is(function: Callable) -> Callable:
    return function


def _if(condition: tf.Tensor | bool, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """One of two results: chosen while tracing, or by the program if the condition is a tensor."""
    if isinstance(condition, bool):
        return then() if condition else otherwise()
    return tf.cond(condition, then, otherwise)


def _replica_number() -> tf.Tensor:
    # identity: the number itself is a constant without a device of its replica.
    return tf.identity(tf.distribute.get_replica_context().replica_id_in_sync_group)
