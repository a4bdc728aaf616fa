"""Scores (user, item) pairs with a model."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from data_pipeline.dataset.dataset import PreparedDataset

# Rows scored at a time. Bounds memory, and is large enough to keep the cores busy.
CHUNK_ROWS = 65_536


class Scorer:
    """Scores rows with a model, in chunks; ratings are not clipped.

    Args:
        num_user_rows, num_item_rows: rows of the model's embedding tables; all indices must be lower.
    """

    def __init__(self, model: keras.Model, *, num_user_rows: int, num_item_rows: int) -> None:
        self._model = model
        spec = tf.TensorSpec([None], tf.int32)
        # A concrete function: TensorFlow warns about retracing if a process scores several models.
        self._score = tf.function(
            lambda columns: model(columns, training=False)[:, 0], autograph=False
        ).get_concrete_function({"user_index": spec, "item_index": spec})
        self.num_item_rows = num_item_rows
        self._num_rows = {"user_index": num_user_rows, "item_index": num_item_rows}

    def __call__(self, user_index: np.ndarray, item_index: np.ndarray) -> np.ndarray:
        """Scores, float64 [rows], of the pairs `user_index` and `item_index`, int32 [rows] each.

        Raises:
            ValueError: an index is out of range.
        """
        columns = {"user_index": user_index, "item_index": item_index}
        for name, index in columns.items():
            # On a GPU, gather silently returns zeros for an index out of range.
            if len(index) and not 0 <= index.min() <= index.max() < self._num_rows[name]:
                raise ValueError(f"{name} must be within 0 and {self._num_rows[name] - 1}, got {index.max()}")
        scores = np.empty(len(user_index))
        for begin in range(0, len(scores), CHUNK_ROWS):
            chunk = slice(begin, begin + CHUNK_ROWS)
            scores[chunk] = self._score({name: tf.constant(c[chunk]) for name, c in columns.items()}).numpy()
        return scores


def scorer_for(model: keras.Model, dataset: PreparedDataset) -> Scorer:
    """Scores of rows of a data set's indices."""
    return Scorer(
        model,
        num_user_rows=dataset.num_user_rows,
        num_item_rows=dataset.num_item_rows,
    )
