"""A replica's part of a step: the loss of its rows and its gradients, compiled by XLA.

On a CPU the rows are cut into one share a core, computed side by side, and each share into chunks whose
activations stay in the core's cache: XLA's own use of several cores gains little on layers this small
(docs/LOG.md, 2026-11-24). A share's chunks run in a loop, so memory is that of one chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.engine.loss_scale import LossScale
from trainer.models.tables import is_sparse, table_of
from trainer.objectives.objective import BATCH_BITS, BATCH_ITEMS, Objective
from trainer.stateless_random import row_bits


class LocalGradients(NamedTuple):
    """Sums over some rows of the global batch.

    Attributes:
        dense: one gradient per variable, except for sparse tables.
        indices, rows: for each sparse table, int32 [lookups] and the gradient of each looked-up row,
            [lookups, dim]; an index may occur several times.
        loss: of the rows, weighted and divided by the global batch size.
        weight: sum of the rows' weights.
    """

    dense: list[tf.Tensor]
    indices: list[tf.Tensor]
    rows: list[tf.Tensor]
    loss: tf.Tensor
    weight: tf.Tensor


class GradientFunction:
    """Forward and backward pass of a model under an objective.

    Args:
        variables: Keras variables to differentiate by; sparse tables by looked-up rows.
        global_batch_size: divisor of the sums, so that float16 does not overflow.
        seed: of the run, for dropout and negatives.
        loss_scale: multiplies the gradients, if given.
    """

    def __init__(
        self,
        model: keras.Model,
        objective: Objective,
        variables: Sequence[Any],
        *,
        global_batch_size: int,
        seed: int,
        loss_scale: LossScale | None,
    ) -> None:
        self._model = model
        self._objective = objective
        self._variables = [variable.value for variable in variables]
        self._tables = {index for index, variable in enumerate(variables) if table_of(variable)}
        self._sparse = {index for index, variable in enumerate(variables) if is_sparse(variable)}
        self._dtype = self._variables[0].dtype
        self._global_batch_size = global_batch_size
        self._seed = seed
        self._loss_scale = loss_scale

    def __call__(
        self, batch: dict[str, tf.Tensor], step: tf.Tensor, *, num_chunks: int = 1
    ) -> LocalGradients:
        """Gradients of some rows of the global batch.

        Args:
            batch: columns [rows], with `rating`, `weight` and `position`, uint32, within the global batch;
                `BATCH_ITEMS`, if there, is the whole batch's.
            step: steps trained before this one, int32.
            num_chunks: number of parts of the rows, computed one after the other.
        """
        if num_chunks == 1:
            dense, rows, loss, weight = self._chunk(batch, step)
            rows = {table: (indices[None], values[None]) for table, (indices, values) in rows.items()}
        else:
            dense, rows, loss, weight = self._loop(batch, step, num_chunks)
        # Duplicate rows of a dense table are summed once, not once per chunk.
        for table in list(rows):
            if table not in self._sparse:
                indices, values = rows.pop(table)
                shape = self._variables[table].shape
                dense[table] = tf.math.unsorted_segment_sum(values, indices, shape[0])
        return LocalGradients(
            dense=[dense[index] for index in sorted(dense)],
            indices=[tf.reshape(rows[table][0], [-1]) for table in sorted(rows)],
            rows=[tf.reshape(rows[table][1], [-1, rows[table][1].shape[-1]]) for table in sorted(rows)],
            loss=loss,
            weight=weight,
        )

    def _loop(self, batch: dict[str, tf.Tensor], step: tf.Tensor, num_chunks: int) -> Any:
        """`_chunk` over all chunks: sums of dense gradients, rows' gradients concatenated."""
        whole = {name: column for name, column in batch.items() if name == BATCH_ITEMS}
        chunks = {name: tf.reshape(c, [num_chunks, -1]) for name, c in batch.items() if name not in whole}

        def chunk(k: tf.Tensor) -> Any:
            return self._chunk({**{name: column[k] for name, column in chunks.items()}, **whole}, step)

        shapes = (
            tf.function(chunk, autograph=False)
            .get_concrete_function(tf.TensorSpec([], tf.int32))
            .structured_outputs
        )
        dense, rows, loss, weight = tf.nest.map_structure(lambda s: tf.zeros(s.shape, s.dtype), shapes)
        rows = tf.nest.map_structure(lambda r: tf.zeros([num_chunks, *r.shape], r.dtype), rows)

        def body(k: tf.Tensor, sums: Any, rows: Any) -> Any:
            *chunk_sums, chunk_rows = _rows_last(chunk(k))
            sums = tf.nest.map_structure(tf.add, sums, chunk_sums)
            rows = tf.nest.map_structure(
                lambda all_rows, new: tf.tensor_scatter_nd_update(all_rows, [[k]], [new]), rows, chunk_rows
            )
            return k + 1, sums, rows

        _, (dense, loss, weight), rows = tf.while_loop(
            lambda k, *_: k < num_chunks, body, (tf.constant(0), [dense, loss, weight], rows)
        )
        return dense, rows, loss, weight

    def _chunk(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> Any:
        """(variable -> dense gradient, table -> (indices, gradients of looked-up rows), loss, weight)."""
        seed, step = tf.constant([self._seed % 2**32], tf.uint32), tf.cast(step, tf.uint32)
        bits = row_bits(seed, step, batch["position"])
        if BATCH_ITEMS in batch:
            of_batch = tf.constant(np.arange(batch[BATCH_ITEMS].shape[0], dtype=np.uint32))
            batch = {**batch, BATCH_BITS: row_bits(seed, step, of_batch)}
        weight = tf.cast(self._objective.weights(batch), self._dtype)
        with tf.GradientTape() as tape:
            losses = self._objective.losses(self._model, batch, bits)
            loss = tf.reduce_sum(weight * losses) / self._global_batch_size
            scaled = loss if self._loss_scale is None else loss * self._loss_scale.scale
        gradients = tape.gradient(scaled, self._variables, unconnected_gradients="none")
        dense, rows = {}, {}
        for index, gradient in enumerate(gradients):
            if index in self._tables and isinstance(gradient, tf.IndexedSlices):
                rows[index] = (tf.cast(gradient.indices, tf.int32), gradient.values)
            elif index in self._sparse:
                raise ValueError(f"{self._variables[index].name}: a sparse table must only be looked up")
            elif gradient is None:
                dense[index] = tf.zeros_like(self._variables[index])
            else:
                dense[index] = tf.convert_to_tensor(gradient)
        return dense, rows, loss, tf.reduce_sum(weight)


def _rows_last(parts: Any) -> tuple:
    dense, rows, loss, weight = parts
    return dense, loss, weight, rows


def positions(replica: tf.Tensor, rows: int) -> tf.Tensor:
    """uint32 [rows]: the positions of a replica's rows in the global batch."""
    return tf.cast(replica * rows, tf.uint32) + tf.constant(np.arange(rows, dtype=np.uint32))
