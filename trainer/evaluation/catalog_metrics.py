"""Catalog metrics: coverage, Gini index, novelty and diversity of recommendations.

coverage@k   share of the known items that are recommended to at least one user (Herlocker et al. 2004)
gini@k       Gini index of the number of times each known item is recommended: 0 if all are recommended
             equally often, near 1 if a few take everything (Gunawardana & Shani 2015, equation 8.21)
novelty@k    mean of -log2(share of training users who rated the item) over all recommendations, in bits
             (Zhou et al. 2010)
diversity@k  1 - mean cosine similarity of pairs of a user's recommendations, averaged over users (Ziegler et
             al. 2005). Items are compared by their list features, such as genres. Items without features,
             and users with fewer than two recommended items with features, do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_pipeline.features.interactions import Interactions, cumcount
from data_pipeline.features.side_features import list_values

# Cells of the dense sums of feature vectors held at a time: 32 MB.
BLOCK_CELLS = 2**22


@dataclass(frozen=True)
class ItemFeatures:
    """The features of each item, as compressed sparse rows.

    Attributes:
        offsets: int64 [num_item_rows + 1]; item i has the features `features[offsets[i] : offsets[i + 1]]`.
        features: feature indices, distinct within an item.
        num_features: number of distinct features.
    """

    offsets: np.ndarray
    features: np.ndarray
    num_features: int

    @property
    def counts(self) -> np.ndarray:
        """The number of features of each item, int64 [num_item_rows]."""
        return np.diff(self.offsets)


def item_features(items: pa.Table) -> ItemFeatures | None:
    """The features of all list columns of a dataset's `items` table; None if there are no values.

    >>> items = pa.table({"item_id": [7, 8, 9], "genres": [["Drama", "War"], None, ["War"]]})
    >>> features = item_features(items)
    >>> features.offsets, features.features
    (array([0, 0, 2, 2, 3]), array([0, 1, 1]))
    """
    row, feature, num_features = [], [], 0
    for name in items.column_names:
        if not pa.types.is_list(items[name].type):
            continue
        values = list_values(items[name].combine_chunks())
        row.append(values.row + 1)
        feature.append(values.number + num_features)
        num_features += values.num_different
    if not num_features:
        return None
    cells = np.concatenate(row) * num_features + np.concatenate(feature)
    row_of, feature_of = np.divmod(np.unique(cells), num_features)
    counts = np.bincount(row_of, minlength=len(items) + 1)
    return ItemFeatures(np.concatenate([[0], np.cumsum(counts)]), feature_of, num_features)


def catalog_metrics(
    recommended_UK: np.ndarray,
    *,
    ks: Sequence[int],
    train: Interactions,
    features: ItemFeatures | None,
) -> dict[str, float]:
    """`coverage@k`, `gini@k` and `novelty@k`, plus `diversity@k` if `features` are given.

    Args:
        recommended_UK: int32 item indices, best first, padded with 0; at least one is not 0. K must be at
            least the largest k.
        train: the training items of each user.

    One item recommended to all users, and rated by one of two training users:

    >>> train = Interactions(np.array([0, 0, 2, 3]), np.array([1, 2, 2], np.int32), num_item_rows=3)
    >>> catalog_metrics(np.array([[1], [1]]), ks=[1], train=train, features=None)
    {'coverage@1': 0.5, 'gini@1': 0.5, 'novelty@1': 1.0}
    """
    num_users = max(1, len(train.counts) - 1)
    # Known items have at least one rating in training; maximum() only guards the unknown item.
    share_I = np.maximum(np.bincount(train.items, minlength=train.num_item_rows), 1) / num_users
    metrics = {}
    for k in ks:
        recommended = recommended_UK[:, :k]
        items = recommended[recommended > 0]
        times_I = np.bincount(items, minlength=train.num_item_rows)[1:]
        metrics[f"coverage@{k}"] = float(np.mean(times_I > 0))
        metrics[f"gini@{k}"] = gini(times_I)
        metrics[f"novelty@{k}"] = float(np.mean(-np.log2(share_I[items])))
        diversity = None if features is None else intra_list_diversity(recommended, features)
        if diversity is not None:
            metrics[f"diversity@{k}"] = diversity
    return metrics


def gini(counts: np.ndarray) -> float:
    """The Gini index of counts, at least one of which is positive.

    >>> gini(np.array([1, 1, 1])), gini(np.array([0, 0, 6]))
    (0.0, 0.6666666666666666)
    """
    ascending = np.sort(counts)
    num_items = len(ascending)
    weights = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(weights @ ascending / (num_items * ascending.sum()))


def intra_list_diversity(recommended_UK: np.ndarray, features: ItemFeatures) -> float | None:
    """Mean over users of 1 - mean cosine of item pairs; None if no user has two items with features.

    The pairs are not enumerated: for n unit vectors with sum s, |s|^2 = n + 2 * (sum of the pairs' cosines).

    >>> features = ItemFeatures(np.array([0, 0, 1, 2, 4]), np.array([0, 1, 0, 1]), num_features=2)
    >>> round(intra_list_diversity(np.array([[1, 2], [1, 3]]), features), 4)  # cosines 0 and 0.7071
    0.6464
    """
    step = max(1, BLOCK_CELLS // features.num_features)
    diversity = []
    for begin in range(0, len(recommended_UK), step):
        block_UK = recommended_UK[begin : begin + step]
        has_features_UK = features.counts[block_UK] > 0
        row, rank = np.nonzero(has_features_UK)
        item = block_UK[row, rank]
        count = features.counts[item]
        feature = features.features[np.repeat(features.offsets[item], count) + cumcount(count)]
        cell = np.repeat(row, count) * features.num_features + feature
        sums = np.bincount(
            cell, weights=np.repeat(count**-0.5, count), minlength=len(block_UK) * features.num_features
        )
        squared_U = (sums.reshape(len(block_UK), -1) ** 2).sum(axis=1)
        number_U = has_features_UK.sum(axis=1)
        pairs_U = number_U * (number_U - 1)
        counted = pairs_U > 0
        diversity.append(1 - (squared_U - number_U)[counted] / pairs_U[counted])
    values = np.concatenate(diversity) if diversity else np.empty(0)
    return float(values.mean()) if len(values) else None
