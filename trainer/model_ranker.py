"""A trained model as a ranker of all items."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.ranking import Ranker
from trainer.run import Run

# Pairs at a time: what the indices of a whole block of scores would take is 16 bytes a pair.
CHUNK_PAIRS = 2**20

ScorePairs = Callable[[np.ndarray, np.ndarray], np.ndarray]


def model_ranker(run: Run) -> Ranker:
    """The fastest way to a run's scores of all items."""
    return PairRanker(run.scorer, num_item_rows=len(run.dataset.item_vocabulary))


class PairRanker:
    """Ranks with whatever scores pairs: every user with every item.

    Args:
        score_pairs: (user_index, item_index), int32 [pairs] each -> scores [pairs].
        num_item_rows: items and the unknown one.
    """

    def __init__(self, score_pairs: ScorePairs, *, num_item_rows: int) -> None:
        self._score_pairs = score_pairs
        self.num_item_rows = num_item_rows

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        """scores_UI, float32."""
        scores_UI = np.zeros((len(user_index), self.num_item_rows), np.float32)
        item_index = np.arange(1, self.num_item_rows, dtype=np.int32)
        step = max(1, CHUNK_PAIRS // self.num_item_rows)
        for begin in range(0, len(user_index), step):
            users = user_index[begin : begin + step].astype(np.int32)
            pairs = np.repeat(users, len(item_index)), np.tile(item_index, len(users))
            scores_UI[begin : begin + step, 1:] = self._score_pairs(*pairs).reshape(len(users), -1)
        return scores_UI
