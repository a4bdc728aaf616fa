"""The sampled protocol: the rank of each relevant item among random negatives (He et al. 2017, section 4.1).

Its metrics depend on the number of negatives and can order models differently from a ranking of all items
(Krichene & Rendle 2020). Use it to compare with published results, not to choose a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.holdout import Holdout
from trainer.ranking.top_items import tie_bits
from trainer.stateless_random import mix

ScoreRows = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Users x items cells that are searched for unrated items at a time: 32 MB.
CHUNK_CELLS = 2**22
# Relevant items whose negatives are drawn and scored at a time: 13 MB of pairs with 100 negatives.
CHUNK_POSITIVES = 2**14
# Makes the draws differ from other random numbers of the same seed.
_NEGATIVE_STREAM = 0x5EED


@dataclass(frozen=True)
class SampledRanks:
    """The rank of each relevant item (positive) among its negatives.

    Attributes:
        row: int64 [positives], the row of its user in the holdout.
        rank: int64 [positives], 1 is best.
        num_negatives: int64 [positives]; lower than asked for if the user has fewer unrated items.
    """

    row: np.ndarray
    rank: np.ndarray
    num_negatives: np.ndarray

    def hits(self, k: int) -> np.ndarray:
        """Hits as `ranking_metrics` expects them, with one relevant item per row: bool [positives, k]."""
        return self.rank[:, None] == np.arange(1, k + 1)


def sampled_ranks(
    score_rows: ScoreRows,
    holdout: Holdout,
    rows: np.ndarray,
    *,
    num_negatives: int,
    seed: int = 0,
) -> SampledRanks:
    """Ranks each relevant item of some users among negatives that its user has not rated in any split.

    Negatives are drawn uniformly without replacement, as a function of (seed, user, item). Ties are broken as
    in `top_items`. Cold items have no score, and are not included.

    Args:
        score_rows: (row of the holdout, item index), int64 and int32 [pairs] -> scores [pairs].
        rows: the rows of the users in the holdout.

    Raises:
        ValueError: a score is NaN.
    """
    num_negatives = min(num_negatives, holdout.relevant.num_item_rows - 1)
    chunks = []
    step = max(1, CHUNK_CELLS // holdout.relevant.num_item_rows)
    for begin in range(0, len(rows), step):
        chunk_rows = rows[begin : begin + step]
        position, positive = holdout.relevant.of_users(chunk_rows)
        for first in range(0, len(position), CHUNK_POSITIVES):
            chunk = slice(first, first + CHUNK_POSITIVES)
            chunks.append((chunk_rows[position[chunk]], positive[chunk]))
    ranks = [_ranks(score_rows, holdout, *chunk, num_negatives=num_negatives, seed=seed) for chunk in chunks]
    empty = np.empty(0, np.int64)
    return SampledRanks(
        row=np.concatenate([empty, *(each.row for each in ranks)]),
        rank=np.concatenate([empty, *(each.rank for each in ranks)]),
        num_negatives=np.concatenate([empty, *(each.num_negatives for each in ranks)]),
    )


def draw_negatives(
    holdout: Holdout, row: np.ndarray, positive: np.ndarray, *, num_negatives: int, seed: int
) -> np.ndarray:
    """Draws negatives for each positive: items that its user has not rated in any split.

    Args:
        row: rows of the positives' users in the holdout, int64 [positives].
        positive: item indices; each positive gets different draws.

    Returns:
        int32 [positives, num_negatives], padded with 0 if the user has fewer unrated items.
    """
    users, user = np.unique(row, return_inverse=True)
    is_unrated_UI = np.ones((len(users), holdout.relevant.num_item_rows), bool)
    is_unrated_UI[:, 0] = False
    is_unrated_UI[holdout.rated.of_users(users)] = False
    # The unrated items of all users, user by user.
    unrated_items = np.nonzero(is_unrated_UI)[1].astype(np.int32)
    num_unrated_U = is_unrated_UI.sum(axis=1)
    first_U = np.cumsum(num_unrated_U) - num_unrated_U
    with np.errstate(over="ignore"):
        user_bits = mix(mix(np.uint32(seed ^ _NEGATIVE_STREAM)) + holdout.user_index[row].astype(np.uint32))
        bits = mix(user_bits + positive.astype(np.uint32))
    position_NP = _sample_without_replacement(bits, num_unrated_U[user], num_negatives)
    negative_NP = np.zeros(position_NP.shape, np.int32)
    drawn = position_NP >= 0
    negative_NP[drawn] = unrated_items[(first_U[user] + position_NP)[drawn]]
    return negative_NP.T


def _ranks(
    score_rows: ScoreRows,
    holdout: Holdout,
    row: np.ndarray,
    positive: np.ndarray,
    *,
    num_negatives: int,
    seed: int,
) -> SampledRanks:
    negative_PN = draw_negatives(holdout, row, positive, num_negatives=num_negatives, seed=seed)
    item_PN = np.concatenate([positive[:, None], negative_PN], axis=1)
    row_PN = np.broadcast_to(row[:, None], item_PN.shape)
    score_PN = score_rows(row_PN.ravel(), item_PN.ravel()).reshape(item_PN.shape)
    if np.isnan(score_PN).any():
        raise ValueError("scores must be numbers, got nan")
    bits_PN = tie_bits(seed, holdout.user_index[row, None], item_PN)
    is_tied_PN = score_PN == score_PN[:, :1]
    is_better_PN = (score_PN > score_PN[:, :1]) | (is_tied_PN & (bits_PN < bits_PN[:, :1]))
    return SampledRanks(
        row=row,
        rank=1 + np.sum(is_better_PN & (item_PN > 0), axis=1),
        num_negatives=np.sum(negative_PN > 0, axis=1),
    )


def _sample_without_replacement(bits: np.ndarray, limit: np.ndarray, count: int) -> np.ndarray:
    """Draws `count` distinct numbers of range(limit[p]) for each column p, padded with -1 if limit is lower.

    Floyd's algorithm (Bentley & Floyd 1987): for j from limit - count to limit - 1, draw a number from 0 to
    j, and take j itself if that number was drawn before. All sets are equally likely; no draw is rejected.

    Args:
        bits: uint32 [columns], which determine the draws.

    Returns:
        int64 [count, columns].
    """
    chosen_NP = np.full((count, len(limit)), -1)
    for step in range(count):
        last = limit - count + step
        with np.errstate(over="ignore"):
            draw = mix(bits ^ mix(np.uint32(step + 1))).astype(np.uint64)
        drawn = (draw * np.maximum(last + 1, 0).astype(np.uint64) >> np.uint64(32)).astype(np.int64)
        again = (chosen_NP[:step] == drawn).any(axis=0)
        chosen_NP[step] = np.where(last < 0, -1, np.where(again, last, drawn))
    return chosen_NP
