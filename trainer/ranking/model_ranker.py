"""A model as a ranker: scores all items for a user, pair by pair or with the model's towers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf

from trainer.models.towers import Towers, towers_of
from trainer.ranking.scorer import Scorer
from trainer.ranking.top_items import Ranker

# Pairs scored at a time. Bounds the memory of the pairs' indices, 16 bytes per pair.
CHUNK_PAIRS = 2**20
# Indices passed to a tower at a time. Bounds the memory of its layers' outputs.
CHUNK_INDICES = 65_536

ScorePairs = Callable[[np.ndarray, np.ndarray], np.ndarray]


def model_ranker(model: keras.Model, scorer: Scorer) -> Ranker:
    """The fastest ranker for a model: by its towers if it has them, else pair by pair.

    Make a new ranker when the weights have changed: it may keep the item vectors that it has computed.

    Args:
        scorer: the scorer of the same model.
    """
    towers = towers_of(model)
    if towers is None:
        return PairRanker(scorer, num_item_rows=scorer.num_item_rows)
    return TowerRanker(towers, num_item_rows=scorer.num_item_rows)


class PairRanker:
    """A ranker that scores every (user, item) pair.

    Args:
        score_pairs: (user_index, item_index), int32 [pairs] each -> scores [pairs].
        num_item_rows: number of items plus 1 for the unknown item.
    """

    def __init__(self, score_pairs: ScorePairs, *, num_item_rows: int) -> None:
        self._score_pairs = score_pairs
        self.num_item_rows = num_item_rows

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        """scores_UI, float32 [users, num_item_rows]."""
        scores_UI = np.zeros((len(user_index), self.num_item_rows), np.float32)
        item_index = np.arange(1, self.num_item_rows, dtype=np.int32)
        step = max(1, CHUNK_PAIRS // self.num_item_rows)
        for begin in range(0, len(user_index), step):
            users = user_index[begin : begin + step].astype(np.int32)
            pairs = np.repeat(users, len(item_index)), np.tile(item_index, len(users))
            scores_UI[begin : begin + step, 1:] = self._score_pairs(*pairs).reshape(len(users), -1)
        return scores_UI


class TowerRanker:
    """A ranker whose scores are inner products of tower vectors; item vectors are computed once.

    Args:
        num_item_rows: number of items plus 1 for the unknown item.
    """

    def __init__(self, towers: Towers, *, num_item_rows: int) -> None:
        self._towers = towers
        self.num_item_rows = num_item_rows

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        """scores_UI [users, num_item_rows]: float64 for a float64 model, else float32."""
        return _vectors(self._towers.user, user_index) @ self._items_ID.T

    @cached_property
    def _items_ID(self) -> np.ndarray:  # noqa: N802
        return _vectors(self._towers.item, np.arange(self.num_item_rows))


def _vectors(tower: keras.Model, index: np.ndarray) -> np.ndarray:
    """The tower's vectors [rows, dim], computed in the model's precision."""
    parts = []
    for begin in range(0, len(index), CHUNK_INDICES):
        part = tf.constant(index[begin : begin + CHUNK_INDICES], tf.int32)
        vectors = tower(part, training=False)
        parts.append(tf.cast(vectors, tower.variable_dtype).numpy())
    return np.concatenate(parts)
