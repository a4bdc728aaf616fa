"""Metrics of one recommender, model or baseline, by slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.features.interactions import Interactions, train_interactions
from trainer.evaluation.catalog_metrics import ItemFeatures, catalog_metrics, item_features
from trainer.evaluation.holdout import Holdout
from trainer.evaluation.ranking_metrics import hits, ranking_metrics
from trainer.evaluation.rating_metrics import rating_errors
from trainer.evaluation.sampled_metrics import SampledRanks, sampled_ranks
from trainer.evaluation.slices import RankingSlice, ranking_slices, row_slices
from trainer.ranking.top_items import Progress, Ranker, best_items, score_blocks

Metrics = dict[str, float]


@dataclass(frozen=True)
class Recommender:
    """A model or baseline that predicts ratings, ranks items, or both.

    Attributes:
        ratings: (user_index, item_index), [rows] each -> predicted ratings [rows], not clipped; None if it
            does not predict ratings.
        ranker: scores all items for a user; None if it does not rank.
    """

    ratings: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    ranker: Ranker | None = None


@dataclass(frozen=True)
class RankingTask:
    """How rankings are evaluated.

    Attributes:
        ks: lengths of the recommendation lists, ascending.
        num_negatives: negatives per relevant item in the sampled protocol; 0 skips the protocol.
        seed: seed of tie breaking and negatives.
    """

    dataset: PreparedDataset
    holdout: Holdout
    ks: Sequence[int]
    num_negatives: int
    seed: int

    @cached_property
    def train(self) -> Interactions:
        """The training items of each user."""
        return train_interactions(self.dataset)

    @cached_property
    def features(self) -> ItemFeatures | None:
        return item_features(self.dataset.items)


def rating_slice_metrics(
    recommender: Recommender, dataset: PreparedDataset, split: str
) -> dict[str, Metrics]:
    """`rmse` and `mae` for every slice with rows; empty if the recommender does not predict ratings."""
    if recommender.ratings is None:
        return {}
    rows = dataset.columns(split)
    predicted = recommender.ratings(rows.user_index, rows.item_index)
    return {
        name: rating_errors(predicted[mask], rows.rating[mask], scale=dataset.rating_scale)
        for name, mask in row_slices(rows.user_index, rows.item_index).items()
        if mask.any()
    }


def ranking_slice_metrics(
    recommender: Recommender, task: RankingTask, *, progress: Progress | None = None
) -> dict[str, Metrics]:
    """All ranking metrics for every slice with users; empty if the recommender does not rank.

    Makes one pass over blocks of users: the scores of a block give both the top items and the sampled ranks.
    """
    if recommender.ranker is None:
        return {}
    holdout, max_k = task.holdout, max(task.ks)
    top_UK = np.zeros((len(holdout), max_k), np.int32)
    samples = []
    for block in score_blocks(recommender.ranker, holdout.user_index, progress=progress):
        rows = np.arange(block.rows.start, block.rows.stop)
        # Before `best_items`, which overwrites the scores of seen items.
        if task.num_negatives:
            samples.append(_sampled_ranks(block.scores, task, rows))
        top_UK[block.rows] = best_items(
            block.scores, holdout.user_index[rows], seen=holdout.seen.select(rows), k=max_k, seed=task.seed
        )
    hits_UK = hits(top_UK, holdout.relevant)
    return {
        name: {
            **_full_metrics(top_UK, hits_UK, ranking_slice, task),
            **(_sampled_metrics(samples, ranking_slice, task) if task.num_negatives else {}),
        }
        for name, ranking_slice in ranking_slices(holdout).items()
        if len(ranking_slice.users)
    }


def _sampled_ranks(scores_UI: np.ndarray, task: RankingTask, rows: np.ndarray) -> SampledRanks:
    return sampled_ranks(
        lambda row, item: scores_UI[row - rows[0], item],
        task.holdout,
        rows,
        num_negatives=task.num_negatives,
        seed=task.seed,
    )


def _full_metrics(
    top_UK: np.ndarray, hits_UK: np.ndarray, ranking_slice: RankingSlice, task: RankingTask
) -> Metrics:
    """Metrics of rankings of all candidates, means over users."""
    hits_SK = hits_UK[ranking_slice.users] & ranking_slice.by_known_items
    by_user = ranking_metrics(hits_SK, ranking_slice.num_relevant, ks=task.ks)
    metrics = {name: float(values.mean()) for name, values in by_user.items()}
    top_SK = top_UK[ranking_slice.users]
    if ranking_slice.by_known_items and top_SK.any():
        metrics |= catalog_metrics(top_SK, ks=task.ks, train=task.train, features=task.features)
    return metrics


def _sampled_metrics(
    samples: Sequence[SampledRanks], ranking_slice: RankingSlice, task: RankingTask
) -> Metrics:
    """Metrics of the sampled protocol, means over relevant items; cold items count as missed."""
    max_k = max(task.ks)
    is_included = np.zeros(len(task.holdout), bool)
    is_included[ranking_slice.users] = ranking_slice.by_known_items
    hits_PK = np.concatenate([each.hits(max_k)[is_included[each.row]] for each in samples])
    by_item = ranking_metrics(hits_PK, np.ones(len(hits_PK), np.int64), ks=task.ks)
    num_relevant = ranking_slice.num_relevant.sum()
    return {f"sampled/{name}": float(values.sum() / num_relevant) for name, values in by_item.items()}
