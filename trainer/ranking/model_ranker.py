"""A trained model as a ranker of all items."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf

from trainer.models.towers import Towers, towers_of
from trainer.ranking.scorer import Scorer
from trainer.ranking.top_items import Ranker

# Pairs at a time: what the indices of a whole block of scores would take is 16 bytes a pair.
CHUNK_PAIRS = 2**20
# Indices that a tower takes at once: bounds the memory of its layers.
CHUNK_INDICES = 65_536

ScorePairs = Callable[[np.ndarray, np.ndarray], np.ndarray]


def model_ranker(model: keras.Model, scorer: Scorer) -> Ranker:
    """The fastest way to a model's scores of all items: those of the weights that it has now.

    Args:
        scorer: of the model.
    """
    towers = towers_of(model)
    if towers is None:
        return PairRanker(scorer, num_item_rows=scorer.num_item_rows)
    return TowerRanker(towers, num_item_rows=scorer.num_item_rows)


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


class TowerRanker:
    """Scores are inner products of the towers' vectors; the items' are computed once.

    Args:
        num_item_rows: items and the unknown one.
    """

    def __init__(self, towers: Towers, *, num_item_rows: int) -> None:
        self._towers = towers
        self.num_item_rows = num_item_rows

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        """scores_UI: float32 [users, num_item_rows], float64 where the model is."""
        return _vectors(self._towers.user, user_index) @ self._items_ID.T

    @cached_property
    def _items_ID(self) -> np.ndarray:  # noqa: N802
        return _vectors(self._towers.item, np.arange(self.num_item_rows))


def _vectors(tower: keras.Model, index: np.ndarray) -> np.ndarray:
    """[rows, dim], computed in the model's precision."""
    parts = []
    for begin in range(0, len(index), CHUNK_INDICES):
        part = tf.constant(index[begin : begin + CHUNK_INDICES], tf.int32)
        vectors = tower(part, training=False)
        parts.append(tf.cast(vectors, tower.variable_dtype).numpy())
    return np.concatenate(parts)
