"""Slices: the rows and users that a metric is computed over, warm and cold start apart.

A user or item is known if its id is in the training rows; others are cold.

    all         All rows. Rankings: all users with a relevant item; cold items count as missed.
    warm        Rows of a known user and a known item. Rankings: known users; only known items are relevant.
    cold_users  Rows of a cold user, with any item. Rankings: all cold users get the list of the unknown user;
                cold items count as missed.
    cold_items  Rows of a cold item, with any user. Rankings: users with cold items; only these are relevant.
                Candidates are known items only, so all of these metrics are 0.

A row is in `warm`, in `cold_users`, in `cold_items`, or in both cold slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.evaluation.holdout import Holdout

SLICES = ("all", "warm", "cold_users", "cold_items")


@dataclass(frozen=True)
class RankingSlice:
    """The users of a slice and the number of their relevant items.

    Attributes:
        users: rows of the holdout, int64 [users].
        num_relevant: the number of relevant items of each user, at least 1.
        by_known_items: whether known items are relevant; if not, there are no hits.
    """

    users: np.ndarray
    num_relevant: np.ndarray
    by_known_items: bool = True


def ranking_slices(holdout: Holdout) -> dict[str, RankingSlice]:
    """All slices of a holdout; a slice may have no users."""
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
    """All slices of the rows of a split, as masks, bool [rows].

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
