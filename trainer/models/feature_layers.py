"""Layers that look up side features by user or item index, and embed them."""

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
    """Looks up rows of a fixed array: int32 [batch] -> [batch, columns].

    The array is not a weight: a run reads it from its dataset, not from a checkpoint. It is part of the
    layer's configuration, so a saved Keras model contains it as text.
    """

    def __init__(self, array: np.ndarray, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A variable, so that the strategy places a copy on each device.
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
    """Mean of the embeddings of a row's values: int32 [batch, values] -> [batch, output_dim].

    Value 0 is padding and does not count; a row of padding alone gives zeros.
    """

    def call(self, values: tf.Tensor) -> tf.Tensor:
        present = tf.cast(values > 0, self.compute_dtype)[..., None]
        total = tf.reduce_sum(super().call(values) * present, axis=1)
        return total / tf.maximum(tf.reduce_sum(present, axis=1), 1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.output_dim)


class LookedUpFeatures(NamedTuple):
    """Side features of a batch's users or items.

    Attributes:
        categories: feature name -> int32 [batch, values].
        numbers: numeric features [batch, columns], or None if there are none.
    """

    categories: dict[str, keras.KerasTensor]
    numbers: keras.KerasTensor | None


def look_up_features(features: Features, index: keras.KerasTensor, *, side: str) -> LookedUpFeatures:
    """Looks up the side features of the batch's users or items.

    Args:
        index: int32 [batch].
        side: `user` or `item`, part of the layers' names.
    """
    categories = {
        name: Lookup(array, name=f"lookup_{side}.{safe_name(name)}")(index)
        for name, array in features.categories.items()
    }
    numbers = (
        Lookup(features.numbers, name=f"lookup_numbers_{side}")(index) if features.number_names else None
    )
    return LookedUpFeatures(categories, numbers)


def embed_features(
    features: Features, looked_up: LookedUpFeatures, *, side: str, dim: int
) -> list[keras.KerasTensor]:
    """An embedding [batch, dim] of each categorical feature, then the numbers [batch, columns] unchanged."""
    embeddings = [
        MeanEmbedding(size, dim, name=f"embedding_{side}.{safe_name(name)}")(looked_up.categories[name])
        for name, size in features.sizes.items()
    ]
    return embeddings if looked_up.numbers is None else [*embeddings, looked_up.numbers]


def safe_name(name: str) -> str:
    """Makes a column name usable in a layer name: escapes characters that TensorFlow rejects.

    Different column names give different results.

    >>> safe_name("age"), safe_name("a/b"), safe_name("a b"), safe_name("a_b"), safe_name("é")
    ('age', 'a-2f-b', 'a-20-b', 'a_b', '-e9-')
    """
    return re.sub(r"[^A-Za-z0-9_]", lambda match: f"-{ord(match[0]):x}-", name)
