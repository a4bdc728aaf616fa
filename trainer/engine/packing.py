"""A replica's sums as one vector, so that a step makes one collective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from trainer.engine.gradients import LocalGradients
from trainer.engine.sparse_rows import pack_rows, unpack_rows


class Packing:
    """To a vector whose sum over all replicas holds the sums of the gradients, and back.

    Dense gradients, loss and weight are summed; rows of sparse tables, which differ between replicas, are
    concatenated.

    Args:
        dense, sparse: the Keras variables, in the order of `LocalGradients`.
        num_replicas: over all workers.
    """

    def __init__(self, *, dense: Sequence[Any], sparse: Sequence[Any], num_replicas: int) -> None:
        self._shapes = [variable.value.shape for variable in dense]
        self._dims = [variable.value.shape[-1] for variable in sparse]
        self._num_replicas = num_replicas
        # The size of a sparse table's part depends on the number of lookups per batch: `pack` records it.
        self._row_sizes: list[int] = []

    @property
    def size_without_tables(self) -> int:
        """Length of the vector without sparse tables."""
        return sum(shape.num_elements() for shape in self._shapes) + 3

    def pack(self, parts: list[LocalGradients], *, replica: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """The vector of one replica's parts and of its stop flag, a number."""
        vectors = [
            tf.concat(
                [
                    *(
                        tf.reshape(tf.add_n(g), [-1])
                        for g in zip(*(part.dense for part in parts), strict=True)
                    ),
                    [tf.add_n([part.loss for part in parts]), tf.add_n([part.weight for part in parts])],
                    [tf.cast(stop, parts[0].loss.dtype)],
                ],
                axis=0,
            )
        ]
        for table in range(len(self._dims)):
            indices = tf.concat([part.indices[table] for part in parts], axis=0)
            rows = tf.concat([part.rows[table] for part in parts], axis=0)
            vectors.append(pack_rows(indices, rows, replica=replica, num_replicas=self._num_replicas))
        self._row_sizes = [vector.shape[0] for vector in vectors[1:]]
        return tf.concat(vectors, axis=0)

    def unpack(self, summed: tf.Tensor) -> tuple[LocalGradients, tf.Tensor]:
        """(sums over all replicas, number of stop flags set); call `pack` first, which records the sizes."""
        sizes = [shape.num_elements() for shape in self._shapes]
        values = tf.split(summed, [*sizes, 1, 1, 1, *self._row_sizes])
        dense, (loss, weight, stops) = values[: len(sizes)], values[len(sizes) : len(sizes) + 3]
        gathered = [
            unpack_rows(packed, num_replicas=self._num_replicas, dim=dim)
            for packed, dim in zip(values[len(sizes) + 3 :], self._dims, strict=True)
        ]
        sums = LocalGradients(
            dense=[tf.reshape(g, shape) for g, shape in zip(dense, self._shapes, strict=True)],
            indices=[indices for indices, _ in gathered],
            rows=[rows for _, rows in gathered],
            loss=loss[0],
            weight=weight[0],
        )
        return sums, stops[0]
