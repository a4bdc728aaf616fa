"""The exact top unseen items of each user, computed in blocks of users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from data_pipeline.features.interactions import Interactions
from data_pipeline.threads import num_cores
from trainer.stateless_random import mix, row_bits

# Size of a block of scores: large enough for fast matrix products, small for any machine's memory.
BLOCK_BYTES = 64 * 2**20
# Cells that a thread selects from at a time: 4 MB of float32, so that a copy stays in a core's cache.
CHUNK_CELLS = 2**20
# If there are more candidates than this per place in the lists, ties are reduced before sorting.
MAX_SORTED_PER_PLACE = 4

TIE_RULE = "broken at random with a fixed seed, in an order of each user's own; unknown users share one"

Progress = Callable[[int, int], None]  # (users done, users in total)


class Ranker(Protocol):
    """Anything that scores all items for a user.

    Attributes:
        num_item_rows: number of items plus 1 for the unknown item; items are 1 to num_item_rows - 1.
    """

    @property
    def num_item_rows(self) -> int: ...

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        """scores_UI: float32 or float64 [users, num_item_rows], higher is better, all finite.

        Must return a new array, because the caller changes it. Column 0, the unknown item, is ignored.
        """


@dataclass(frozen=True)
class ScoreBlock:
    """Scores of all items, [users, num_item_rows], for the users `user_index[rows]`."""

    rows: slice
    scores: np.ndarray


def score_blocks(
    ranker: Ranker, user_index: np.ndarray, *, progress: Progress | None = None
) -> Iterator[ScoreBlock]:
    """Yields the scores of many users in bounded memory, in blocks of about `BLOCK_BYTES`.

    Raises:
        ValueError: a score is not finite.
    """
    num_users = len(user_index)
    step = max(1, BLOCK_BYTES // (4 * ranker.num_item_rows))
    for begin in range(0, num_users, step):
        rows = slice(begin, min(begin + step, num_users))
        scores_UI = np.ascontiguousarray(ranker.scores(user_index[rows]))
        assert scores_UI.shape == (rows.stop - begin, ranker.num_item_rows)
        scores_UI[:, 0] = 0
        # Minimum and maximum are NaN if any score is.
        for extreme in (scores_UI.min(), scores_UI.max()):
            if not np.isfinite(extreme):
                raise ValueError(f"scores must be finite numbers, got {extreme}")
        yield ScoreBlock(rows, scores_UI)
        if progress:
            progress(rows.stop, num_users)


def top_items(
    ranker: Ranker,
    user_index: np.ndarray,
    *,
    seen: Interactions,
    k: int,
    left_out: np.ndarray | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> np.ndarray:
    """The k best unseen items of each user, best first: int32 [users, k].

    The result is exact and does not depend on the size of the blocks. Ties are ordered by a hash of (seed,
    user, item), so a constant scorer performs at chance level.

    Args:
        user_index: int32 [users]; may contain a user more than once.
        seen: row r holds the items excluded for `user_index[r]`.
        left_out: bool [num_item_rows], the items excluded for all users; None: none.

    Returns:
        The items; a row with fewer than k unseen items is padded with 0.

    Raises:
        ValueError: a score is not finite.
    """
    best_UK = np.zeros((len(user_index), k), np.int32)
    for block in score_blocks(ranker, user_index, progress=progress):
        rows = np.arange(block.rows.start, block.rows.stop)
        if left_out is not None:
            block.scores[:, left_out] = -np.inf
        best_UK[block.rows] = best_items(
            block.scores, user_index[block.rows], seen=seen.select(rows), k=k, seed=seed
        )
    return best_UK


def best_items(
    scores_UI: np.ndarray, user_index: np.ndarray, *, seen: Interactions, k: int, seed: int
) -> np.ndarray:
    """`top_items` of one block of scores. Changes `scores_UI`: scores of seen items become -inf."""
    num_users, num_item_rows = scores_UI.shape
    scores_UI[:, 0] = -np.inf
    scores_UI[seen.of_users(np.arange(num_users))] = -np.inf
    step = max(1, CHUNK_CELLS // num_item_rows)
    chunks = [slice(begin, begin + step) for begin in range(0, num_users, step)]
    # NumPy releases the GIL while it selects.
    with ThreadPoolExecutor(num_cores()) as threads:
        best = threads.map(lambda chunk: _select(scores_UI[chunk], user_index[chunk], k, seed), chunks)
        return np.concatenate([np.zeros((0, k), np.int32), *best])


def tie_bits(seed: int, user_index: np.ndarray, item_index: np.ndarray) -> np.ndarray:
    """Random uint32 numbers that break ties: of a user's items with equal scores, the lowest comes first.

    The arguments are broadcast against each other.
    """
    with np.errstate(over="ignore"):
        user_bits = row_bits(np.uint32(seed), np.uint32(0), user_index.astype(np.uint32))
        return mix(user_bits ^ mix(item_index.astype(np.uint32)))


def _select(scores_UI: np.ndarray, user_index: np.ndarray, k: int, seed: int) -> np.ndarray:
    num_users, num_item_rows = scores_UI.shape
    kth = num_item_rows - min(k, num_item_rows)
    # Candidates are all items that score at least the k-th highest score: more than k if there are ties.
    # Excluded items score -inf, below the lowest finite number.
    threshold_U1 = np.partition(scores_UI, kth, axis=1)[:, kth, None]
    threshold_U1 = np.maximum(threshold_U1, np.finfo(scores_UI.dtype).min)
    is_candidate_UI = scores_UI >= threshold_U1
    cell = np.flatnonzero(is_candidate_UI)
    if len(cell) > MAX_SORTED_PER_PLACE * num_users * k:
        # Too many to sort fast: of the items tied at the threshold, only the k with the lowest bits can stay.
        bits_UI = tie_bits(seed, user_index[:, None], np.arange(num_item_rows))
        bits_UI[scores_UI > threshold_U1] = 0
        bits_UI[~is_candidate_UI] = np.iinfo(np.uint32).max
        max_bits_U1 = np.partition(bits_UI, k - 1, axis=1)[:, k - 1, None]
        cell = np.flatnonzero(is_candidate_UI & (bits_UI <= max_bits_U1))
    row, item = np.divmod(cell, num_item_rows)
    order = np.lexsort((tie_bits(seed, user_index[row], item), -scores_UI.ravel()[cell], row))
    row, item = row[order], item[order]
    first = np.searchsorted(row, np.arange(num_users))
    rank = np.arange(len(row)) - first[row]
    best_UK = np.zeros((num_users, k), np.int32)
    best_UK[row[rank < k], rank[rank < k]] = item[rank < k]
    return best_UK
