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

RECIPES: Mapping[str, Mapping[str, Any]] = {"article": ARTICLE}
