"""Ranking metrics of each user: NDCG, recall, precision, hit rate, average precision, reciprocal rank.

Relevance is binary. A user has R relevant items. h_r is 1 if the item at rank r is relevant, else 0; hits@k
is the sum of h_r up to rank k. HR, recall and precision are as in Herlocker et al. 2004.

    hr@k         1 if hits@k > 0, else 0
    recall@k     hits@k / R
    precision@k  hits@k / k, also if there are fewer than k candidates
    ndcg@k       sum of h_r / log2(r + 1) up to k, divided by its value for min(k, R) hits at the top
                 (Järvelin & Kekäläinen 2002)
    map@k        sum of h_r * hits@r / r up to k, divided by min(k, R): average precision, whose mean is MAP
    mrr@k        1 / rank of the first hit up to k; 0 without a hit

Other libraries normalize differently: trec_eval divides MAP@k by R.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_pipeline.features.interactions import Interactions

METRICS = ("ndcg", "recall", "precision", "hr", "map", "mrr")


def hits(recommended_UK: np.ndarray, relevant: Interactions) -> np.ndarray:
    """Which recommended items are relevant, bool [users, K].

    Args:
        recommended_UK: item indices, padded with 0, which is never relevant.
        relevant: row r holds the relevant items of row r of `recommended_UK`.
    """
    return relevant.contains(np.arange(len(recommended_UK))[:, None], recommended_UK)


def ranking_metrics(
    hits_UK: np.ndarray, num_relevant_U: np.ndarray, *, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """Every metric at every k: `ndcg@10` -> float64 [users].

    Args:
        hits_UK: bool, in the order of ranks; K must be at least the largest k.
        num_relevant_U: the number of relevant items of each user, at least 1; includes items that are not
            candidates.

    A user with two relevant items, one of them at rank 2:

    >>> metrics = ranking_metrics(np.array([[False, True, False]]), np.array([2]), ks=[3])
    >>> {name: round(float(value[0]), 4) for name, value in metrics.items()}
    {'ndcg@3': 0.3869, 'recall@3': 0.5, 'precision@3': 0.3333, 'hr@3': 1.0, 'map@3': 0.25, 'mrr@3': 0.5}
    """
    assert hits_UK.shape[1] >= max(ks)
    assert (num_relevant_U > 0).all()
    rank_K = np.arange(1, hits_UK.shape[1] + 1)
    discount_K = 1 / np.log2(rank_K + 1)
    num_hits_UK = np.cumsum(hits_UK, axis=1)
    metrics: dict[str, np.ndarray] = {}
    for k in ks:
        hits_Uk, num_hits_Uk = hits_UK[:, :k], num_hits_UK[:, :k]
        num_hits_U = num_hits_Uk[:, -1]
        max_hits_U = np.minimum(num_relevant_U, k)
        metrics |= {
            f"ndcg@{k}": hits_Uk @ discount_K[:k] / np.cumsum(discount_K)[max_hits_U - 1],
            f"recall@{k}": num_hits_U / num_relevant_U,
            f"precision@{k}": num_hits_U / k,
            f"hr@{k}": (num_hits_U > 0).astype(np.float64),
            f"map@{k}": (hits_Uk * num_hits_Uk / rank_K[:k]).sum(axis=1) / max_hits_U,
            f"mrr@{k}": (num_hits_U > 0) / (hits_Uk.argmax(axis=1) + 1),
        }
    return metrics
