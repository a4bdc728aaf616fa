"""The items that each user has rated, as compressed sparse rows (CSR)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from data_pipeline.dataset.dataset import PreparedDataset


@dataclass(frozen=True)
class Interactions:
    """The items of every user: a CSR matrix without values.

    Attributes:
        offsets: int64 [num_user_rows + 1]; a user's items are `items[offsets[u] : offsets[u + 1]]`.
        items: int32 item indices, ascending and distinct within each user.
        num_item_rows: rows of the item embedding table; known items are 1 to num_item_rows - 1.
    """

    offsets: np.ndarray
    items: np.ndarray
    num_item_rows: int

    @classmethod
    def of(
        cls,
        parts: Iterable[tuple[np.ndarray, np.ndarray]],
        *,
        num_user_rows: int,
        num_item_rows: int,
    ) -> Interactions:
        """Collects (user_index, item_index) pairs from arrays [rows]; ignores pairs with an unknown id (0).

        >>> seen = Interactions.of(
        ...     [(np.array([2, 1, 2, 2, 0]), np.array([3, 1, 1, 3, 2]))], num_user_rows=3, num_item_rows=4
        ... )
        >>> seen.offsets, seen.items
        (array([0, 0, 1, 3]), array([1, 1, 3], dtype=int32))
        """
        cells = [
            (user.astype(np.int64) * num_item_rows + item)[(user > 0) & (item > 0)] for user, item in parts
        ]
        cell = np.unique(np.concatenate([np.empty(0, np.int64), *cells]))
        user, item = np.divmod(cell, num_item_rows)
        offsets = np.zeros(num_user_rows + 1, np.int64)
        np.cumsum(np.bincount(user, minlength=num_user_rows), out=offsets[1:])
        return cls(offsets, item.astype(np.int32), num_item_rows)

    @property
    def counts(self) -> np.ndarray:
        """The number of items of each user, int64 [num_user_rows]."""
        return np.diff(self.offsets)

    def of_users(self, user_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The items of the given users, concatenated: (position in `user_index`, item index), both [pairs].

        >>> seen = Interactions(np.array([0, 0, 1, 3]), np.array([1, 1, 3], np.int32), 4)
        >>> seen.of_users(np.array([2, 1]))
        (array([0, 0, 1]), array([1, 3, 1], dtype=int32))
        """
        counts = self.counts[user_index]
        position = np.repeat(np.arange(len(user_index)), counts)
        return position, self.items[np.repeat(self.offsets[user_index], counts) + cumcount(counts)]

    def select(self, user_index: np.ndarray) -> Interactions:
        """New `Interactions` whose row r has the items of user `user_index[r]`.

        >>> seen = Interactions(np.array([0, 0, 1, 3]), np.array([1, 1, 3], np.int32), 4)
        >>> seen.select(np.array([2, 0, 2])).offsets
        array([0, 2, 2, 4])
        """
        _, items = self.of_users(user_index)
        offsets = np.concatenate([[0], np.cumsum(self.counts[user_index])])
        return Interactions(offsets, items, self.num_item_rows)

    def contains(self, user_index: np.ndarray, item_index: np.ndarray) -> np.ndarray:
        """Whether the user has the item, bool, with the broadcast shape of the two arrays.

        >>> seen = Interactions(np.array([0, 0, 1, 3]), np.array([1, 1, 3], np.int32), 4)
        >>> seen.contains(np.array([[1], [2]]), np.array([1, 3]))
        array([[ True, False],
               [ True,  True]])
        """
        users = np.repeat(np.arange(len(self.counts)), self.counts)
        cells = users * self.num_item_rows + self.items
        queries = user_index.astype(np.int64) * self.num_item_rows + item_index
        if not len(cells):
            return np.zeros(queries.shape, bool)
        return cells[np.minimum(np.searchsorted(cells, queries), len(cells) - 1)] == queries


def cumcount(counts: np.ndarray) -> np.ndarray:
    """The position of each element within its group, for consecutive groups of the given sizes.

    >>> cumcount(np.array([2, 0, 3]))
    array([0, 1, 0, 1, 2])
    """
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def train_interactions(dataset: PreparedDataset) -> Interactions:
    """The items of every user in the training split, by embedding row."""
    train = dataset.columns("train")
    return Interactions.of(
        [(train.user_index, train.item_index)],
        num_user_rows=dataset.num_user_rows,
        num_item_rows=dataset.num_item_rows,
    )
