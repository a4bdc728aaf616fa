"""Which items each user has rated, as arrays that a million users fit into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from data_pipeline.dataset.dataset import PreparedDataset


@dataclass(frozen=True)
class Interactions:
    """The items of every user: compressed sparse rows without values.

    Attributes:
        offsets: int64 [num_user_rows + 1]; a user's items are `items[offsets[u] : offsets[u + 1]]`.
        items: int32 item indices, ascending and once each within a user.
        num_item_rows: rows of the item's embedding table; known items are 1 to num_item_rows - 1.
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
        """Of pairs (user_index, item_index), each [rows], one after another; pairs with an unknown id, 0, are
        left out: nobody's item, and an item that is none.

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
        """How many items each user has, int64 [num_user_rows]."""
        return np.diff(self.offsets)

    def of_users(self, user_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The items of some users, one after another: (position in `user_index`, item index), both [pairs].

        >>> seen = Interactions(np.array([0, 0, 1, 3]), np.array([1, 1, 3], np.int32), 4)
        >>> seen.of_users(np.array([2, 1]))
        (array([0, 0, 1]), array([1, 3, 1], dtype=int32))
        """
        counts = self.counts[user_index]
        position = np.repeat(np.arange(len(user_index)), counts)
        return position, self.items[np.repeat(self.offsets[user_index], counts) + cumcount(counts)]

    def select(self, user_index: np.ndarray) -> Interactions:
        """Those of some users, in their order: row r has the items of `user_index[r]`.

        >>> seen = Interactions(np.array([0, 0, 1, 3]), np.array([1, 1, 3], np.int32), 4)
        >>> seen.select(np.array([2, 0, 2])).offsets
        array([0, 2, 2, 4])
        """
        _, items = self.of_users(user_index)
        offsets = np.concatenate([[0], np.cumsum(self.counts[user_index])])
        return Interactions(offsets, items, self.num_item_rows)

    def contains(self, user_index: np.ndarray, item_index: np.ndarray) -> np.ndarray:
        """Whether each pair is among them, bool, of the shape that the two arrays broadcast to.

        >>> seen = Interactions(np.array([0, 0, 1, 3]), np.array([1, 1, 3], np.int32), 4)
        >>> seen.contains(np.array([[1], [2]]), np.array([1, 3]))
        array([[ True, False],
               [ True,  True]])
        """
        users = np.repeat(np.arange(len(self.counts)), self.counts)
        cells = users * self.num_item_rows + self.items
        wanted = user_index.astype(np.int64) * self.num_item_rows + item_index
        if not len(cells):
            return np.zeros(wanted.shape, bool)
        return cells[np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)] == wanted


def cumcount(counts: np.ndarray) -> np.ndarray:
    """The place of each member in its group, where groups of so many stand one after another.

    >>> cumcount(np.array([2, 0, 3]))
    array([0, 1, 0, 1, 2])
    """
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def train_interactions(dataset: PreparedDataset) -> Interactions:
    """The items of every user among the training rows, by embedding row."""
    train = dataset.columns("train")
    return Interactions.of(
        [(train.user_index, train.item_index)],
        num_user_rows=dataset.num_user_rows,
        num_item_rows=dataset.num_item_rows,
    )
