"""Named settings with the result that they are known to give.

Figures are of MovieLens-100K, means over the training seeds 0 to 4 on one split, trained on all of its
training rows (`--set data.validation_fraction=0`), test rows read once: benchmarks/results/models_ml100k_*.md
has them with their spread, and benchmarks/models.py makes them. Settings were chosen before on a tenth of the
training rows, kept for validation; "validation" is that. Ratings: split42 is the random 80/20 split of seed
42. Rankings: 75/25 of each user's rows (`--split per-user --test-fraction 0.25`), NDCG@10
over all unseen items, in which popularity reaches 0.25 and EASE 0.48.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The tutorial's model: item and user embeddings of 5, concatenated, Dense 128 and 32 with ReLU, Dense 1; MSE,
# Adam 1e-3, batch 32, 5 epochs. Not chosen by us.
ARTICLE: dict[str, Any] = {
    "model.name": "mlp",
    "model.embedding_dim": 5,
    "model.hidden_units": (128, 32),
    "optimizer.name": "adam",
    "optimizer.learning_rate": 1e-3,
    "train.epochs": 5,
    "train.global_batch_size": 32,
}

# Biases and an inner product. Validation RMSE 0.905; tried: L2 0.1 to 0.16, 32 and 64 factors, batch 512 and
# 2,048, learning rates 2e-3 and 5e-3, up to 80 epochs. Test: split42 RMSE 0.905, u1 0.922.
MF: dict[str, Any] = {
    "model.name": "mf",
    "model.embedding_dim": 32,
    "model.embedding_l2": 0.12,
    "model.bias_l2": 0.01,
    "optimizer.learning_rate": 2e-3,
    "train.epochs": 40,
    "train.global_batch_size": 2048,
}

# Ids, side features and their crossings. Validation RMSE 0.915; tried: width 8 and 16, L2 0 to 0.05, dropout
# 0 to 0.3, up to 15 epochs, all categories crossed (0.918). Test: split42 RMSE 0.922, u1 0.932.
WIDE_DEEP: dict[str, Any] = {
    "model.name": "wide-deep",
    "model.embedding_dim": 16,
    "model.hidden_units": (64, 32),
    "model.embedding_l2": 0.05,
    "optimizer.learning_rate": 2e-3,
    "train.epochs": 8,
    "train.global_batch_size": 1024,
}

# Validation NDCG@10 0.168 (EASE 0.182, popularity 0.095; a user has few rows there), mean of two seeds;
# tried: BCE with 4 to 16 negatives (0.151 to 0.158), BPR (0.149), sampled softmax with 16 to 100, width 8 to
# 64, L2 0 to 0.1, dropout 0 to 0.5, learning rates 1e-3 to 3e-3. Test: NDCG@10 0.448.
NEUMF: dict[str, Any] = {
    "model.name": "neumf",
    "model.embedding_dim": 16,
    "model.hidden_units": (32, 16),
    "model.embedding_l2": 0.05,
    "model.dropout": 0.2,
    "objective.name": "sampled-softmax",
    "objective.negatives": 16,
    "optimizer.learning_rate": 2e-3,
    "train.epochs": 20,
    "train.global_batch_size": 1024,
}

# Matrix factorization that ranks. Validation NDCG@10 0.180, mean of two seeds; tried: BCE 0.169, BPR 0.159,
# in-batch softmax 0.178, L2 0.02 and 0.05, learning rates 1e-3 and 2e-3. Test: NDCG@10 0.480.
MF_RANKING: dict[str, Any] = {
    "model.name": "mf",
    "model.embedding_dim": 64,
    "model.embedding_l2": 0.05,
    "objective.name": "sampled-softmax",
    "objective.negatives": 16,
    "optimizer.learning_rate": 2e-3,
    "train.epochs": 24,
    "train.global_batch_size": 1024,
}

# Ids alone: with side features validation was worse (0.164). Validation NDCG@10 0.175, mean of two seeds;
# tried: L2 0.05 and 0.1, learning rates 2e-3 and 4e-3, up to 20 epochs. Test: NDCG@10 0.484.
TWO_TOWER: dict[str, Any] = {
    "model.name": "two-tower",
    "model.embedding_dim": 64,
    "model.hidden_units": (),
    "model.embedding_l2": 0.05,
    "model.features": "none",
    "objective.name": "in-batch-softmax",
    "optimizer.learning_rate": 4e-3,
    "train.epochs": 9,
    "train.global_batch_size": 1024,
}

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "article": ARTICLE,
    "mf": MF,
    "wide-deep": WIDE_DEEP,
    "neumf": NEUMF,
    "mf-ranking": MF_RANKING,
    "two-tower": TWO_TOWER,
}
