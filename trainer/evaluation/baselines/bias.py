"""The bias model: a rating is the sum of a mean, a user bias and an item bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.dataset.columns import Columns
from data_pipeline.dataset.dataset import PreparedDataset

# Shrinkage and number of sweeps were chosen on validation rows taken from train (see docs/LOG.md).
USER_SHRINKAGE = 3.0
ITEM_SHRINKAGE = 5.0
SWEEPS = 6


@dataclass(frozen=True)
class BiasModel:
    """rating = mean + user bias + item bias (Koren, Bell & Volinsky 2009, equation 3).

    Attributes:
        mean: mean rating of the training rows.
        user_bias, item_bias: one value per user or item index; 0 for unknown ids.
    """

    mean: float
    user_bias: np.ndarray
    item_bias: np.ndarray

    def predict(self, user_index: np.ndarray, item_index: np.ndarray) -> np.ndarray:
        """Ratings, float64 [rows], not clipped; the bias of an unknown id is 0."""
        return self.mean + self.user_bias[user_index] + self.item_bias[item_index]

    @property
    def num_item_rows(self) -> int:
        return len(self.item_bias)

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        """scores_UI of all items, as a `Ranker`; every user gets the same order, by item bias."""
        return self.mean + np.add.outer(self.user_bias[user_index], self.item_bias)


def bias_model_of(dataset: PreparedDataset) -> BiasModel:
    """The bias model of a dataset's training rows."""
    return fit_bias_model(
        dataset.columns("train"), num_user_rows=dataset.num_user_rows, num_item_rows=dataset.num_item_rows
    )


def fit_bias_model(train: Columns, *, num_user_rows: int, num_item_rows: int) -> BiasModel:
    """Fits the biases in alternating sweeps: b_i, then b_u, becomes sum(residual) / (count + shrinkage)."""
    mean = float(train.rating.mean(dtype=np.float64))
    residual = train.rating.astype(np.float64) - mean
    user_bias = np.zeros(num_user_rows)
    item_bias = np.zeros(num_item_rows)
    for _ in range(SWEEPS):
        item_bias = _shrunk_means(
            residual - user_bias[train.user_index], train.item_index, num_item_rows, ITEM_SHRINKAGE
        )
        user_bias = _shrunk_means(
            residual - item_bias[train.item_index], train.user_index, num_user_rows, USER_SHRINKAGE
        )
    return BiasModel(mean=mean, user_bias=user_bias, item_bias=item_bias)


def _shrunk_means(values: np.ndarray, group: np.ndarray, num_groups: int, shrinkage: float) -> np.ndarray:
    sums = np.bincount(group, weights=values, minlength=num_groups)
    return sums / (np.bincount(group, minlength=num_groups) + shrinkage)
