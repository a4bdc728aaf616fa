"""Catalog metrics against loops over users, pairs and items."""

from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from data_pipeline.features.interactions import Interactions
from trainer.evaluation import catalog_metrics as module
from trainer.evaluation.catalog_metrics import catalog_metrics, gini, intra_list_diversity, item_features

NUM_USERS, NUM_ITEMS, K = 50, 30, 8


@pytest.fixture(scope="module")
def train():
    rng = np.random.default_rng(0)
    pairs = rng.integers(1, NUM_USERS + 1, 400), 1 + (rng.random(400) ** 2 * NUM_ITEMS).astype(int)
    every_item = np.arange(NUM_ITEMS) + 1
    return Interactions.of(
        [pairs, (every_item, every_item)], num_user_rows=NUM_USERS + 1, num_item_rows=NUM_ITEMS + 1
    )


@pytest.fixture(scope="module")
def items():
    """Items with genres and tags; items 1 to 3 have neither."""
    rng = np.random.default_rng(1)

    def lists(names, low, high):
        return [
            [] if item < 3 else sorted(rng.choice(names, rng.integers(low, high), replace=False).tolist())
            for item in range(NUM_ITEMS)
        ]

    genres = lists(["Drama", "War", "Comedy", "Crime"], 0, 4)
    tags = lists([f"tag {i}" for i in range(9)], 1, 5)
    tags[4] = None
    return pa.table({"item_id": np.arange(NUM_ITEMS), "genres": genres, "year": np.arange(30), "tags": tags})


@pytest.fixture(scope="module")
def recommended():
    """Some users get fewer than K items; the first gets one item with features, the second no items."""
    rng = np.random.default_rng(2)
    rows = np.array([rng.permutation(NUM_ITEMS)[:K] + 1 for _ in range(NUM_USERS)])
    rows[::7, 5:] = 0
    rows[0] = [1, 2, 3, 4, 0, 0, 0, 0]
    rows[1] = 0
    return rows.astype(np.int32)


def test_coverage_gini_and_novelty_equal_slow_loops(recommended, train):
    metrics = catalog_metrics(recommended, ks=[3, K], train=train, features=None)
    raters = Counter(train.items.tolist())
    for k in (3, K):
        shown = [item for row in recommended for item in row[:k] if item]
        times = Counter(shown)
        counts = [times[item] for item in range(1, NUM_ITEMS + 1)]
        differences = sum(abs(a - b) for a in counts for b in counts)
        assert metrics[f"coverage@{k}"] == pytest.approx(len(times) / NUM_ITEMS)
        # Half of the relative mean absolute difference.
        assert metrics[f"gini@{k}"] == pytest.approx(differences / (2 * NUM_ITEMS * sum(counts)))
        bits = [-np.log2(raters[item] / NUM_USERS) for item in shown]
        assert metrics[f"novelty@{k}"] == pytest.approx(np.mean(bits))
    assert "diversity@3" not in metrics


@pytest.mark.parametrize("block_cells", [1, 50, 2**22])
def test_diversity_equals_a_loop_over_all_pairs(recommended, items, block_cells, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_CELLS", block_cells)
    names = sorted(
        {name for column in ("genres", "tags") for row in items[column].to_pylist() for name in row or []}
    )
    hot = np.zeros((NUM_ITEMS + 1, len(names)))
    for row in items.to_pylist():
        for name in [*row["genres"], *(row["tags"] or [])]:
            hot[row["item_id"] + 1, names.index(name)] = 1
    cosine_II = cosine_similarity(hot)
    by_user = []
    for row in recommended:
        described = [item for item in row if hot[item].any()]
        if len(described) > 1:
            by_user.append(1 - np.mean([cosine_II[a, b] for a, b in combinations(described, 2)]))
    assert len(by_user) == NUM_USERS - 2
    assert intra_list_diversity(recommended, item_features(items)) == pytest.approx(np.mean(by_user))


def test_diversity_is_none_without_list_columns_or_pairs(items):
    assert item_features(items.select(["item_id", "year"])) is None
    assert item_features(pa.table({"item_id": [1], "genres": pa.array([[]], pa.list_(pa.string()))})) is None
    assert intra_list_diversity(np.array([[1, 2, 5]]), item_features(items)) is None


def test_features_of_a_chunked_table_belong_to_the_right_items(items):
    whole, part = item_features(items), item_features(pa.concat_tables([items.slice(0, 11), items.slice(11)]))
    assert (whole.offsets == part.offsets).all()
    assert whole.num_features == part.num_features
    assert len(whole.features) == sum(
        len(row or []) for column in ("genres", "tags") for row in items[column].to_pylist()
    )


def test_gini_is_near_1_if_one_item_takes_everything_and_0_if_counts_are_equal():
    assert gini(np.array([0] * 99 + [7])) == pytest.approx(0.99)
    assert gini(np.full(10, 3)) == 0
