"""Two towers, for retrieval."""

from __future__ import annotations

import keras

from data_pipeline.features.side_features import Features
from trainer.config import ModelConfig
from trainer.models.feature_layers import embedded, lookups
from trainer.models.inputs import ModelInputs, embedding, hidden_layers, index_inputs, output_dtype
from trainer.models.layers import InnerProduct, Offset
from trainer.models.towers import ITEM_TOWER, USER_TOWER


def two_tower(config: ModelConfig, inputs: ModelInputs) -> keras.Model:
    """score = f(user) . g(item), where f and g see their own side alone: an index of items serves all users.

    A tower is the id's embedding plus a linear layer of the side features, if there are; with `hidden_units`
    dense ReLU layers and a linear one follow. Source: Yi et al. 2019, "Sampling-Bias-Corrected Neural
    Modeling for Large Corpus Item Recommendations".
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
        found = lookups(features, index, side=side)
        parts = embedded(features, found, side=side, dim=config.embedding_dim)
        together = keras.layers.Concatenate(name=f"{side}_features")(parts) if len(parts) > 1 else parts[0]
        of_features = keras.layers.Dense(config.embedding_dim, name=f"{side}_of_features")(together)
        vector = keras.layers.Add(name=f"{side}_sum")([vector, of_features])
    if config.hidden_units:
        hidden = hidden_layers(
            config,
            vector,
            prefix=f"{side}_",
            first_dropout=1 if side == "user" else 1 + len(config.hidden_units),
        )
        vector = keras.layers.Dense(config.embedding_dim, name=f"{side}_vector")(hidden)
    return keras.Model(index, vector, name=ITEM_TOWER if side == "item" else USER_TOWER)
