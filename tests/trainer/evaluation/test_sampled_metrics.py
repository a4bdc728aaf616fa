"""The sampled protocol: the drawn negatives, and ranks against a sort."""

import numpy as np
import pytest

from data_pipeline.features.interactions import Interactions
from trainer.evaluation import sampled_metrics
from trainer.evaluation.holdout import Holdout
from trainer.evaluation.sampled_metrics import draw_negatives, sampled_ranks
from trainer.ranking.top_items import tie_bits

NUM_USERS, NUM_ITEMS = 40, 60


def interactions(is_rated_UI):
    offsets = np.concatenate([[0], np.cumsum(is_rated_UI.sum(axis=1))])
    return Interactions(offsets, np.nonzero(is_rated_UI)[1].astype(np.int32), is_rated_UI.shape[1])


@pytest.fixture(scope="module")
def holdout():
    """Users with one to eight relevant items; the first has rated all items but five, the second all."""
    rng = np.random.default_rng(0)
    is_rated_UI = rng.random((NUM_USERS, NUM_ITEMS + 1)) < 0.4
    is_rated_UI[0, 6:] = True
    is_rated_UI[0, :6] = False
    is_rated_UI[1] = True
    is_rated_UI[:, 0] = False
    is_relevant_UI = np.zeros_like(is_rated_UI)
    for user in range(NUM_USERS):
        rated = np.flatnonzero(is_rated_UI[user])
        is_relevant_UI[user, rng.choice(rated, rng.integers(1, 9), replace=False)] = True
    return Holdout(
        user_index=np.arange(1, NUM_USERS + 1, dtype=np.int32),
        relevant=interactions(is_relevant_UI),
        num_cold_relevant=np.zeros(NUM_USERS, np.int64),
        seen=interactions(is_rated_UI & ~is_relevant_UI),
        rated=interactions(is_rated_UI),
        num_seen_again=0,
    )


def negatives_of(holdout, rows, count, seed=0):
    position, positive = holdout.relevant.of_users(rows)
    return (
        rows[position],
        positive,
        draw_negatives(holdout, rows[position], positive, num_negatives=count, seed=seed),
    )


def test_negatives_are_distinct_and_unrated_in_every_split(holdout):
    row, _, negative_PN = negatives_of(holdout, np.arange(NUM_USERS), 10)
    for user, negatives in zip(row, negative_PN, strict=True):
        rated = set(holdout.rated.items[slice(*holdout.rated.offsets[user : user + 2])].tolist())
        drawn = negatives[negatives > 0].tolist()
        assert len(set(drawn)) == len(drawn) == min(10, NUM_ITEMS - len(rated))
        assert not rated & set(drawn)
    assert set(negative_PN[row == 0][0].tolist()) == {0, 1, 2, 3, 4, 5}
    assert not negative_PN[row == 1].any()


def test_negatives_are_a_function_of_seed_user_and_item(holdout):
    row, positive, negative_PN = negatives_of(holdout, np.arange(NUM_USERS), 10)
    some = holdout.select(np.array([30, 5, 17]))
    for new_row, old_row in enumerate([30, 5, 17]):
        _, again, drawn = negatives_of(some, np.array([new_row]), 10)
        assert again.tolist() == positive[row == old_row].tolist()
        assert drawn.tolist() == negative_PN[row == old_row].tolist()
    assert (negatives_of(holdout, np.arange(NUM_USERS), 10, seed=1)[2] != negative_PN).mean() > 0.5
    several = np.flatnonzero(np.bincount(row) > 2)[-1]
    first, second = negative_PN[row == several][:2]
    assert set(first) != set(second)


def test_all_sets_of_negatives_are_equally_likely():
    """Two of five unrated items for 20,000 positives: each of the ten sets is drawn about 2,000 times."""
    bits = sampled_metrics.mix(np.arange(20_000, dtype=np.uint32))
    first, second = np.sort(sampled_metrics._sample_without_replacement(bits, np.full(20_000, 5), 2), axis=0)
    times = np.bincount(first * 5 + second)
    assert len(times[times > 0]) == 10
    assert np.abs(times[times > 0] - 2000).max() < 5 * 2000**0.5


@pytest.mark.parametrize(("chunk_cells", "chunk_positives"), [(1, 1), (200, 3), (2**22, 2**14)])
def test_ranks_equal_a_sort_for_any_chunk_size(holdout, chunk_cells, chunk_positives, monkeypatch):
    monkeypatch.setattr(sampled_metrics, "CHUNK_CELLS", chunk_cells)
    monkeypatch.setattr(sampled_metrics, "CHUNK_POSITIVES", chunk_positives)
    scores_UI = np.random.default_rng(3).integers(0, 4, (NUM_USERS, NUM_ITEMS + 1)).astype(np.float32)
    scores_UI[:, 0] = 9
    rows = np.arange(NUM_USERS)
    ranks = sampled_ranks(lambda row, item: scores_UI[row, item], holdout, rows, num_negatives=10)
    row, positive, negative_PN = negatives_of(holdout, rows, 10)
    assert ranks.row.tolist() == row.tolist()
    for each in range(len(row)):
        candidates = [item for item in [positive[each], *negative_PN[each]] if item]
        bits = tie_bits(0, holdout.user_index[row[each], None], np.array(candidates))
        order = sorted(range(len(candidates)), key=lambda i: (-scores_UI[row[each], candidates[i]], bits[i]))
        assert ranks.rank[each] == order.index(0) + 1
        assert ranks.num_negatives[each] == len(candidates) - 1
    assert ranks.hits(3).tolist() == [[rank == 1, rank == 2, rank == 3] for rank in ranks.rank.tolist()]


def test_a_constant_scorer_performs_at_chance_level():
    """3,000 users with one relevant item and ten negatives: in the top three with probability 3/11."""
    is_relevant_UI = np.zeros((3000, 51), bool)
    is_relevant_UI[np.arange(3000), np.random.default_rng(0).integers(1, 51, 3000)] = True
    relevant = interactions(is_relevant_UI)
    holdout = Holdout(np.arange(1, 3001), relevant, np.zeros(3000, np.int64), relevant, relevant, 0)
    ranks = sampled_ranks(lambda row, _: np.zeros(len(row)), holdout, np.arange(3000), num_negatives=10)
    assert np.mean(ranks.rank <= 3) == pytest.approx(3 / 11, abs=0.033)
    assert ranks.rank.mean() == pytest.approx(6, abs=0.25)


def test_a_nan_score_is_an_error(holdout):
    with pytest.raises(ValueError, match="scores must be numbers, got nan"):
        sampled_ranks(lambda row, _: np.full(len(row), np.nan), holdout, np.arange(3), num_negatives=2)
