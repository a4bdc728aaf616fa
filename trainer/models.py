"""Keras models over named columns: in, `user_index` and `item_index`; out, one rating a row."""

from __future__ import annotations

import keras

from trainer.config import ModelConfig
from trainer.layers import Dropout, Embedding


def mlp(config: ModelConfig, *, num_user_rows: int, num_item_rows: int) -> keras.Model:
    """Embeddings of item and user, concatenated, dense ReLU layers with dropout, a linear output.

    Args:
        num_user_rows, num_item_rows: rows of the embedding tables; row 0 is every unknown id.

    Returns:
        A model from {`user_index`: int32 [batch], `item_index`: int32 [batch]} to float [batch, 1]; float32
        in mixed precision.
    """

    def table(num_rows: int, name: str) -> Embedding:
        return Embedding(
            num_rows,
            config.embedding_dim,
            l2=config.embedding_l2,
            sparse=config.is_sparse(num_rows),
            name=name,
        )

    user_index = keras.Input((), dtype="int32", name="user_index")
    item_index = keras.Input((), dtype="int32", name="item_index")
    user = table(num_user_rows, "user_embedding")(user_index)
    item = table(num_item_rows, "item_embedding")(item_index)
    hidden = keras.layers.Concatenate(name="features")([item, user])
    for number, units in enumerate(config.hidden_units, start=1):
        hidden = keras.layers.Dense(units, activation="relu", name=f"hidden_{number}")(hidden)
        if config.dropout:
            hidden = Dropout(config.dropout, number, name=f"dropout_{number}")(hidden)
    output_dtype = "float64" if keras.config.floatx() == "float64" else "float32"
    rating = keras.layers.Dense(1, dtype=output_dtype, name="rating")(hidden)
    return keras.Model({"user_index": user_index, "item_index": item_index}, rating, name="mlp")


# Also to be named in `trainer.config.ModelConfig`.
MODELS = {"mlp": mlp}


def build_model(config: ModelConfig, *, num_user_rows: int, num_item_rows: int) -> keras.Model:
    """The configured model, with fresh weights."""
    return MODELS[config.name](config, num_user_rows=num_user_rows, num_item_rows=num_item_rows)
