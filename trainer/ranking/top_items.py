"""The items that a model ranks highest for every user, exactly, block by block of users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from data_pipeline.features.interactions import Interactions
from data_pipeline.threads import num_cores
from trainer.stateless_random import mix, row_bits

# A block's scores: large enough for fast products of matrices, small beside any machine's memory.
BLOCK_BYTES = 64 * 2**20
# Cells that a thread selects from at a time: 4 MB of float32, so that a copy of them stays in a core's cache.
CHUNK_CELLS = 2**20
# Candidates for every place from which on they are thinned out before they are sorted.
MANY_TIES = 4

TIE_RULE = "items of equal score in a random order, one for each user and one for all unknown users"

Progress = Callable[[int, int], None]  # users done, of how many


class Ranker(Protocol):
    """Whatever scores all items for a user.

    Attributes:
        num_item_rows: items and the unknown one: items are 1 to num_item_rows - 1.
    """

    @property
    def num_item_rows(self) -> int: ...

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        """scores_UI: float32 or float64 [users, num_item_rows], higher is better, all finite.

        A new array, which the caller changes. Column 0, the unknown item, is ignored.
        """


@dataclass(frozen=True)
class ScoreBlock:
    """Scores of all items, [users, num_item_rows], for consecutive users: `rows` of those asked for."""

    rows: slice
    scores: np.ndarray


def score_blocks(
    ranker: Ranker, user_index: np.ndarray, *, progress: Progress | None = None
) -> Iterator[ScoreBlock]:
    """All scores of many users in bounded memory: blocks of about `BLOCK_BYTES`.

    Raises:
        ValueError: a score is not a finite number.
    """
    num_users = len(user_index)
    step = max(1, BLOCK_BYTES // (4 * ranker.num_item_rows))
    for begin in range(0, num_users, step):
        rows = slice(begin, min(begin + step, num_users))
        scores_UI = np.ascontiguousarray(ranker.scores(user_index[rows]))
        assert scores_UI.shape == (rows.stop - begin, ranker.num_item_rows)
        scores_UI[:, 0] = 0
        # The least and the largest are NaN where any is.
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
    seed: int = 0,
    progress: Progress | None = None,
) -> np.ndarray:
    """The k best items of each user among those not seen, best first: int32 [users, k].

    The result is exact, whatever the blocks: items of equal score are in the order of a hash of (seed, user,
    item), so a ranker that scores all items alike gets what chance gives.

    Args:
        user_index: int32 [users]; a user may come more than once.
        seen: row r has the items that `user_index[r]` must not get.

    Returns:
        0 stands where a user has fewer than k items left.

    Raises:
        ValueError: a score is not a finite number.
    """
    best_UK = np.zeros((len(user_index), k), np.int32)
    for block in score_blocks(ranker, user_index, progress=progress):
        rows = np.arange(block.rows.start, block.rows.stop)
        best_UK[block.rows] = best_items(
            block.scores, user_index[block.rows], seen=seen.select(rows), k=k, seed=seed
        )
    return best_UK


def best_items(
    scores_UI: np.ndarray, user_index: np.ndarray, *, seen: Interactions, k: int, seed: int
) -> np.ndarray:
    """`top_items` of one block of scores, which are changed: those of seen items become -inf."""
    num_users, num_item_rows = scores_UI.shape
    scores_UI[:, 0] = -np.inf
    scores_UI[seen.of_users(np.arange(num_users))] = -np.inf
    step = max(1, CHUNK_CELLS // num_item_rows)
    parts = [slice(begin, begin + step) for begin in range(0, num_users, step)]
    # NumPy lets other threads go on while it selects.
    with ThreadPoolExecutor(num_cores()) as threads:
        best = threads.map(lambda part: _select(scores_UI[part], user_index[part], k, seed), parts)
        return np.concatenate([np.zeros((0, k), np.int32), *best])


def tie_bits(seed: int, user_index: np.ndarray, item_index: np.ndarray) -> np.ndarray:
    """What decides between equal scores of a user's items, the lower coming first: uint32, broadcast."""
    with np.errstate(over="ignore"):
        user_bits = row_bits(np.uint32(seed), np.uint32(0), user_index.astype(np.uint32))
        return mix(user_bits ^ mix(item_index.astype(np.uint32)))


def _select(scores_UI: np.ndarray, user_index: np.ndarray, k: int, seed: int) -> np.ndarray:
    num_users, num_item_rows = scores_UI.shape
    kth = num_item_rows - min(k, num_item_rows)
    # All cells from the k-th highest score on, which are more than k where scores at it are equal. Masked
    # ones are below the lowest finite number.
    threshold_U1 = np.partition(scores_UI, kth, axis=1)[:, kth, None]
    threshold_U1 = np.maximum(threshold_U1, np.finfo(scores_UI.dtype).min)
    is_candidate_UI = scores_UI >= threshold_U1
    cell = np.flatnonzero(is_candidate_UI)
    if len(cell) > MANY_TIES * num_users * k:
        # Sorting so many takes long: of those at the threshold none but the k lowest by tie bits can stay.
        bits_UI = tie_bits(seed, user_index[:, None], np.arange(num_item_rows))
        bits_UI[scores_UI > threshold_U1] = 0
        bits_UI[~is_candidate_UI] = np.iinfo(np.uint32).max
        most_U1 = np.partition(bits_UI, k - 1, axis=1)[:, k - 1, None]
        cell = np.flatnonzero(is_candidate_UI & (bits_UI <= most_U1))
    row, item = np.divmod(cell, num_item_rows)
    order = np.lexsort((tie_bits(seed, user_index[row], item), -scores_UI.ravel()[cell], row))
    row, item = row[order], item[order]
    first = np.searchsorted(row, np.arange(num_users))
    rank = np.arange(len(row)) - first[row]
    best_UK = np.zeros((num_users, k), np.int32)
    best_UK[row[rank < k], rank[rank < k]] = item[rank < k]
    return best_UK
