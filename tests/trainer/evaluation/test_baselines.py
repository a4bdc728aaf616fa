"""Baselines against planted biases, the formula by hand and scikit-learn's ridge regression."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from data_pipeline.dataset.columns import Columns
from data_pipeline.features.interactions import Interactions
from trainer.evaluation.baselines import bias, ease
from trainer.evaluation.baselines.bias import BiasModel, fit_bias_model
from trainer.evaluation.baselines.ease import EaseRanker, why_too_large
from trainer.evaluation.baselines.popularity import PopularityRanker


def test_the_bias_model_recovers_planted_biases():
    rng = np.random.default_rng(0)
    user = rng.integers(1, 21, 40_000).astype(np.int32)
    item = rng.integers(1, 31, 40_000).astype(np.int32)
    planted_user, planted_item = rng.normal(size=21), rng.normal(size=31)
    planted_user -= planted_user[1:].mean()
    planted_item -= planted_item[1:].mean()
    rating = 3 + planted_user[user] + planted_item[item] + rng.normal(0, 0.1, 40_000)
    model = fit_bias_model(
        Columns.from_arrays(user_index=user, item_index=item, rating=rating.astype(np.float32)),
        num_user_rows=21,
        num_item_rows=31,
    )
    assert np.abs(model.predict(user, item) - (3 + planted_user[user] + planted_item[item])).max() < 0.05


def test_one_sweep_of_the_bias_model_equals_the_formula(monkeypatch):
    monkeypatch.setattr(bias, "SWEEPS", 1)
    columns = Columns.from_arrays(
        user_index=np.array([1, 1, 2], np.int32),
        item_index=np.array([1, 2, 1], np.int32),
        rating=np.array([5, 3, 1], np.float32),
    )
    model = fit_bias_model(columns, num_user_rows=3, num_item_rows=3)
    item_1 = ((5 - 3) + (1 - 3)) / (2 + 5)
    item_2 = (3 - 3) / (1 + 5)
    user_1 = ((5 - 3 - item_1) + (3 - 3 - item_2)) / (2 + 3)
    user_2 = (1 - 3 - item_1) / (1 + 3)
    np.testing.assert_allclose(model.item_bias, [0, item_1, item_2])
    np.testing.assert_allclose(model.user_bias, [0, user_1, user_2])
    unknown = np.array([0], np.int32)
    assert model.predict(unknown, unknown) == [3.0]


def interactions(num_users=60, num_items=12, seed=0):
    rng = np.random.default_rng(seed)
    pairs = rng.integers(1, num_users + 1, 300), 1 + (rng.random(300) ** 2 * num_items).astype(int)
    return Interactions.of([pairs], num_user_rows=num_users + 1, num_item_rows=num_items + 1)


def dense(train):
    x_UI = np.zeros((len(train.counts), train.num_item_rows))
    x_UI[train.of_users(np.arange(len(train.counts)))] = 1
    return x_UI


@pytest.mark.parametrize("block_cells", [1, 100, 2**24])
def test_ease_equals_ridge_regressions_of_each_item_on_all_others(block_cells, monkeypatch):
    monkeypatch.setattr(ease, "BLOCK_CELLS", block_cells)
    train = interactions()
    ranker = EaseRanker.fit(train, l2=7.0)
    x_UI = dense(train)
    for item in range(1, train.num_item_rows):
        others = [other for other in range(1, train.num_item_rows) if other != item]
        regression = Ridge(alpha=7.0, fit_intercept=False).fit(x_UI[:, others], x_UI[:, item])
        np.testing.assert_allclose(ranker.weights[others, item], regression.coef_, atol=1e-6)
        assert ranker.weights[item, item] == 0
    users = np.array([5, 0, 59])
    np.testing.assert_allclose(ranker.scores(users), x_UI[users] @ ranker.weights, atol=1e-6)
    assert not ranker.scores(users)[1].any()


def test_ease_gives_the_reason_why_data_is_too_large():
    def of(num_users, num_items):
        return Interactions(np.zeros(num_users + 2, np.int64), np.empty(0, np.int32), num_items + 1)

    assert why_too_large(of(6_040, 3_706)) is None
    assert why_too_large(of(10, 20_001)) == (
        "it inverts an items x items matrix, got 20,001 items (at most 20,000)"
    )
    assert "138,000 users x 19,000^2 items take 1e+14 multiplications" in why_too_large(of(138_000, 19_000))


def test_popularity_is_the_number_of_users_of_an_item():
    train = interactions()
    ranker = PopularityRanker.fit(train)
    np.testing.assert_array_equal(ranker.scores(np.array([0, 3])), [dense(train).sum(axis=0)] * 2)


def test_the_bias_model_ranks_by_its_predictions():
    model = BiasModel(mean=3.0, user_bias=np.array([0, 1.0, -1]), item_bias=np.array([0, 0.5, -0.5, 2]))
    users, items = np.array([2, 0]), np.arange(4)
    expected = [model.predict(np.full(4, user), items) for user in users]
    np.testing.assert_array_equal(model.scores(users), expected)
    assert model.num_item_rows == 4
