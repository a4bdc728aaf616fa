"""Drawn negatives against a slow reading of the definition and against expected frequencies."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import UserError
from data_pipeline.features.interactions import Interactions
from trainer.objectives import negatives as negatives_module
from trainer.objectives.negatives import NegativeSampler
from trainer.stateless_random import row_bits

USERS, ITEMS = 40, 30


def seen_of(pairs, *, users=USERS, items=ITEMS):
    user, item = (np.array([pair[at] for pair in pairs], np.int64) for at in (0, 1))
    return Interactions.of([(user, item)], num_user_rows=users + 1, num_item_rows=items + 1)


def some_seen():
    rng = np.random.default_rng(3)
    users, items = rng.integers(1, USERS, 500), rng.zipf(1.3, 500) % ITEMS + 1
    pairs = set(zip(users.tolist(), items.tolist(), strict=True))
    # The last user has rated nothing; user 1 has rated all items except item 17.
    return seen_of(sorted({*pairs, *((1, i) for i in range(1, ITEMS + 1))} - {(1, 17)}))


def items_of(seen, user):
    return set(seen.items[seen.offsets[user] : seen.offsets[user + 1]].tolist())


def bits_of(rows, step=0, seed=5):
    return tf.constant(
        row_bits(np.array([seed], np.uint32), np.array([step], np.uint32), np.arange(rows, dtype=np.uint32))
    )


def counts_of(seen):
    return np.bincount(seen.items, minlength=seen.num_item_rows)


def test_uniform_draws_all_unseen_items_equally_often_and_no_seen_item():
    seen = some_seen()
    draw = tf.function(NegativeSampler(seen, "uniform", counts_of(seen)).draw, jit_compile=True)
    for user in (1, 2, 7, USERS):
        items, mask = draw(tf.fill([500], user), bits_of(500, step=user), 40)
        unseen = set(range(1, ITEMS + 1)) - items_of(seen, user)
        drawn = np.bincount(items.numpy().ravel(), minlength=ITEMS + 1)
        assert bool(tf.reduce_all(mask))
        assert set(np.flatnonzero(drawn)) == unseen
        expected = 500 * 40 / len(unseen)
        chi_square = float(((drawn[sorted(unseen)] - expected) ** 2 / expected).sum())
        assert chi_square < 2 * len(unseen) + 20, chi_square


def test_popularity_draws_in_proportion_to_ratings_and_masks_seen_items():
    seen = some_seen()
    counts = counts_of(seen)
    items, mask = NegativeSampler(seen, "popularity", counts).draw(tf.fill([500], 2), bits_of(500), 40)
    drawn = np.bincount(items.numpy().ravel(), minlength=ITEMS + 1)
    expected = counts / counts.sum() * drawn.sum()
    has_ratings = expected > 0
    assert drawn[~has_ratings].sum() == 0
    chi_square = float(((drawn - expected)[has_ratings] ** 2 / expected[has_ratings]).sum())
    assert chi_square < 2 * has_ratings.sum() + 20
    is_seen = np.isin(items.numpy(), sorted(items_of(seen, 2)))
    np.testing.assert_array_equal(mask.numpy(), ~is_seen)
    assert 0 < is_seen.sum() < is_seen.size


def test_a_row_gets_the_same_negatives_however_the_batch_is_split():
    seen = some_seen()
    draw = NegativeSampler(seen, "uniform", counts_of(seen)).draw
    users, bits = tf.constant(np.arange(32) % USERS + 1, tf.int32), bits_of(32)
    whole, _ = draw(users, bits, 4)
    parts = [draw(users[at : at + 8], bits[at : at + 8], 4)[0] for at in range(0, 32, 8)]
    np.testing.assert_array_equal(whole, tf.concat(parts, axis=0))
    another_step, _ = draw(users, bits_of(32, step=1), 4)
    assert (whole.numpy() != another_step.numpy()).mean() > 0.5


@pytest.mark.parametrize("max_bitmap_cells", [2**29, 0], ids=["bitmap", "search"])
def test_is_seen_agrees_with_the_ratings(monkeypatch, max_bitmap_cells):
    monkeypatch.setattr(negatives_module, "_MAX_BITMAP_CELLS", max_bitmap_cells)
    seen = some_seen()
    negatives = NegativeSampler(seen, "uniform", counts_of(seen))
    users, items = np.meshgrid(np.arange(USERS + 1), np.arange(ITEMS + 1), indexing="ij")
    found = tf.function(negatives.is_seen, jit_compile=True)(
        tf.constant(users, tf.int32), tf.constant(items, tf.int32)
    ).numpy()
    expected = [[item in items_of(seen, user) for item in range(ITEMS + 1)] for user in range(USERS + 1)]
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.tuples(st.integers(1, 4), st.integers(1, 9)), max_size=30),
    st.integers(0, 2**32 - 1),
)
def test_uniform_finds_the_unseen_item_of_the_drawn_rank(pairs, bits):
    """The r-th unseen item, r = floor(draw x unseen / 2^32), by a loop in Python."""
    seen = seen_of(sorted(pairs) or [(1, 1)], users=4, items=10)
    negatives = NegativeSampler(seen, "uniform", counts_of(seen))
    for user in range(5):
        items = negatives._draw_unseen(tf.fill([1, 1], user), tf.constant([[bits]], tf.uint32)).numpy()
        unseen = [item for item in range(1, 11) if item not in items_of(seen, user)]
        assert items[0, 0] == unseen[bits * len(unseen) >> 32]


def test_log_expected_is_the_log_of_the_expected_number_of_draws():
    seen = some_seen()
    counts = counts_of(seen)
    users, items = tf.constant([2, 2]), tf.constant([[3], [5]])
    uniform = NegativeSampler(seen, "uniform", counts).log_expected(users, items, 8, tf.float64)
    np.testing.assert_allclose(np.exp(uniform), 8 / (ITEMS - len(items_of(seen, 2))))
    popular = NegativeSampler(seen, "popularity", counts).log_expected(users, items, 8, tf.float64)
    np.testing.assert_allclose(np.exp(popular[:, 0]), 8 * np.maximum(counts[[3, 5]], 1) / counts.sum())


def test_uniform_refuses_a_user_who_has_rated_every_item():
    seen = seen_of([(2, item) for item in range(1, 11)], users=4, items=10)
    with pytest.raises(UserError, match=r"1 of 4 users have rated all 10 items"):
        NegativeSampler(seen, "uniform", counts_of(seen)).require_unseen()
    # `popularity` also draws rated items, and masks them.
    popular = NegativeSampler(seen, "popularity", counts_of(seen))
    popular.require_unseen()
    assert not popular.draw(tf.fill([3], 2), bits_of(3), 5)[1].numpy().any()
