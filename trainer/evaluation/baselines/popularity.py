"""The popularity baseline: the most popular items first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.features.interactions import Interactions


@dataclass(frozen=True)
class PopularityRanker:
    """Scores an item by the number of users who rated it, the same for every user.

    Attributes:
        counts: users who rated each item, float64 [num_item_rows].
    """

    counts: np.ndarray

    @classmethod
    def fit(cls, train: Interactions) -> PopularityRanker:
        return cls(np.bincount(train.items, minlength=train.num_item_rows).astype(np.float64))

    @property
    def num_item_rows(self) -> int:
        return len(self.counts)

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        """scores_UI, float64."""
        return np.tile(self.counts, (len(user_index), 1))
