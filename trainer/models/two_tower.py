"""Two-tower retrieval model."""

from __future__ import annotations

import keras

from data_pipeline.features.side_features import Features
from trainer.config import ModelConfig
from trainer.models.feature_layers import embed_features, look_up_features
from trainer.models.inputs import ModelInputs, embedding, hidden_layers, index_inputs, output_dtype
from trainer.models.layers import InnerProduct, Offset
from trainer.models.towers import ITEM_TOWER, USER_TOWER


def two_tower(config: ModelConfig, inputs: ModelInputs) -> keras.Model:
    """score = mean + f(user) . g(item), so that one index of item vectors serves all users.

    A tower is the embedding of the id plus a linear layer of the side features, if there are any. If
    `hidden_units` are configured, dense ReLU layers and a linear layer follow. Source: Yi et al. 2019,
    "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations".
    """
    indices = index_inputs()
    users, items = inputs.features
    user = _tower(config, inputs.num_user_rows, users, "user")(indices["user_index"])
    item = _tower(config, inputs.num_item_rows, items, "item")(indices["item_index"])
    score = InnerProduct(dtype=output_dtype(), name="score")([user, item])
    score = Offset(inputs.initial_score, dtype=output_dtype(), name="mean")(score)
    return keras.Model(indices, score, name="two_tower")


def _tower(config: ModelConfig, num_rows: int, features: Features, side: str) -> keras.Model:
    index = keras.Input((), dtype="int32", name=f"{side}_index")
    vector = embedding(config, num_rows, f"{side}_embedding")(index)
    if features.names:
        looked_up = look_up_features(features, index, side=side)
        inputs = embed_features(features, looked_up, side=side, dim=config.embedding_dim)
        joined = keras.layers.Concatenate(name=f"{side}_features")(inputs) if len(inputs) > 1 else inputs[0]
        feature_vector = keras.layers.Dense(config.embedding_dim, name=f"{side}_of_features")(joined)
        vector = keras.layers.Add(name=f"{side}_sum")([vector, feature_vector])
    if config.hidden_units:
        hidden = hidden_layers(
            config,
            vector,
            prefix=f"{side}_",
            first_dropout=1 if side == "user" else 1 + len(config.hidden_units),
        )
        vector = keras.layers.Dense(config.embedding_dim, name=f"{side}_vector")(hidden)
    return keras.Model(index, vector, name=ITEM_TOWER if side == "item" else USER_TOWER)
