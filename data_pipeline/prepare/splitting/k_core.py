"""The k-core: repeatedly drops users and items with fewer ratings than the minimum."""

from __future__ import annotations

import numpy as np

from data_pipeline.dataset.splits import DROPPED
from data_pipeline.prepare.staging import Staging


def drop_outside_k_core(
    staging: Staging,
    split_of_row: np.ndarray,
    *,
    min_user_ratings: int,
    min_item_ratings: int,
    num_fixed: int = 0,
) -> int:
    """Sets the rows of users and items with too few ratings to `DROPPED`; returns the number of these rows.

    Repeats until every remaining user and item has enough ratings: the k-core (Seidman 1983) of the bipartite
    graph of users and items.

    Args:
        split_of_row: uint8 [rows], changed in place; dropped rows do not count.
        num_fixed: the number of first rows that count but are never dropped.
    """
    dropped = 0
    while True:
        user_counts = np.zeros(len(staging.users), np.int64)
        item_counts = np.zeros(len(staging.items), np.int64)
        for chunk in staging.chunks(["row", "user", "item"]):
            kept = split_of_row[chunk["row"]] != DROPPED
            user_counts += np.bincount(chunk["user"][kept], minlength=len(user_counts))
            item_counts += np.bincount(chunk["item"][kept], minlength=len(item_counts))
        rare_user, rare_item = user_counts < min_user_ratings, item_counts < min_item_ratings
        before = dropped
        for chunk in staging.chunks(["row", "user", "item"]):
            row = chunk["row"][rare_user[chunk["user"]] | rare_item[chunk["item"]]]
            row = row[(row >= num_fixed) & (split_of_row[row] != DROPPED)]
            split_of_row[row] = DROPPED
            dropped += len(row)
        if dropped == before:
            return dropped
