"""The k-core: users and items with few ratings are dropped, until none has few."""

from __future__ import annotations

import numpy as np

from data_pipeline.dataset.splits import DROPPED
from data_pipeline.prepare.staging import Staging


def drop_rare(
    staging: Staging,
    labels: np.ndarray,
    *,
    min_user_ratings: int,
    min_item_ratings: int,
    num_fixed: int = 0,
) -> int:
    """Labels rows of users and items with fewer ratings `DROPPED`; returns how many.

    It is repeated until every user and item that is left has enough: the k-core (Seidman 1983) of the graph
    of users and items.

    Args:
        labels: uint8 [rows], changed in place; dropped rows do not count.
        num_fixed: the first rows count, and stay in any case.
    """
    dropped = 0
    while True:
        user_counts = np.zeros(len(staging.users), np.int64)
        item_counts = np.zeros(len(staging.items), np.int64)
        for chunk in staging.chunks(["row", "user", "item"]):
            kept = labels[chunk["row"]] != DROPPED
            user_counts += np.bincount(chunk["user"][kept], minlength=len(user_counts))
            item_counts += np.bincount(chunk["item"][kept], minlength=len(item_counts))
        rare_user, rare_item = user_counts < min_user_ratings, item_counts < min_item_ratings
        before = dropped
        for chunk in staging.chunks(["row", "user", "item"]):
            row = chunk["row"][rare_user[chunk["user"]] | rare_item[chunk["item"]]]
            row = row[(row >= num_fixed) & (labels[row] != DROPPED)]
            labels[row] = DROPPED
            dropped += len(row)
        if dropped == before:
            return dropped
