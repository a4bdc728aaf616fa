"""Multilayer perceptron over two embeddings: the model of the tutorial."""

from __future__ import annotations

import keras

from trainer.config import ModelConfig
from trainer.models.inputs import ModelInputs, embedding, hidden_layers, index_inputs, output_dtype


def mlp(config: ModelConfig, inputs: ModelInputs) -> keras.Model:
    """Concatenated item and user embeddings, dense ReLU layers with dropout, a linear output."""
    indices = index_inputs()
    user = embedding(config, inputs.num_user_rows, "user_embedding")(indices["user_index"])
    item = embedding(config, inputs.num_item_rows, "item_embedding")(indices["item_index"])
    hidden = hidden_layers(config, keras.layers.Concatenate(name="features")([item, user]))
    rating = keras.layers.Dense(1, dtype=output_dtype(), name="rating")(hidden)
    return keras.Model(indices, rating, name="mlp")
