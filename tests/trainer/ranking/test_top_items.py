"""Top items against a sort of every user's scores: exact, with ties, for any block size."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.features.interactions import Interactions
from trainer.ranking import top_items as ranking
from trainer.ranking.top_items import tie_bits, top_items


@dataclass
class Table:
    """A ranker with given scores, [users, num_item_rows]."""

    values: np.ndarray

    @property
    def num_item_rows(self):
        return self.values.shape[1]

    def scores(self, user_index):
        return self.values[user_index].copy()


def seen_of(is_seen_UI):
    """The marked items as `Interactions`; column 0, the unknown item, is ignored."""
    is_seen_UI = is_seen_UI.copy()
    is_seen_UI[:, 0] = False
    offsets = np.concatenate([[0], np.cumsum(is_seen_UI.sum(axis=1))])
    return Interactions(offsets, np.nonzero(is_seen_UI)[1].astype(np.int32), is_seen_UI.shape[1])


def slow_top_items(scores_UI, is_seen_UI, k, seed):
    rows = []
    for user, (scores, seen) in enumerate(zip(scores_UI, is_seen_UI, strict=True)):
        bits = tie_bits(seed, np.array([user]), np.arange(len(scores)))
        unseen = [item for item in range(1, len(scores)) if not seen[item]]
        best = sorted(unseen, key=lambda item: (-scores[item], bits[item]))[:k]
        rows.append(best + [0] * (k - len(best)))
    return rows


@st.composite
def cases(draw):
    """Few distinct scores, so that most are tied, and users who have seen no, some or all items."""
    num_users, num_item_rows = draw(st.integers(1, 12)), draw(st.integers(2, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    scores_UI = rng.integers(-draw(st.integers(0, 20)), 1, (num_users, num_item_rows)).astype(dtype)
    is_seen_UI = rng.random((num_users, num_item_rows)) < draw(st.sampled_from([0, 0.3, 0.9, 1]))
    return scores_UI, is_seen_UI, draw(st.integers(1, 35)), draw(st.integers(0, 3))


@given(
    case=cases(), block_bytes=st.sampled_from([1, 400, 2**20]), chunk_cells=st.sampled_from([1, 60, 2**20])
)
def test_top_items_equal_a_full_sort_for_any_block_size(case, block_bytes, chunk_cells):
    scores_UI, is_seen_UI, k, seed = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK_BYTES", block_bytes)
        patch.setattr(ranking, "CHUNK_CELLS", chunk_cells)
        users = np.arange(len(scores_UI))
        best_UK = top_items(Table(scores_UI), users, seen=seen_of(is_seen_UI), k=k, seed=seed)
    assert best_UK.dtype == np.int32
    assert best_UK.tolist() == slow_top_items(scores_UI, is_seen_UI, k, seed)


def test_few_high_scores_come_before_many_ties():
    """Like EASE for a user with little history: two positive scores, all others 0."""
    rng = np.random.default_rng(0)
    scores_UI = np.zeros((50, 40))
    for scores in scores_UI:
        scores[rng.choice(39, 2, replace=False) + 1] = [2, 1]
    is_seen_UI = rng.random(scores_UI.shape) < 0.1
    best_UK = top_items(Table(scores_UI), np.arange(50), seen=seen_of(is_seen_UI), k=4)
    assert best_UK.tolist() == slow_top_items(scores_UI, is_seen_UI, 4, 0)


def test_a_constant_scorer_performs_at_chance_level():
    """Each of 2,000 users has one relevant item among 100: the top ten contain it with probability 0.1."""
    rng = np.random.default_rng(0)
    users = np.arange(2000)
    best_UK = top_items(
        Table(np.ones((2000, 101), np.float32)), users, seen=seen_of(np.zeros((2000, 101), bool)), k=10
    )
    for relevant in (rng.integers(1, 101, 2000), np.full(2000, 1), np.full(2000, 100)):
        assert np.mean(best_UK == relevant[:, None]) * 10 == pytest.approx(0.1, abs=0.025)
        assert np.mean(best_UK[:, 0] == relevant) == pytest.approx(0.01, abs=0.01)
    other = top_items(
        Table(np.ones((2000, 101), np.float32)),
        users,
        seen=seen_of(np.zeros((2000, 101), bool)),
        k=10,
        seed=1,
    )
    assert (other != best_UK).mean() > 0.9


def test_the_unknown_item_is_never_recommended_whatever_its_score():
    scores_UI = np.zeros((3, 5))
    scores_UI[:, 0] = [9, np.nan, np.inf]
    best_UK = top_items(Table(scores_UI), np.arange(3), seen=seen_of(np.zeros((3, 5), bool)), k=5)
    assert np.sort(best_UK).tolist() == [[0, 1, 2, 3, 4]] * 3
    assert (best_UK[:, -1] == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error(value):
    scores_UI = np.zeros((3, 5), np.float32)
    scores_UI[2, 4] = value
    with pytest.raises(ValueError, match="scores must be finite numbers, got"):
        top_items(Table(scores_UI), np.arange(3), seen=seen_of(np.ones((3, 5), bool)), k=2)


def test_progress_is_reported_after_every_block(monkeypatch):
    monkeypatch.setattr(ranking, "BLOCK_BYTES", 4 * 5 * 2)
    reports = []
    top_items(
        Table(np.zeros((5, 5))),
        np.array([4, 0, 0, 1, 2]),
        seen=seen_of(np.zeros((5, 5), bool)),
        k=1,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert reports == [(2, 5), (4, 5), (5, 5)]


def test_no_users_give_an_empty_result():
    none = np.empty(0, np.int64)
    assert top_items(Table(np.zeros((5, 5))), none, seen=seen_of(np.zeros((0, 5), bool)), k=3).shape == (0, 3)
