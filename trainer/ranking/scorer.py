"""A trained model's ratings for rows of indices."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

# Rows scored at once: bounds memory, large enough to keep the cores busy.
CHUNK_ROWS = 65_536


class Scorer:
    """Scores rows with a model, chunk by chunk; unclipped.

    Args:
        num_user_rows, num_item_rows: of the model's tables: indices must be below.
    """

    def __init__(self, model: keras.Model, *, num_user_rows: int, num_item_rows: int) -> None:
        self._model = model
        spec = tf.TensorSpec([None], tf.int32)
        # The traced function itself: TensorFlow warns of its tracing where a process scores several models.
        self._score = tf.function(
            lambda columns: model(columns, training=False)[:, 0], autograph=False
        ).get_concrete_function({"user_index": spec, "item_index": spec})
        self.num_item_rows = num_item_rows
        self._num_rows = {"user_index": num_user_rows, "item_index": num_item_rows}

    def __call__(self, user_index: np.ndarray, item_index: np.ndarray) -> np.ndarray:
        """Ratings, float64 [rows], of embedding rows `user_index` and `item_index`, int32 [rows]."""
        columns = {"user_index": user_index, "item_index": item_index}
        for name, index in columns.items():
            # A GPU's gather returns zeros for an index out of range, silently: catch it here.
            if len(index) and not 0 <= index.min() <= index.max() < self._num_rows[name]:
                raise ValueError(f"{name} must be within 0 and {self._num_rows[name] - 1}, got {index.max()}")
        scores = np.empty(len(user_index))
        for begin in range(0, len(scores), CHUNK_ROWS):
            part = slice(begin, begin + CHUNK_ROWS)
            scores[part] = self._score({name: tf.constant(c[part]) for name, c in columns.items()}).numpy()
        return scores
