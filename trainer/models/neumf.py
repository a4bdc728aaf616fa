"""Neural matrix factorization (NeuMF)."""

from __future__ import annotations

import keras

from trainer.config import ModelConfig
from trainer.models.inputs import ModelInputs, embedding, hidden_layers, index_inputs, output_dtype


def neumf(config: ModelConfig, inputs: ModelInputs) -> keras.Model:
    """A linear layer over [p_u * q_i, MLP([u_u, v_i])]: GMF and an MLP, each with separate embeddings.

    Source: He et al. 2017, "Neural Collaborative Filtering", equation 12.
    """
    indices = index_inputs()

    def embeddings(branch: str) -> list[keras.KerasTensor]:
        return [
            embedding(config, num_rows, f"{branch}_{name}_embedding")(indices[f"{name}_index"])
            for name, num_rows in (("user", inputs.num_user_rows), ("item", inputs.num_item_rows))
        ]

    product = keras.layers.Multiply(name="gmf")(embeddings("gmf"))
    hidden = hidden_layers(config, keras.layers.Concatenate(name="mlp_features")(embeddings("mlp")))
    both = keras.layers.Concatenate(name="neumf_features")([product, hidden])
    score = keras.layers.Dense(
        1,
        bias_initializer=keras.initializers.Constant(inputs.initial_score),
        dtype=output_dtype(),
        name="score",
    )(both)
    return keras.Model(indices, score, name="neumf")
