"""Which rows and users a metric is taken over: all, and the warm and the cold ones apart.

Known is what training rows have; ids decide.

    all         every row. A ranking is judged for every user with a relevant item, and a relevant item that
                is not known counts as missed.
    warm        rows of known users and known items. Rankings: known users, judged by their known items alone.
    cold_users  rows of users that are not known, whatever the item. Rankings: what the model gives the
                unknown user; items that are not known count as missed.
    cold_items  rows of items that are not known, whatever the user. Rankings: users with such items, judged
                by them alone. What ranks known items only misses them all, so here all is 0.

So every row is in `warm`, or in at least one of the cold ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.evaluation.holdout import Holdout

SLICES = ("all", "warm", "cold_users", "cold_items")


@dataclass(frozen=True)
class RankingSlice:
    """Whom a ranking is judged for, and by how many items.

    Attributes:
        users: rows of the holdout, int64 [users].
        num_relevant: of each of them, at least 1.
        by_known_items: whether known items are among the relevant ones, so whether hits count.
    """

    users: np.ndarray
    num_relevant: np.ndarray
    by_known_items: bool = True


def ranking_slices(holdout: Holdout) -> dict[str, RankingSlice]:
    """Every slice of a holdout; one may be without users."""
    num_warm_U = np.where(holdout.user_index > 0, holdout.relevant.counts, 0)
    num_cold_U = holdout.num_cold_relevant
    warm, cold_items = np.flatnonzero(num_warm_U), np.flatnonzero(num_cold_U)
    cold_users = np.flatnonzero(holdout.user_index == 0)
    return {
        "all": RankingSlice(np.arange(len(holdout)), holdout.num_relevant),
        "warm": RankingSlice(warm, num_warm_U[warm]),
        "cold_users": RankingSlice(cold_users, holdout.num_relevant[cold_users]),
        "cold_items": RankingSlice(cold_items, num_cold_U[cold_items], by_known_items=False),
    }


def row_slices(user_index: np.ndarray, item_index: np.ndarray) -> dict[str, np.ndarray]:
    """Every slice of a split's rows, bool [rows].

    >>> slices = row_slices(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    >>> {name: np.flatnonzero(rows).tolist() for name, rows in slices.items()}
    {'all': [0, 1, 2, 3], 'warm': [0], 'cold_users': [2, 3], 'cold_items': [1, 3]}
    """
    return {
        "all": np.ones(len(user_index), bool),
        "warm": (user_index > 0) & (item_index > 0),
        "cold_users": user_index == 0,
        "cold_items": item_index == 0,
    }
