"""Layers for large tables and several devices: Embedding, Dropout, InnerProduct and Offset."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.models.tables import mark_table
from trainer.stateless_random import unit_bits

_ROW_BITS: ContextVar[tf.Tensor] = ContextVar("row_bits")


@contextlib.contextmanager
def random_rows(bits: tf.Tensor) -> Iterator[None]:
    """Provides the random numbers of the `Dropout` layers called inside: uint32 [rows], one per row."""
    token = _ROW_BITS.set(bits)
    try:
        yield
    finally:
        _ROW_BITS.reset(token)


@keras.saving.register_keras_serializable(package="reeltrain")
class Embedding(keras.layers.Layer):
    """An embedding table whose lookups and updates touch only the rows in the batch.

    `keras.layers.Embedding` converts the whole table to a tensor first, and copies it in mixed precision.

    Args:
        input_dim, output_dim: rows and columns of the table.
        l2: adds the penalty l2 |row|^2 of each looked-up row to `losses`, as a tensor [batch].
        sparse: whether optimizers update only the rows in the batch, and not the whole table.
        initializer: of the table, a Keras initializer.

    Call:
        int32 [batch, ...] -> [batch, ..., output_dim], in the layer's compute dtype.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        l2: float = 0.0,
        sparse: bool = False,
        initializer: Any = "uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.l2 = l2
        self.sparse = sparse
        # Kept as given: a copy of an initializer may draw another seed.
        self.initializer = initializer
        # Autocast would cast the whole table instead of the looked-up rows.
        self.embeddings = self.add_weight(
            shape=(input_dim, output_dim), initializer=initializer, name="embeddings", autocast=False
        )
        mark_table(self.embeddings, sparse=sparse)
        self.built = True

    def call(self, index: tf.Tensor) -> tf.Tensor:
        rows = tf.gather(self.embeddings.value, index)
        if self.l2:
            self.add_loss(self.l2 * tf.reduce_sum(tf.square(rows), axis=-1))
        return tf.cast(rows, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "l2": self.l2,
            "sparse": self.sparse,
            "initializer": keras.initializers.serialize(keras.initializers.get(self.initializer)),
        }


@keras.saving.register_keras_serializable(package="reeltrain")
class Dropout(keras.layers.Layer):
    """Dropout (Srivastava et al. 2014) with the same result on any number of devices.

    In training, it sets a random fraction of each row's units to 0 and scales up the others. The choice is a
    function of (seed, step, row), not of a generator's state. The random numbers come from `random_rows`,
    which the engine sets.

    Args:
        rate: the fraction, in [0, 1).
        number: distinguishes the dropout layers of a model, which must have different numbers.
    """

    def __init__(self, rate: float, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.number = number

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        bits = _ROW_BITS.get(None)
        if not training or not self.rate or bits is None:
            return inputs
        units = tf.cast(tf.range(inputs.shape[-1]), tf.uint32)
        unit = unit_bits(bits ^ np.uint32(self.number), units)
        kept = unit >= np.uint32(round(self.rate * 2**32))
        return tf.where(kept, inputs / tf.constant(1 - self.rate, inputs.dtype), tf.zeros_like(inputs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "number": self.number}


@keras.saving.register_keras_serializable(package="reeltrain")
class InnerProduct(keras.layers.Layer):
    """Inner products of rows: [batch, dim] and [batch, dim] -> [batch, 1], summed in the variable dtype."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        left, right = (tf.cast(each, self.variable_dtype) for each in inputs)
        return tf.reduce_sum(left * right, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shapes: list[tuple]) -> tuple:
        return (input_shapes[0][0], 1)


@keras.saving.register_keras_serializable(package="reeltrain")
class Offset(keras.layers.Layer):
    """Adds a trained number, initially `initial`."""

    def __init__(self, initial: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial = float(initial)
        self.offset = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(initial), name="offset"
        )
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + tf.cast(self.offset.value, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial": self.initial}
