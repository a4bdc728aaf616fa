"""The sampled protocol: each relevant item's rank among items drawn at random (He et al. 2017, section 4.1).

It depends on the number of negatives, and orders models otherwise than ranking all items does (Krichene &
Rendle 2020): for comparing with results published in it, not for choosing a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.holdout import Holdout
from trainer.ranking.top_items import tie_bits
from trainer.stateless_random import mix

ScoreRows = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Cells of users by items from which the free ones are listed at a time: 32 MB.
CHUNK_CELLS = 2**22
# Relevant items whose negatives are drawn and scored at a time: 13 MB of pairs at 100 negatives.
CHUNK_POSITIVES = 2**14
# Keeps the draws apart from other numbers made from the same seed.
_DRAWS = 0x5EED


@dataclass(frozen=True)
class SampledRanks:
    """Where each relevant item came.

    Attributes:
        row: int64 [positives], whose item it is: a row of the holdout.
        rank: int64 [positives], 1 the best.
        num_negatives: int64 [positives], how many it was ranked among: fewer where fewer items are left.
    """

    row: np.ndarray
    rank: np.ndarray
    num_negatives: np.ndarray

    def hits(self, k: int) -> np.ndarray:
        """As `ranking_metrics` takes them, with one relevant item each: bool [positives, k]."""
        return self.rank[:, None] == np.arange(1, k + 1)


def sampled_ranks(
    score_rows: ScoreRows,
    holdout: Holdout,
    rows: np.ndarray,
    *,
    num_negatives: int,
    seed: int = 0,
) -> SampledRanks:
    """Ranks relevant items of some of a holdout's users, each among items that its user rated in no split.

    Negatives are drawn without repetition, all equally likely, by a function of (seed, user, item). Equal
    scores are ordered as in `top_items`. Items that training does not know have no rank and are not among
    these.

    Args:
        score_rows: (row of the holdout, item index), int64 and int32 [pairs] -> scores [pairs].
        rows: rows of the holdout.

    Raises:
        ValueError: a score is not a number.
    """
    num_negatives = min(num_negatives, holdout.relevant.num_item_rows - 1)
    parts = []
    step = max(1, CHUNK_CELLS // holdout.relevant.num_item_rows)
    for begin in range(0, len(rows), step):
        part = rows[begin : begin + step]
        position, positive = holdout.relevant.of_users(part)
        for first in range(0, len(position), CHUNK_POSITIVES):
            some = slice(first, first + CHUNK_POSITIVES)
            parts.append((part[position[some]], positive[some]))
    ranks = [_ranks(score_rows, holdout, *part, num_negatives=num_negatives, seed=seed) for part in parts]
    none = np.empty(0, np.int64)
    return SampledRanks(
        row=np.concatenate([none, *(each.row for each in ranks)]),
        rank=np.concatenate([none, *(each.rank for each in ranks)]),
        num_negatives=np.concatenate([none, *(each.num_negatives for each in ranks)]),
    )


def draw_negatives(
    holdout: Holdout, row: np.ndarray, positive: np.ndarray, *, num_negatives: int, seed: int
) -> np.ndarray:
    """Items that each row's user rated in no split, int32 [positives, num_negatives]; 0 where none is left.

    Args:
        row: rows of the holdout, int64 [positives].
        positive: the items that these are negatives for: each gets its own.
    """
    users, user = np.unique(row, return_inverse=True)
    is_free_UI = np.ones((len(users), holdout.relevant.num_item_rows), bool)
    is_free_UI[:, 0] = False
    is_free_UI[holdout.rated.of_users(users)] = False
    # The free items of all users, one user after another.
    free_items = np.nonzero(is_free_UI)[1].astype(np.int32)
    num_free_U = is_free_UI.sum(axis=1)
    first_U = np.cumsum(num_free_U) - num_free_U
    with np.errstate(over="ignore"):
        user_bits = mix(mix(np.uint32(seed ^ _DRAWS)) + holdout.user_index[row].astype(np.uint32))
        bits = mix(user_bits + positive.astype(np.uint32))
    number_NP = _distinct_numbers(bits, num_free_U[user], num_negatives)
    negative_NP = np.zeros(number_NP.shape, np.int32)
    drawn = number_NP >= 0
    negative_NP[drawn] = free_items[(first_U[user] + number_NP)[drawn]]
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


def _distinct_numbers(bits: np.ndarray, below: np.ndarray, count: int) -> np.ndarray:
    """For each column p, `count` distinct numbers of range(below[p]); -1 for those that there are not.

    Floyd's algorithm (Bentley & Floyd 1987): for j = below - count to below - 1, a number of 0 to j, or j
    itself if that was drawn already. All sets are equally likely, and nothing is drawn in vain.

    Args:
        bits: uint32 [columns], of which the numbers are a function.

    Returns:
        int64 [count, columns].
    """
    chosen_NP = np.full((count, len(below)), -1)
    for step in range(count):
        last = below - count + step
        with np.errstate(over="ignore"):
            draw = mix(bits ^ mix(np.uint32(step + 1))).astype(np.uint64)
        drawn = (draw * np.maximum(last + 1, 0).astype(np.uint64) >> np.uint64(32)).astype(np.int64)
        again = (chosen_NP[:step] == drawn).any(axis=0)
        chosen_NP[step] = np.where(last < 0, -1, np.where(again, last, drawn))
    return chosen_NP
