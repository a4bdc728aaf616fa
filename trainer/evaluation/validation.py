"""Validation and test metrics of a run while it trains and when it ends."""

from __future__ import annotations

from functools import cached_property

import keras
import numpy as np

from data_pipeline.dataset.dataset import PreparedDataset
from trainer.config import Config
from trainer.evaluation.holdout import Holdout, NothingRelevantError, holdout_of
from trainer.evaluation.ranking_metrics import hits, ranking_metrics
from trainer.evaluation.rating_metrics import rating_errors
from trainer.ranking.model_ranker import model_ranker
from trainer.ranking.scorer import Scorer, scorer_for
from trainer.ranking.top_items import Ranker, top_items


class Monitor:
    """Computes the metrics of a run's objective with the current weights of its model."""

    def __init__(self, config: Config, dataset: PreparedDataset, model: keras.Model) -> None:
        self._objective = config.objective
        self._dataset = dataset
        self._model = model
        self._scorer = scorer_for(model, dataset)

    def validation(self) -> dict[str, float]:
        """Validation metrics, named as in Keras: `val_loss`, `val_rmse` and `val_mae`.

        For a ranking objective `val_ndcg@10` and `val_recall@10`. Empty if there are no (relevant) rows.
        """
        if not self._objective.is_ranking:
            return validation_logs(self._dataset, self._scorer)
        logs = self._ranking("validation", self._validation_holdout)
        return {f"val_{name}": value for name, value in logs.items()}

    def test(self) -> dict[str, float]:
        """Test metrics: `rmse` and `mae`, for a ranking objective `ndcg@10` and `recall@10`.

        Empty if there are no (relevant) rows.
        """
        if self._objective.is_ranking:
            return self._ranking("test", self._holdout("test"))
        if not self._dataset.num_rows("test"):
            return {}
        return split_errors(self._dataset, "test", self._scorer)

    def _ranking(self, split: str, holdout: Holdout | None) -> dict[str, float]:
        if holdout is None:
            return {}
        # A new ranker each time, because a ranker keeps the item vectors that it has computed.
        return ranking_logs(self._dataset, model_ranker(self._model, self._scorer), split, holdout=holdout)

    @cached_property
    def _validation_holdout(self) -> Holdout | None:
        return self._holdout("validation")

    def _holdout(self, split: str) -> Holdout | None:
        """The holdout, or None if no row is relevant: that must not stop a run."""
        try:
            return holdout_of(self._dataset, split, positive_from=self._objective.positive_from)
        except NothingRelevantError:
            return None


def split_errors(dataset: PreparedDataset, split: str, scorer: Scorer) -> dict[str, float]:
    """RMSE and MAE on a split; predictions are clipped to the rating scale of the training rows."""
    rows = dataset.columns(split)
    return rating_errors(scorer(rows.user_index, rows.item_index), rows.rating, scale=dataset.rating_scale)


def validation_logs(dataset: PreparedDataset, scorer: Scorer) -> dict[str, float]:
    """`val_loss`, `val_rmse` and `val_mae`, named as in Keras; empty if there are no validation rows."""
    if not dataset.num_rows("validation"):
        return {}
    rows = dataset.columns("validation")
    predicted = scorer(rows.user_index, rows.item_index)
    errors = rating_errors(predicted, rows.rating, scale=dataset.rating_scale)
    # `val_loss` is computed without clipping, like the training loss.
    val_loss = float(np.mean((predicted - rows.rating) ** 2))
    return {"val_loss": val_loss, "val_rmse": errors["rmse"], "val_mae": errors["mae"]}


def ranking_logs(
    dataset: PreparedDataset,
    ranker: Ranker,
    split: str = "validation",
    *,
    k: int = 10,
    max_users: int = 10_000,
    holdout: Holdout | None = None,
) -> dict[str, float]:
    """`ndcg@k` and `recall@k`, means over the users of a split; empty if the split has no rows.

    Cheap enough for the end of every epoch: if there are more than `max_users` users, the metrics are those
    of a random sample, the same each time.

    Args:
        holdout: the holdout of the split; None: it is computed, which takes seconds for millions of rows.
    """
    if not dataset.num_rows(split):
        return {}
    holdout = (holdout or holdout_of(dataset, split)).sample(max_users)
    top_UK = top_items(ranker, holdout.user_index, seen=holdout.seen, k=k)
    metrics = ranking_metrics(hits(top_UK, holdout.relevant), holdout.num_relevant, ks=[k])
    return {name: float(metrics[name].mean()) for name in (f"ndcg@{k}", f"recall@{k}")}
