"""Matrix factorization."""

from __future__ import annotations

import keras

from trainer.config import ModelConfig
from trainer.models.inputs import ModelInputs, bias, embedding, index_inputs, output_dtype
from trainer.models.layers import InnerProduct, Offset
from trainer.models.towers import ITEM_TOWER, USER_TOWER


def mf(config: ModelConfig, inputs: ModelInputs) -> keras.Model:
    """score = mean + b_u + b_i + p_u . q_i (Koren, Bell & Volinsky 2009, equation 4).

    The score without the mean is the inner product of two towers, [p_u, b_u, 1] and [q_i, 1, b_i].
    """
    indices = index_inputs()
    user = _tower(config, inputs.num_user_rows, "user", ones_first=False)(indices["user_index"])
    item = _tower(config, inputs.num_item_rows, "item", ones_first=True)(indices["item_index"])
    score = InnerProduct(dtype=output_dtype(), name="score")([user, item])
    score = Offset(inputs.initial_score, dtype=output_dtype(), name="mean")(score)
    return keras.Model(indices, score, name="mf")


def _tower(config: ModelConfig, num_rows: int, name: str, *, ones_first: bool) -> keras.Model:
    index = keras.Input((), dtype="int32", name=f"{name}_index")
    factors = embedding(config, num_rows, f"{name}_embedding")(index)
    biases = bias(config, num_rows, f"{name}_bias")(index)
    ones = keras.ops.ones_like(biases)
    row = keras.layers.Concatenate(name=f"{name}_row")(
        [factors, ones, biases] if ones_first else [factors, biases, ones]
    )
    return keras.Model(index, row, name=ITEM_TOWER if name == "item" else USER_TOWER)
