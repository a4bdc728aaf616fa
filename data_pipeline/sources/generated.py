"""Generates ratings from a planted low-rank model, so that the lowest reachable RMSE is known."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pyarrow as pa

from data_pipeline.sources.in_memory import Ratings

# Assumed values that make mean, spread and long tail resemble ML-100K: mean 3.5, standard deviation 1.1, and
# a tenth of the items with half of the ratings.
MEAN_RATING = 3.6
USER_BIAS_STDDEV = 0.42
ITEM_BIAS_STDDEV = 0.5
FACTOR_STDDEV = 0.5
RANK = 4
NOISE_STDDEV = 0.85
ACTIVITY_STDDEV = 1.0
POPULARITY_STDDEV = 1.4
MIN_RATINGS_PER_USER = 20


def generate_ratings(
    *, num_users: int = 943, num_items: int = 1682, num_ratings: int = 100_000, seed: int = 42
) -> Ratings:
    """Ratings 1 to 5 of a planted model: round(mu + b_u + b_i + p_u . q_i + Gaussian noise), clipped.

    (user, item) pairs are distinct; user activity and item popularity are log-normal. `rmse_floor` is the
    RMSE of the best possible prediction, the planted conditional mean, over the generated rows.
    """
    if not 0 < num_ratings <= num_users * num_items:
        raise ValueError(f"num_ratings ({num_ratings}) must be between 1 and users x items")
    rng = np.random.default_rng(seed)
    log_weights_UI = np.add.outer(
        rng.normal(0, ACTIVITY_STDDEV, num_users), rng.normal(0, POPULARITY_STDDEV, num_items)
    )
    # The largest keys (log-weight + Gumbel noise) are a weighted sample without replacement (Efraimidis &
    # Spirakis 2006, in its Gumbel form).
    keys_UI = log_weights_UI + rng.gumbel(size=log_weights_UI.shape)
    # As in ML-100K every user rated some items and every item was rated.
    floor = min(MIN_RATINGS_PER_USER, num_ratings // (num_users + num_items))
    if floor:
        np.put_along_axis(keys_UI, np.argpartition(keys_UI, -floor, axis=1)[:, -floor:], np.inf, axis=1)
        np.put_along_axis(keys_UI, keys_UI.argmax(axis=0)[None], np.inf, axis=0)
    # Sorted, because the order that argpartition returns differs between CPU types.
    cells = rng.permutation(np.sort(np.argpartition(keys_UI.ravel(), -num_ratings)[-num_ratings:]))
    user, item = np.divmod(cells, num_items)

    p_UF = rng.normal(0, FACTOR_STDDEV, (num_users, RANK))
    q_IF = rng.normal(0, FACTOR_STDDEV, (num_items, RANK))
    planted = (
        MEAN_RATING
        + rng.normal(0, USER_BIAS_STDDEV, num_users)[user]
        + rng.normal(0, ITEM_BIAS_STDDEV, num_items)[item]
        + np.einsum("rf,rf->r", p_UF[user], q_IF[item])
    )
    rating = np.clip(np.round(planted + rng.normal(0, NOISE_STDDEV, num_ratings)), 1, 5)
    table = pa.table(
        {
            "user_id": user + 1,
            "item_id": item + 1,
            "rating": rating,
            "timestamp": 874_724_710 + np.sort(rng.integers(0, 18_000_000, num_ratings)),
        }
    )
    item_id = np.arange(1, num_items + 1)
    return Ratings(
        table=table,
        name="generated",
        fingerprint=hashlib.sha256(
            f"generated {num_users} {num_items} {num_ratings} {seed}".encode()
        ).hexdigest(),
        items=pa.table({"item_id": item_id, "title": [f"Generated movie {i}" for i in item_id]}),
        rmse_floor=float(np.sqrt(_conditional_variance(planted).mean())),
    )


def _conditional_variance(planted: np.ndarray) -> np.ndarray:
    """Var(clip(round(planted + noise), 1, 5)), row by row."""
    edges = np.array([-np.inf, 1.5, 2.5, 3.5, 4.5, np.inf])
    probability_R5 = np.diff(_normal_cdf((edges - planted[:, None]) / NOISE_STDDEV), axis=1)
    levels = np.arange(1, 6)
    return probability_R5 @ levels**2 - (probability_R5 @ levels) ** 2


_normal_cdf = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))
