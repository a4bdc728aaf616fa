"""Named settings with the result that they are known to give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The tutorial's model: item and user embeddings of 5, concatenated, Dense 128 and 32 with ReLU, Dense 1; MSE,
# Adam 1e-3, batch 32, 5 epochs. What it reaches on MovieLens-100K: benchmarks/results/quality_ml100k_*.md.
ARTICLE: dict[str, Any] = {
    "model.name": "mlp",
    "model.embedding_dim": 5,
    "model.hidden_units": (128, 32),
    "optimizer.name": "adam",
    "optimizer.learning_rate": 1e-3,
    "train.epochs": 5,
    "train.global_batch_size": 32,
}

# Biases and the inner product of 32 factors. Chosen by validation RMSE (10 % of split42's train) among L2 0.1
# to 0.16, 32 and 64 factors, batch 512 and 2,048, learning rates 2e-3 and 5e-3, up to 80 epochs.
# ML-100K, all training rows: split42 RMSE 0.905, u1 0.922 (benchmarks/results/models_ml100k_*.md).
MF: dict[str, Any] = {
    "model.name": "mf",
    "model.embedding_dim": 32,
    "model.embedding_l2": 0.12,
    "model.bias_l2": 0.01,
    "optimizer.learning_rate": 2e-3,
    "train.epochs": 40,
    "train.global_batch_size": 2048,
}

RECIPES: Mapping[str, Mapping[str, Any]] = {"article": ARTICLE, "mf": MF}
