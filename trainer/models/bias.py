"""The bias model: the smallest one."""

from __future__ import annotations

import keras

from trainer.config import ModelConfig
from trainer.models.inputs import ModelInputs, bias, index_inputs, output_dtype
from trainer.models.layers import Offset


def bias_model(config: ModelConfig, inputs: ModelInputs) -> keras.Model:
    """score = mean + user bias + item bias (Koren, Bell & Volinsky 2009, equation 3)."""
    indices = index_inputs()
    user = bias(config, inputs.num_user_rows, "user_bias")(indices["user_index"])
    item = bias(config, inputs.num_item_rows, "item_bias")(indices["item_index"])
    score = keras.layers.Add(dtype=output_dtype(), name="score")([user, item])
    score = Offset(inputs.initial_score, dtype=output_dtype(), name="mean")(score)
    return keras.Model(indices, score, name="bias")
