"""Layers that look side features up by the index of a user or an item."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from data_pipeline.features.side_features import Features
from trainer.models.layers import Embedding


@keras.saving.register_keras_serializable(package="reeltrain")
class Lookup(keras.layers.Layer):
    """Rows of a fixed array: int32 [batch] -> [batch, columns].

    The array is no weight: a run reads it from its data again, not from a checkpoint. It is part of the
    layer's configuration, so a saved Keras model contains it, as text.
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

    def get_config(self) -> dict[str, Any]:
        array = keras.saving.serialize_keras_object(self._array.numpy())
        return {**super().get_config(), "array": array}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Lookup:
        array = keras.saving.deserialize_keras_object(config["array"])
        return super().from_config({**config, "array": array})


@keras.saving.register_keras_serializable(package="reeltrain")
class MeanEmbedding(Embedding):
    """Mean of the rows of a row's values: int32 [batch, values] -> [batch, output_dim]; value 0 is none."""

    def call(self, values: tf.Tensor) -> tf.Tensor:
        present = tf.cast(values > 0, self.compute_dtype)[..., None]
        total = tf.reduce_sum(super().call(values) * present, axis=1)
        return total / tf.maximum(tf.reduce_sum(present, axis=1), 1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.output_dim)


class LookedUpFeatures(NamedTuple):
    """Side features of a batch's users or items.

    Attributes:
        categories: name -> int32 [batch, values].
        numbers: [batch, columns], or None where there is no such column.
    """

    categories: dict[str, keras.KerasTensor]
    numbers: keras.KerasTensor | None


def lookups(features: Features, index: keras.KerasTensor, *, side: str) -> LookedUpFeatures:
    """Layers that find the features of the users or items in the batch."""
    categories = {
        name: Lookup(array, name=f"lookup_{side}.{plain(name)}")(index)
        for name, array in features.categories.items()
    }
    numbers = (
        Lookup(features.numbers, name=f"lookup_numbers_{side}")(index) if features.number_names else None
    )
    return LookedUpFeatures(categories, numbers)


def embedded(features: Features, found: LookedUpFeatures, *, side: str, dim: int) -> list[keras.KerasTensor]:
    """For each feature [batch, dim] (numbers [batch, columns] as they are)."""
    parts = [
        MeanEmbedding(size, dim, name=f"embedding_{side}.{plain(name)}")(found.categories[name])
        for name, size in features.sizes.items()
    ]
    return parts if found.numbers is None else [*parts, found.numbers]


def plain(name: str) -> str:
    """A column's name as part of a layer's: other than all others', of the characters that TensorFlow takes.

    >>> plain("age"), plain("a/b"), plain("a b"), plain("a_b"), plain("é")
    ('age', 'a-2f-b', 'a-20-b', 'a_b', '-e9-')
    """
    return re.sub(r"[^A-Za-z0-9_]", lambda found: f"-{ord(found[0]):x}-", name)
