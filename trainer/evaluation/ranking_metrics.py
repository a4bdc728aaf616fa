"""How good rankings are, user by user: whether relevant items stand on top.

Relevance is binary. A user has R relevant items; h_r is 1 where the item at rank r is one of them, else 0;
hits@k is their sum up to rank k. HR, recall and precision are as in Herlocker et al. 2004.

    hr@k         1 if hits@k > 0, else 0
    recall@k     hits@k / R
    precision@k  hits@k / k, also where fewer than k items were left to recommend
    ndcg@k       sum of h_r / log2(r + 1) up to k, over the same with min(k, R) hits on top
                 (Järvelin & Kekäläinen 2002)
    map@k        sum of h_r * hits@r / r up to k, over min(k, R): average precision, whose mean is MAP
    mrr@k        1 / rank of the first hit up to k, 0 without one

Others divide differently: trec_eval's MAP@k is over R.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_pipeline.features.interactions import Interactions

METRICS = ("ndcg", "recall", "precision", "hr", "map", "mrr")


def hits(recommended_UK: np.ndarray, relevant: Interactions) -> np.ndarray:
    """Which recommended items are relevant, bool [users, K]; row r of `relevant` belongs to row r.

    0, no item, is never relevant.
    """
    return relevant.contains(np.arange(len(recommended_UK))[:, None], recommended_UK)


def ranking_metrics(
    hits_UK: np.ndarray, num_relevant_U: np.ndarray, *, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """Every metric at every k for every user: `ndcg@10` -> float64 [users].

    Args:
        hits_UK: bool, by rank; K is at least the largest k.
        num_relevant_U: relevant items of each user, at least 1, whether or not they could be recommended.

    Two relevant items, one of them at rank 2:

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
        most_hits_U = np.minimum(num_relevant_U, k)
        metrics |= {
            f"ndcg@{k}": hits_Uk @ discount_K[:k] / np.cumsum(discount_K)[most_hits_U - 1],
            f"recall@{k}": num_hits_U / num_relevant_U,
            f"precision@{k}": num_hits_U / k,
            f"hr@{k}": (num_hits_U > 0).astype(np.float64),
            f"map@{k}": (hits_Uk * num_hits_Uk / rank_K[:k]).sum(axis=1) / most_hits_U,
            f"mrr@{k}": (num_hits_U > 0) / (hits_Uk.argmax(axis=1) + 1),
        }
    return metrics
