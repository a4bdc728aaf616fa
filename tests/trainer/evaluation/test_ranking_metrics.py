"""Ranking metrics against scikit-learn, trec_eval and their definitions in Python."""

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from data_pipeline.features.interactions import Interactions
from trainer.evaluation.ranking_metrics import hits, ranking_metrics

KS = (1, 3, 10, 40)


def rankings(seed, *, num_users=60, num_items=40):
    """Random rankings of all items, [users, items], and from one to all items relevant to a user."""
    rng = np.random.default_rng(seed)
    recommended_UK = np.array([rng.permutation(num_items) + 1 for _ in range(num_users)], np.int32)
    is_relevant_UI = rng.random((num_users, num_items + 1)) < rng.random((num_users, 1)) ** 2
    is_relevant_UI[:, 0] = False
    is_relevant_UI[np.arange(num_users), rng.integers(1, num_items + 1, num_users)] = True
    offsets = np.concatenate([[0], np.cumsum(is_relevant_UI.sum(axis=1))])
    relevant = Interactions(offsets, np.nonzero(is_relevant_UI)[1].astype(np.int32), num_items + 1)
    return recommended_UK, is_relevant_UI, relevant


@pytest.fixture(scope="module")
def case():
    recommended_UK, is_relevant_UI, relevant = rankings(1)
    metrics = ranking_metrics(hits(recommended_UK, relevant), relevant.counts, ks=KS)
    return recommended_UK, is_relevant_UI[:, 1:], metrics


def scores_of(recommended_UK):
    """Scores that lead to these rankings, [users, items]."""
    return -np.argsort(recommended_UK, axis=1).astype(float)


@pytest.mark.parametrize("k", KS)
def test_ndcg_equals_scikit_learn(case, k):
    recommended_UK, is_relevant_UI, metrics = case
    for user, scores in enumerate(scores_of(recommended_UK)):
        expected = ndcg_score([is_relevant_UI[user]], [scores], k=k)
        assert metrics[f"ndcg@{k}"][user] == pytest.approx(expected, abs=1e-12)


def test_map_of_full_rankings_equals_scikit_learns_average_precision(case):
    recommended_UK, is_relevant_UI, metrics = case
    for user, scores in enumerate(scores_of(recommended_UK)):
        expected = average_precision_score(is_relevant_UI[user], scores)
        assert metrics["map@40"][user] == pytest.approx(expected, abs=1e-12)


def test_all_metrics_equal_trec_eval(case):
    recommended_UK, is_relevant_UI, metrics = case
    cuts = ",".join(map(str, KS))
    judge = pytrec_eval.RelevanceEvaluator(
        {
            str(user): {str(item + 1): int(yes) for item, yes in enumerate(row)}
            for user, row in enumerate(is_relevant_UI)
        },
        {f"{name}.{cuts}" for name in ("ndcg_cut", "recall", "P", "map_cut", "success")} | {"recip_rank"},
    )
    results = judge.evaluate(
        {
            str(user): {str(item): float(len(row) - rank) for rank, item in enumerate(row)}
            for user, row in enumerate(recommended_UK)
        }
    )
    for user, num_relevant in enumerate(is_relevant_UI.sum(axis=1)):
        theirs = results[str(user)]
        for k in KS:
            expected = {
                "ndcg": theirs[f"ndcg_cut_{k}"],
                "recall": theirs[f"recall_{k}"],
                "precision": theirs[f"P_{k}"],
                "hr": theirs[f"success_{k}"],
                "map": theirs[f"map_cut_{k}"] * num_relevant / min(k, num_relevant),
                "mrr": theirs["recip_rank"] if theirs[f"success_{k}"] else 0,
            }
            ours = {name: metrics[f"{name}@{k}"][user] for name in expected}
            assert ours == pytest.approx(expected, abs=1e-12)


@given(
    is_hit=st.lists(st.booleans(), min_size=1, max_size=30),
    num_missed=st.integers(0, 40),
    k=st.integers(1, 30),
)
def test_metrics_equal_their_definitions(is_hit, num_missed, k):
    k = min(k, len(is_hit))
    num_relevant = max(1, sum(is_hit) + num_missed)
    metrics = ranking_metrics(np.array([is_hit]), np.array([num_relevant]), ks=[k])
    ranks = [rank for rank in range(1, k + 1) if is_hit[rank - 1]]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, num_relevant) + 1))
    expected = {
        f"ndcg@{k}": sum(1 / math.log2(rank + 1) for rank in ranks) / ideal,
        f"recall@{k}": len(ranks) / num_relevant,
        f"precision@{k}": len(ranks) / k,
        f"hr@{k}": float(bool(ranks)),
        f"map@{k}": sum((i + 1) / rank for i, rank in enumerate(ranks)) / min(k, num_relevant),
        f"mrr@{k}": 1 / ranks[0] if ranks else 0.0,
    }
    assert {name: values[0] for name, values in metrics.items()} == pytest.approx(expected, abs=1e-12)
    assert all(0 <= values[0] <= 1 + 1e-12 for values in metrics.values())


def test_padding_is_never_a_hit_and_a_perfect_ranking_scores_1():
    relevant = Interactions(np.array([0, 2, 3]), np.array([1, 2, 4], np.int32), num_item_rows=5)
    recommended_UK = np.array([[2, 1, 0, 0], [4, 0, 0, 0]])
    hits_UK = hits(recommended_UK, relevant)
    assert hits_UK.tolist() == [[True, True, False, False], [True, False, False, False]]
    metrics = ranking_metrics(hits_UK, relevant.counts, ks=[4])
    for name in ("ndcg@4", "recall@4", "hr@4", "map@4", "mrr@4"):
        assert metrics[name].tolist() == [1, 1], name
    assert metrics["precision@4"].tolist() == [0.5, 0.25]
