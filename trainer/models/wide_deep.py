"""Wide & Deep: a linear model with feature crosses, plus an MLP."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.config import ModelConfig
from trainer.models.feature_layers import MeanEmbedding, embed_features, look_up_features, safe_name
from trainer.models.inputs import ModelInputs, bias, embedding, hidden_layers, index_inputs, output_dtype
from trainer.models.layers import Offset

# A feature with more values is not crossed: too few rows would have each pair. Assumed, not measured.
MAX_CROSSED_VALUES = 100


@keras.saving.register_keras_serializable(package="reeltrain")
class Cross(keras.layers.Layer):
    """All pairs of two features' values: int32 [batch, m] and [batch, n] -> int32 [batch, m n].

    A pair with a padding value 0 is itself 0. `num_right` is the number of values of the second feature.
    """

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
    """A linear model over ids, features and crossed features, plus an MLP over embeddings.

    Every categorical user feature is crossed with every categorical item feature (occupation x genre) if both
    have at most `MAX_CROSSED_VALUES` values. Several values of a feature count with their mean. Source: Cheng
    et al. 2016, "Wide & Deep Learning for Recommender Systems", section 3.
    """
    indices = index_inputs()
    users, items = inputs.features
    of_user = look_up_features(users, indices["user_index"], side="user")
    of_item = look_up_features(items, indices["item_index"], side="item")

    wide = [
        bias(config, inputs.num_user_rows, "user_bias")(indices["user_index"]),
        bias(config, inputs.num_item_rows, "item_bias")(indices["item_index"]),
    ]
    for side, features, looked_up in (("user", users, of_user), ("item", items, of_item)):
        for name, size in features.sizes.items():
            layer = MeanEmbedding(size, 1, initializer="zeros", name=f"wide_{side}.{safe_name(name)}")
            wide.append(layer(looked_up.categories[name]))
        if looked_up.numbers is not None:
            linear = keras.layers.Dense(1, use_bias=False, name=f"wide_numbers_{side}")
            wide.append(linear(looked_up.numbers))
    for left, left_size in users.sizes.items():
        for right, right_size in items.sizes.items():
            if max(left_size, right_size) > MAX_CROSSED_VALUES:
                continue
            name = f"{safe_name(left)}.x.{safe_name(right)}"
            pairs = Cross(right_size, name=f"pairs_{name}")(
                [of_user.categories[left], of_item.categories[right]]
            )
            wide.append(
                MeanEmbedding(left_size * right_size, 1, initializer="zeros", name=f"wide_{name}")(pairs)
            )

    deep = [
        embedding(config, inputs.num_item_rows, "item_embedding")(indices["item_index"]),
        embedding(config, inputs.num_user_rows, "user_embedding")(indices["user_index"]),
        *embed_features(items, of_item, side="item", dim=config.embedding_dim),
        *embed_features(users, of_user, side="user", dim=config.embedding_dim),
    ]
    hidden = hidden_layers(config, keras.layers.Concatenate(name="features")(deep))
    wide.append(keras.layers.Dense(1, use_bias=False, name="deep")(hidden))
    score = keras.layers.Add(dtype=output_dtype(), name="score")(wide)
    score = Offset(inputs.initial_score, dtype=output_dtype(), name="mean")(score)
    return keras.Model(indices, score, name="wide_deep")
