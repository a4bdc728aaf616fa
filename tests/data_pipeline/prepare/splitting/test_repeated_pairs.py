"""Pairs that occur more than once, compared with `numpy.unique`."""

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.prepare.splitting import repeated_pairs as repeated
from data_pipeline.prepare.splitting.repeated_pairs import repeated_pairs
from data_pipeline.prepare.staging import Staging


@pytest.fixture
def staged(tmp_path):
    staging = Staging(tmp_path, seed=0)

    def stage(user, item):
        columns = {"user_id": user, "item_id": item, "rating": np.ones(len(user), np.float32)}
        staging.append(pa.RecordBatch.from_pydict(columns))
        staging.finish()
        return staging

    yield stage
    staging.close()


# With one group of users, pair numbers need 64 bits; with many groups 32 bits suffice within each.
@pytest.mark.parametrize("min_rows", [1 << 30, 1000])
@pytest.mark.parametrize("num_users", [3, 200_000])
@pytest.mark.parametrize("num_repeats", [0, 1, 100_000])
def test_repeated_pairs_agree_with_numpy_unique(staged, monkeypatch, min_rows, num_users, num_repeats):
    monkeypatch.setattr(repeated, "MIN_ROWS", min_rows)
    rng = np.random.default_rng(num_users + num_repeats)
    user = np.arange(200_000) % num_users
    item = np.arange(200_000)  # each id equals its code
    row = np.concatenate([np.arange(200_000), rng.integers(0, 200_000, num_repeats)])
    user, item = user[row], item[row]
    pairs, counts = np.unique(user * 200_000 + item, return_counts=True)
    found = repeated_pairs(staged(user, item))
    np.testing.assert_array_equal(found, pairs[counts > 1])
