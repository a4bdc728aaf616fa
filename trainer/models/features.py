"""Layers that look side features up by the index of a user or an item."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.features import Features
from trainer.layers import Embedding


class Lookup(keras.layers.Layer):
    """Rows of a fixed array: int32 [batch] -> [batch, columns].

    The array is no weight: it comes from the data again, not from a checkpoint.
    """

    def __init__(self, array: np.ndarray, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A variable: a strategy puts a copy on each device.
        self._array = tf.Variable(array, trainable=False, name="array")
        self.built = True

    def call(self, index: tf.Tensor) -> tf.Tensor:
        rows = tf.gather(self._array, index)
        return rows if rows.dtype.is_integer else tf.cast(rows, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape, self._array.shape[1])

    def compute_output_spec(self, index: keras.KerasTensor) -> keras.KerasTensor:
        dtype = "int32" if self._array.dtype.is_integer else self.compute_dtype
        return keras.KerasTensor(self.compute_output_shape(index.shape), dtype)


class MeanEmbedding(Embedding):
    """Mean of the rows of a row's values: int32 [batch, values] -> [batch, output_dim]; value 0 is none."""

    def call(self, values: tf.Tensor) -> tf.Tensor:
        present = tf.cast(values > 0, self.compute_dtype)[..., None]
        total = tf.reduce_sum(super().call(values) * present, axis=1)
        return total / tf.maximum(tf.reduce_sum(present, axis=1), 1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.output_dim)


def lookups(features: Features, index: keras.KerasTensor, *, side: str) -> dict[str, keras.KerasTensor]:
    """Name -> int32 [batch, values] for each category, and `numbers` -> float [batch, columns] if any."""
    found = {
        name: Lookup(array, name=f"{side}_{_plain(name)}")(index)
        for name, array in features.categories.items()
    }
    if features.number_names:
        found["numbers"] = Lookup(features.numbers, name=f"{side}_numbers")(index)
    return found


def embedded(
    features: Features, found: dict[str, keras.KerasTensor], *, side: str, dim: int, part: str = "embedding"
) -> list[keras.KerasTensor]:
    """For each feature [batch, dim] (numbers [batch, columns] as they are)."""
    parts = [
        MeanEmbedding(size, dim, name=f"{side}_{_plain(name)}_{part}")(found[name])
        for name, size in features.sizes.items()
    ]
    return parts + ([found["numbers"]] if "numbers" in found else [])


def _plain(name: str) -> str:
    """A column's name as part of a layer's: Keras wants no slash in it."""
    return name.replace("/", "_")
