"""EASE: a linear autoencoder in closed form, a strong baseline on dense data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.features.interactions import Interactions

L2 = 400.0  # Assumed; the paper uses 200 to 1,000 (section 4), more for larger data.
# Bounds memory: an items x items matrix in float32 and two more to invert it take 5 GB.
MAX_ITEMS = 20_000
# Bounds time: this number of multiplications takes about a minute on two cores.
MAX_MULTIPLICATIONS = 3e12
# Cells of the dense matrix X held at a time.
BLOCK_CELLS = 2**24


@dataclass(frozen=True)
class EaseRanker:
    """score(u, i) = sum of B_ji over the items j that u has rated; the values of ratings are ignored.

    Source: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", equations 1 and 8.

    Attributes:
        train: the training items of each user.
        weights: B, float32 [num_item_rows, num_item_rows]; 0 on the diagonal and for the unknown item.
    """

    train: Interactions
    weights: np.ndarray

    @classmethod
    def fit(cls, train: Interactions, *, l2: float = L2) -> EaseRanker:
        """Finds the B with a zero diagonal that minimizes |X - XB|^2 + l2 |B|^2.

        The solution is B_ij = -P_ij / P_jj with P = (X'X + l2 I)^-1.
        """
        gram_II = np.zeros((train.num_item_rows, train.num_item_rows), np.float32)
        for begin in range(0, len(train.counts), _users_per_block(train)):
            x_UI = _rows(train, np.arange(begin, min(begin + _users_per_block(train), len(train.counts))))
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
        """scores_UI, float32; all 0 for a user without ratings."""
        return _rows(self.train, user_index) @ self.weights


def why_too_large(train: Interactions) -> str | None:
    """Why the data is too large to fit EASE, or None if it is not."""
    num_items, num_users = train.num_item_rows - 1, len(train.counts) - 1
    if num_items > MAX_ITEMS:
        return f"it inverts an items x items matrix, got {num_items:,} items (at most {MAX_ITEMS:,})"
    # X'X and the scores take users x items x items each, the inverse 4/3 items^3.
    multiplications = num_items**2 * (2 * num_users + 4 / 3 * num_items)
    if multiplications > MAX_MULTIPLICATIONS:
        return (
            f"{num_users:,} users x {num_items:,}^2 items take {multiplications:.0e} multiplications "
            f"(at most {MAX_MULTIPLICATIONS:.0e})"
        )
    return None


def _users_per_block(train: Interactions) -> int:
    return max(1, BLOCK_CELLS // train.num_item_rows)


def _rows(train: Interactions, user_index: np.ndarray) -> np.ndarray:
    """Dense rows of X, float32 [users, num_item_rows]: 1 for each item that the user has rated."""
    x_UI = np.zeros((len(user_index), train.num_item_rows), np.float32)
    x_UI[train.of_users(user_index)] = 1
    return x_UI
