"""What a run is judged by while it trains and when it ends, by its objective."""

from __future__ import annotations

from functools import cached_property

import keras

from data_pipeline.dataset.dataset import PreparedDataset
from trainer.build import scorer_for
from trainer.config import Config
from trainer.evaluate import ranking_logs, split_errors, validation_logs
from trainer.holdout import Holdout, NothingRelevantError, holdout_of
from trainer.ranking.model_ranker import model_ranker


class Monitor:
    """Judges a model as its weights are when asked."""

    def __init__(self, config: Config, dataset: PreparedDataset, model: keras.Model) -> None:
        self._objective = config.objective
        self._dataset = dataset
        self._model = model
        self._scorer = scorer_for(model, dataset)

    def validation(self) -> dict[str, float]:
        """Named as Keras callbacks know them: `val_loss`, `val_rmse`, `val_mae`, or for a ranking objective
        `val_ndcg@10` and `val_recall@10`; empty without rows to judge by."""
        if not self._objective.is_ranking:
            return validation_logs(self._dataset, self._scorer)
        logs = self._ranking("validation", self._validation_holdout)
        return {f"val_{name}": value for name, value in logs.items()}

    def test(self) -> dict[str, float]:
        """`rmse` and `mae`, or `ndcg@10` and `recall@10`; empty without rows to judge by."""
        if self._objective.is_ranking:
            return self._ranking("test", self._holdout("test"))
        if not self._dataset.num_rows("test"):
            return {}
        return split_errors(self._dataset, "test", self._scorer)

    def _ranking(self, split: str, holdout: Holdout | None) -> dict[str, float]:
        if holdout is None:
            return {}
        # A new one: it keeps what it has computed of the weights.
        return ranking_logs(self._dataset, model_ranker(self._model, self._scorer), split, holdout=holdout)

    @cached_property
    def _validation_holdout(self) -> Holdout | None:
        return self._holdout("validation")

    def _holdout(self, split: str) -> Holdout | None:
        """None where no row is relevant, which is no reason to end a run."""
        try:
            return holdout_of(self._dataset, split, positive_from=self._objective.positive_from)
        except NothingRelevantError:
            return None
