"""What is evaluated, model or baseline, and how it does on one split."""

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
    """A model or baseline: what it can do; None for what it cannot.

    Attributes:
        ratings: (user_index, item_index), [rows] each -> predicted ratings [rows], not clipped.
        ranker: orders all items for a user.
    """

    ratings: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    ranker: Ranker | None = None


@dataclass(frozen=True)
class RankingTask:
    """How rankings are judged.

    Attributes:
        ks: the numbers of recommended items that are looked at, ascending.
        num_negatives: of the sampled protocol; 0 leaves it out.
        seed: of ties and negatives.
    """

    dataset: PreparedDataset
    holdout: Holdout
    ks: Sequence[int]
    num_negatives: int
    seed: int

    @cached_property
    def train(self) -> Interactions:
        """What every user of training rated."""
        return train_interactions(self.dataset)

    @cached_property
    def features(self) -> ItemFeatures | None:
        return item_features(self.dataset.items)


def rating_slices(contender: Recommender, dataset: PreparedDataset, split: str) -> dict[str, Metrics]:
    """`rmse` and `mae` of every slice that has rows; nothing of what predicts no ratings."""
    if contender.ratings is None:
        return {}
    rows = dataset.columns(split)
    predicted = contender.ratings(rows.user_index, rows.item_index)
    return {
        name: rating_errors(predicted[mask], rows.rating[mask], scale=dataset.rating_scale)
        for name, mask in row_slices(rows.user_index, rows.item_index).items()
        if mask.any()
    }


def ranking_slice_metrics(
    contender: Recommender, task: RankingTask, *, progress: Progress | None = None
) -> dict[str, Metrics]:
    """All metrics of rankings for every slice that has users; nothing of what ranks nothing.

    One pass over the users in blocks: all their scores give the best items and the sampled ranks.
    """
    if contender.ranker is None:
        return {}
    holdout, most = task.holdout, max(task.ks)
    top_UK = np.zeros((len(holdout), most), np.int32)
    samples = []
    for block in score_blocks(contender.ranker, holdout.user_index, progress=progress):
        rows = np.arange(block.rows.start, block.rows.stop)
        if task.num_negatives:
            samples.append(_sampled(block.scores, task, rows))
        top_UK[block.rows] = best_items(
            block.scores, holdout.user_index[rows], seen=holdout.seen.select(rows), k=most, seed=task.seed
        )
    hits_UK = hits(top_UK, holdout.relevant)
    return {
        name: {
            **_full_metrics(top_UK, hits_UK, part, task),
            **(_sampled_metrics(samples, part, task) if task.num_negatives else {}),
        }
        for name, part in ranking_slices(holdout).items()
        if len(part.users)
    }


def _sampled(scores_UI: np.ndarray, task: RankingTask, rows: np.ndarray) -> SampledRanks:
    return sampled_ranks(
        lambda row, item: scores_UI[row - rows[0], item],
        task.holdout,
        rows,
        num_negatives=task.num_negatives,
        seed=task.seed,
    )


def _full_metrics(top_UK: np.ndarray, hits_UK: np.ndarray, part: RankingSlice, task: RankingTask) -> Metrics:
    hits_PK = hits_UK[part.users] & part.by_known_items
    by_user = ranking_metrics(hits_PK, part.num_relevant, ks=task.ks)
    metrics = {name: float(values.mean()) for name, values in by_user.items()}
    top_PK = top_UK[part.users]
    if part.by_known_items and top_PK.any():
        metrics |= catalog_metrics(top_PK, ks=task.ks, train=task.train, features=task.features)
    return metrics


def _sampled_metrics(samples: Sequence[SampledRanks], part: RankingSlice, task: RankingTask) -> Metrics:
    """Means over relevant items, not users; those that training does not know are missed."""
    most = max(task.ks)
    is_in_part = np.zeros(len(task.holdout), bool)
    is_in_part[part.users] = part.by_known_items
    hits_PK = np.concatenate([each.hits(most)[is_in_part[each.row]] for each in samples])
    by_item = ranking_metrics(hits_PK, np.ones(len(hits_PK), np.int64), ks=task.ks)
    return {f"sampled/{name}": float(v.sum() / part.num_relevant.sum()) for name, v in by_item.items()}
