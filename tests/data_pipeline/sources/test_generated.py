"""Generated ratings resemble ML-100K, and the lowest reachable RMSE of their model is known."""

import numpy as np
import pytest

from data_pipeline.sources import generated as generate
from data_pipeline.sources.generated import generate_ratings


@pytest.fixture(scope="module")
def ratings():
    return generate_ratings()


@pytest.fixture(scope="module")
def frame(ratings):
    return ratings.table.to_pandas()


def test_generated_ratings_have_the_size_of_ml_100k(frame):
    assert len(frame) == 100_000
    assert frame["user_id"].nunique() == 943
    assert frame["item_id"].nunique() == 1682
    assert set(frame["rating"]) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_no_user_rates_an_item_twice(frame):
    assert not frame.duplicated(["user_id", "item_id"]).any()


def test_generated_ratings_resemble_ml_100k(frame, ml_100k):
    real = np.loadtxt(ml_100k / "u.data", dtype=int)
    assert abs(frame["rating"].mean() - real[:, 2].mean()) < 0.1
    assert abs(frame["rating"].std() - real[:, 2].std()) < 0.1
    for ours, column in ((frame["item_id"], 1), (frame["user_id"], 0)):
        # The most popular tenth has a large share of the ratings: both have a long tail.
        our_counts = np.sort(ours.value_counts())[::-1]
        real_counts = np.sort(np.bincount(real[:, column])[1:])[::-1]
        tenth = len(our_counts) // 10
        assert abs(our_counts[:tenth].sum() - real_counts[:tenth].sum()) / 100_000 < 0.1
    assert frame["user_id"].value_counts().min() >= 20


@pytest.mark.parametrize("sizes", [{}, {"num_users": 20, "num_items": 30, "num_ratings": 300}])
def test_ratings_depend_only_on_the_seed(sizes):
    first, again, other = (generate_ratings(seed=seed, **sizes) for seed in (1, 1, 2))
    assert first.table.equals(again.table)
    assert first.fingerprint == again.fingerprint
    assert not first.table.equals(other.table)
    assert first.fingerprint != other.fingerprint


def test_every_pair_can_be_rated():
    full = generate_ratings(num_users=6, num_items=7, num_ratings=42).table.to_pandas()
    assert len(full.drop_duplicates(["user_id", "item_id"])) == 42


@pytest.mark.parametrize("num_ratings", [0, 43, -1])
def test_more_ratings_than_pairs_are_refused(num_ratings):
    with pytest.raises(ValueError, match=f"num_ratings \\({num_ratings}\\)"):
        generate_ratings(num_users=6, num_items=7, num_ratings=num_ratings)


def test_without_noise_the_floor_is_zero(monkeypatch):
    monkeypatch.setattr(generate, "NOISE_STDDEV", 1e-9)
    assert generate_ratings(num_users=50, num_items=60, num_ratings=1000).rmse_floor < 1e-6


def test_the_floor_is_the_rmse_of_predicting_the_planted_mean(monkeypatch):
    # The mean of each row is simulated: the same planted values with 400 draws of the noise.
    planted = []
    variance = generate._conditional_variance
    monkeypatch.setattr(generate, "_conditional_variance", lambda p: planted.append(p) or variance(p))
    ratings = generate_ratings(num_users=300, num_items=400, num_ratings=20_000, seed=5)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, generate.NOISE_STDDEV, (400, 20_000))
    best_prediction = np.clip(np.round(planted[0] + noise), 1, 5).mean(axis=0)
    actual = ratings.table["rating"].to_numpy()
    assert np.sqrt(np.mean((best_prediction - actual) ** 2)) == pytest.approx(ratings.rmse_floor, rel=0.01)


def test_the_floor_is_well_below_the_error_of_user_and_item_means(ratings, frame):
    by_user = frame.groupby("user_id")["rating"].transform("mean")
    by_item = frame.groupby("item_id")["rating"].transform("mean")
    additive = by_user + by_item - frame["rating"].mean()
    assert 0.75 < ratings.rmse_floor < np.sqrt(((additive - frame["rating"]) ** 2).mean()) - 0.05
