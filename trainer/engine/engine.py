"""The compiled heart: one call trains a block of K steps.

A step is the same arithmetic on any number of replicas:

    local      = sum over the replica's rows of  w * loss / B        (B: global batch size)
    gradients  = all-reduced sum of grad(local)  *  B / all-reduced sum(w)

which is the gradient of the weighted mean over the global batch; padding rows weigh 0. All sums travel in one
packed vector, so that a step makes one collective; then every replica makes the same update of its own copy.

Alone on a device and with small batches, the whole block is one XLA program. Else the steps are a loop in one
TensorFlow graph: its parts are XLA programs, and large tables are updated in place between them. Of several
replicas each updates with the sums of the step before, then computes its gradients: without such tables, and
where no cores share a replica's rows, in one program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from trainer.engine.gradients import GradientFunction, LocalGradients, num_chunks, positions
from trainer.engine.loss_scale import LossScale
from trainer.engine.packing import Packing
from trainer.engine.update import Update
from trainer.objectives import MeanSquaredError, Objective
from trainer.objectives.objective import BATCH_ITEMS

# From so many rows a core on, cutting the batch among the cores pays for running step by step.
STEPWISE_ROWS_PER_THREAD = 1024


class Engine:
    """Trains a Keras model block by block under a strategy.

    Args:
        model: from a dictionary of columns to one score a row. The losses that its layers add count: a
            tensor [batch] is each row's own, a scalar one for all (a Keras regularizer).
        optimizer: built here on the model's trainable variables; one of `trainer.engine.engine.optimizers`.
        strategy: the default strategy for one device.
        objective: by default the mean squared error.
        global_batch_size: rows of a step over all replicas.
        block_steps: K, the steps a superbatch has room for.
        accumulation_steps: parts of a replica's rows that are computed one after the other.
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
        sparse = [v for v in variables if hasattr(v, "table") and v.table.sparse]
        dense = [v for v in variables if not (hasattr(v, "table") and v.table.sparse)]
        self._dtype = variables[0].value.dtype
        optimizer.build(variables)

        num_replicas = strategy.num_replicas_in_sync
        self._is_alone = num_replicas == 1
        self._replica_rows = global_batch_size // num_replicas
        stepwise_rows = STEPWISE_ROWS_PER_THREAD * max(2, threads)
        has_few_rows = not threads or self._replica_rows < stepwise_rows
        is_whole = self._is_alone and not sparse and has_few_rows
        # With few rows one program for all of them is faster, where the tables allow it.
        can_share = threads and (sparse or not has_few_rows)
        is_even = self._replica_rows % (max(1, threads) * accumulation_steps) == 0
        self._shares = threads if can_share and is_even else 1
        self._chunks = num_chunks(
            self._replica_rows // self._shares,
            accumulation_steps=accumulation_steps,
            on_cpu=threads > 0 and not is_whole,
            pairs_per_row=self.objective.pairs_per_row,
        )
        # Whether all that a replica does in a step is one program. Cores that share a batch run one each.
        is_fused = not self._is_alone and not sparse and self._shares == 1
        self._gradients = GradientFunction(
            model,
            self.objective,
            variables,
            global_batch_size=global_batch_size,
            seed=seed,
            loss_scale=self.loss_scale,
        )
        compiled = _as_is if is_whole or is_fused else _as_program
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
        self._replica_step = (_as_program if is_fused else _as_is)(self._make_replica_step)
        # A program that decides by a tensor serves all steps of a block: less to compile. A GPU would wait
        # for the tensor: it gets a program for the first, one for the last and one for the other steps.
        self._flag = tf.constant if is_fused and threads else bool
        self._block = tf.function(self._train_block, jit_compile=is_whole, autograph=False)

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
        if self._is_alone:
            return self._train_alone(superbatch, num_steps, first_step), stop
        return self._train_together(superbatch, num_steps, first_step, stop)

    def _train_alone(self, superbatch: Any, num_steps: tf.Tensor, first_step: tf.Tensor) -> tf.Tensor:
        def train_step(k: tf.Tensor, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            loss = self._update(self._parts(superbatch, k, first_step, replica=tf.constant(0)))
            return k + 1, tf.tensor_scatter_nd_update(losses, [[k]], [loss])

        # Not over `tf.range(num_steps)`: XLA would compile anew for every other number of steps.
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
        # Any variable names the devices: on each, one call updates its own copies of all of them.
        devices = self.optimizer.iterations.value
        replica = self.strategy.run(_replica_number)

        def step(sums: Any, k: tf.Tensor, *, update: bool, differentiate: bool) -> tuple[Any, Any, Any]:
            flags = (self._flag(update), self._flag(differentiate))
            arguments = (sums, superbatch, replica, k, first_step, stop, *flags)
            # Each result is a tuple of what the local devices returned; loss and stops are the same on all.
            loss, stops, packed = extended.update(devices, self._step, args=arguments, group=False)
            return loss[0], stops[0], packed

        def all_reduced(packed: tuple[tf.Tensor, ...]) -> Any:
            # Wrapped anew: a loop's variables are plain tensors.
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
        return self._replica_step(*arguments)

    def _make_replica_step(
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
        # Not column[k], which XLA compiles anew for every k that it can see.
        batch = {name: tf.gather(column, k) for name, column in superbatch.items()}
        batch["position"] = positions(replica, self._replica_rows)
        parts = {
            name: [column] * self._shares if name == BATCH_ITEMS else tf.split(column, self._shares)
            for name, column in batch.items()
        }
        return [
            self._share_gradients({name: part[i] for name, part in parts.items()}, first_step + k)
            for i in range(self._shares)
        ]

    def _share(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> LocalGradients:
        return self._gradients(batch, step, num_chunks=self._chunks)


def _as_program(function: Callable) -> Callable:
    # autograph=False, here and elsewhere: looking for Python control flow on tensors, of which there is
    # none, took longer than tracing and compiling.
    return tf.function(function, jit_compile=True, autograph=False)


def _as_is(function: Callable) -> Callable:
    return function


def _if(condition: tf.Tensor | bool, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """One of the two results: chosen now, or by the program if the condition is a tensor."""
    if isinstance(condition, bool):
        return then() if condition else otherwise()
    return tf.cond(condition, then, otherwise)


def _replica_number() -> tf.Tensor:
    # identity: the number itself is a constant without a device of its replica.
    return tf.identity(tf.distribute.get_replica_context().replica_id_in_sync_group)
