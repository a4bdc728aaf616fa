"""EASE, a linear autoencoder in closed form: on dense data as good as what is trained for hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.features.interactions import Interactions

L2 = 400.0  # Assumed; the paper's are 200 to 1,000 (section 4), larger for larger data.
# A matrix of items by items in float32, and two more to invert it: 5 GB.
MAX_ITEMS = 20_000
# Products of two numbers: about a minute on two cores.
MAX_WORK = 3e12
BLOCK_CELLS = 2**24


@dataclass(frozen=True)
class EaseRanker:
    """score(u, i) = sum of B_ji over the items j that u rated, ratings taken as yes or no (Steck 2019,
    "Embarrassingly Shallow Autoencoders for Sparse Data", equations 1 and 8).

    Attributes:
        train: what each user rated.
        weights: B, float32 [num_item_rows, num_item_rows]; 0 on the diagonal and for the unknown item.
    """

    train: Interactions
    weights: np.ndarray

    @classmethod
    def fit(cls, train: Interactions, *, l2: float = L2) -> EaseRanker:
        """The B with a zero diagonal that minimises |X - XB|^2 + l2 |B|^2.

        With P = (X'X + l2 I)^-1 that is B_ij = -P_ij / P_jj.
        """
        gram_II = np.zeros((train.num_item_rows, train.num_item_rows), np.float32)
        for begin in range(0, len(train.counts), _step(train)):
            x_UI = _rows(train, np.arange(begin, min(begin + _step(train), len(train.counts))))
            gram_II += x_UI.T @ x_UI
        gram_II[np.diag_indices_from(gram_II)] += l2
        weights_II = np.linalg.inv(gram_II)
        weights_II /= -np.diag(weights_II).copy()
        np.fill_diagonal(weights_II, 0)
        return cls(train, weights_II)

    @property
    def num_item_rows(self) -> int:
        return self.train.num_item_rows

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        """scores_UI, float32; 0 for all items where a user has rated nothing."""
        return _rows(self.train, user_index) @ self.weights


def why_too_large(train: Interactions) -> str | None:
    """Why EASE is not to be fitted to so much data, or None."""
    num_items, num_users = train.num_item_rows - 1, len(train.counts) - 1
    if num_items > MAX_ITEMS:
        return f"it inverts a matrix of items by items, {num_items:,} items (at most {MAX_ITEMS:,})"
    # X'X and the scores are users x items x items each, an inverse 4/3 of items^3.
    work = num_items**2 * (2 * num_users + 4 / 3 * num_items)
    if work > MAX_WORK:
        return f"{num_users:,} users x {num_items:,}^2 items are {work:.0e} products (at most {MAX_WORK:.0e})"
    return None


def _step(train: Interactions) -> int:
    return max(1, BLOCK_CELLS // train.num_item_rows)


def _rows(train: Interactions, user_index: np.ndarray) -> np.ndarray:
    """Dense rows of X, float32 [users, num_item_rows]."""
    x_UI = np.zeros((len(user_index), train.num_item_rows), np.float32)
    x_UI[train.of_users(user_index)] = 1
    return x_UI
