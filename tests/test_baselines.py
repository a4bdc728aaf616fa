"""Bias baselines against planted biases and a five-line reference."""

import numpy as np

from data_pipeline.columns import Columns
from trainer.baselines import bias
from trainer.baselines.bias import fit_bias_model


def test_planted_biases_are_found():
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


def test_one_sweep_equals_the_formula(monkeypatch):
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
