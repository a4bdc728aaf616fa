"""Wide and deep."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.config import ModelConfig
from trainer.models.feature_layers import MeanEmbedding, embedded, lookups, plain
from trainer.models.inputs import ModelInputs, bias, embedding, hidden_layers, index_inputs, output_dtype
from trainer.models.layers import Offset

# Of more values, too few rows have each pair: assumed.
MAX_CROSSED_VALUES = 100


@keras.saving.register_keras_serializable(package="reeltrain")
class Cross(keras.layers.Layer):
    """All pairs of two features' values: int32 [batch, m] and [batch, n] -> [batch, m n]; 0 if either is."""

    def __init__(self, num_right: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.num_right = num_right

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        left, right = inputs[0][:, :, None], inputs[1][:, None, :]
        pairs = tf.where((left > 0) & (right > 0), left * self.num_right + right, 0)
        return tf.reshape(pairs, [-1, pairs.shape[1] * pairs.shape[2]])

    def compute_output_spec(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        left, right = inputs
        return keras.KerasTensor((left.shape[0], left.shape[1] * right.shape[1]), "int32")

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "num_right": self.num_right}


def wide_deep(config: ModelConfig, inputs: ModelInputs) -> keras.Model:
    """A linear model over ids, features and crossed features, plus an MLP over their embeddings.

    Crossed are each category of the users with each of the items (occupation x genre) that have few values; a
    row with several values of a feature counts their mean. Source: Cheng et al. 2016, "Wide & Deep Learning",
    section 3.
    """
    indices = index_inputs()
    users, items = inputs.features
    of_user = lookups(users, indices["user_index"], side="user")
    of_item = lookups(items, indices["item_index"], side="item")

    wide = [
        bias(config, inputs.num_user_rows, "user_bias")(indices["user_index"]),
        bias(config, inputs.num_item_rows, "item_bias")(indices["item_index"]),
    ]
    for side, features, found in (("user", users, of_user), ("item", items, of_item)):
        for name, size in features.sizes.items():
            layer = MeanEmbedding(size, 1, initializer="zeros", name=f"wide_{side}.{plain(name)}")
            wide.append(layer(found.categories[name]))
        if found.numbers is not None:
            wide.append(keras.layers.Dense(1, use_bias=False, name=f"wide_numbers_{side}")(found.numbers))
    for left, left_size in users.sizes.items():
        for right, right_size in items.sizes.items():
            if max(left_size, right_size) > MAX_CROSSED_VALUES:
                continue
            name = f"{plain(left)}.x.{plain(right)}"
            pairs = Cross(right_size, name=f"pairs_{name}")(
                [of_user.categories[left], of_item.categories[right]]
            )
            wide.append(
                MeanEmbedding(left_size * right_size, 1, initializer="zeros", name=f"wide_{name}")(pairs)
            )

    deep = [
        embedding(config, inputs.num_item_rows, "item_embedding")(indices["item_index"]),
        embedding(config, inputs.num_user_rows, "user_embedding")(indices["user_index"]),
        *embedded(items, of_item, side="item", dim=config.embedding_dim),
        *embedded(users, of_user, side="user", dim=config.embedding_dim),
    ]
    hidden = hidden_layers(config, keras.layers.Concatenate(name="features")(deep))
    wide.append(keras.layers.Dense(1, use_bias=False, name="deep")(hidden))
    score = keras.layers.Add(dtype=output_dtype(), name="score")(wide)
    score = Offset(inputs.initial_score, dtype=output_dtype(), name="mean")(score)
    return keras.Model(indices, score, name="wide_deep")
