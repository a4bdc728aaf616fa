"""The ratings of `shuffle_quality.py`: training and validation rows, and the orders of storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RANK, NOISE_STDDEV = 4, 0.85
# Assumed: a user rates within about an hour, ratings drift by half a star over the years, and items are in
# fashion one after another. So rows that are close in time differ from other rows.
YEARS_SECS, SESSION_SECS = 3 * 365 * 86_400, 3_600
DRIFT, FASHION_SHARE = 0.5, 0.1


def write_generated(path: Path, *, num_rows: int, num_users: int, num_items: int, seed: int = 0) -> None:
    """Writes ratings of a planted low-rank model with a drift in time; a tenth of them is for validation."""
    rng = np.random.default_rng(seed)
    activity = np.exp(rng.normal(0, 1, num_users))
    user = rng.choice(num_users, num_rows, p=activity / activity.sum())
    when = rng.uniform(0, 1, num_users)[user]
    popular = (num_items * rng.beta(0.6, 3, num_rows)).astype(int)
    fashion = (num_items * (when + rng.uniform(-0.5, 0.5, num_rows) * FASHION_SHARE)).astype(int) % num_items
    item = np.where(rng.random(num_rows) < 0.5, popular, fashion)
    users, items = rng.normal(0, 0.5, (num_users, RANK)), rng.normal(0, 0.5, (num_items, RANK))
    rating = 3.6 + rng.normal(0, 0.42, num_users)[user] + rng.normal(0, 0.5, num_items)[item]
    rating += np.einsum("rf,rf->r", users[user], items[item]) + DRIFT * (when - 0.5)
    rating = np.clip(np.round(rating + rng.normal(0, NOISE_STDDEV, num_rows)), 1, 5)
    time = when * YEARS_SECS + rng.exponential(SESSION_SECS, num_rows)
    _write(path, user, item, rating, time, validation_share=0.1)


def write_ml_100k(path: Path, folder: Path) -> None:
    """Writes MovieLens-100K; a fifth of it is for validation."""
    user, item, rating, time = np.loadtxt(folder / "u.data", dtype=np.int64, unpack=True)
    _write(path, user - 1, item - 1, rating, time, validation_share=0.2)


def _write(
    path: Path,
    user: np.ndarray,
    item: np.ndarray,
    rating: np.ndarray,
    time: np.ndarray,
    *,
    validation_share: float,
) -> None:
    rng = np.random.default_rng(42)
    is_validation = rng.random(len(user)) < validation_share
    columns = {"user_index": user + 1, "item_index": item + 1, "rating": rating}
    arrays = {"num_users": np.array(user.max() + 1), "num_items": np.array(item.max() + 1)}
    for split, rows in (("train", ~is_validation), ("validation", is_validation)):
        for name, column in columns.items():
            dtype = np.float32 if name == "rating" else np.int32
            arrays[f"{split}_{name}"] = column[rows].astype(dtype)
    user, time = user[~is_validation], time[~is_validation]
    arrays["stored_user"] = np.lexsort((time, user))
    arrays["stored_time"] = np.lexsort((user, time))
    arrays["stored_random"] = rng.permutation(len(user))
    np.savez(path, **arrays)
