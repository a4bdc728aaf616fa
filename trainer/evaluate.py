"""How good a trained run is on its test rows, beside what needs no training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_pipeline.dataset import PreparedDataset
from trainer.baselines.bias import fit_bias_model
from trainer.metrics import rating_errors
from trainer.run import Run, load_run
from trainer.scoring import Scorer


@dataclass(frozen=True)
class Evaluation:
    """Test errors of a model and of baselines fitted on the same training rows.

    Attributes:
        test: `rmse` and `mae`.
        baselines: name -> the same keys.
        protocol: one line: split, rows, clipping.
    """

    test: dict[str, float]
    baselines: dict[str, dict[str, float]]
    protocol: str


def evaluate(run: Run | str | Path) -> Evaluation:
    """Evaluates a trained run (or its workdir) on the test split, which nothing was chosen on."""
    run = load_run(run)
    return Evaluation(
        test=split_errors(run.dataset, "test", run.scorer),
        baselines=_baselines(run.dataset),
        protocol=protocol(run.dataset),
    )


def split_errors(dataset: PreparedDataset, split: str, scorer: Scorer) -> dict[str, float]:
    """RMSE and MAE on a split, predictions clipped to the rating scale of the training rows."""
    rows = dataset.columns(split)
    return rating_errors(scorer(rows.user_index, rows.item_index), rows.rating, scale=dataset.rating_scale)


def validation_logs(dataset: PreparedDataset, scorer: Scorer) -> dict[str, float]:
    """Errors on the validation split under the names that Keras callbacks expect; empty without such rows."""
    if not dataset.num_rows("validation"):
        return {}
    rows = dataset.columns("validation")
    predicted = scorer(rows.user_index, rows.item_index)
    errors = rating_errors(predicted, rows.rating, scale=dataset.rating_scale)
    # The loss itself, like `loss`, of predictions as they are; the errors, of clipped ones.
    val_loss = float(np.mean((predicted - rows.rating) ** 2))
    return {"val_loss": val_loss, "val_rmse": errors["rmse"], "val_mae": errors["mae"]}


def protocol(dataset: PreparedDataset) -> str:
    """What was evaluated, in one line."""
    settings = dataset.settings
    share, seed = f"{settings.test_fraction:g}", settings.split_seed
    cut = {
        "random": f"random {share} test split, seed {seed}",
        "per-user": f"random {share} of each user's rows as test split, seed {seed}",
        "leave-last-out": "each user's last row as test split",
        "time": f"latest {share} as test split",
        "k-fold": f"fold {settings.fold} of {settings.folds} as test split, seed {seed}",
    }.get(settings.split, f"predefined split {settings.split}")
    low, high = dataset.rating_scale
    return (
        f"{dataset.name}, {cut}: {dataset.num_rows('train'):,} train, {dataset.num_rows('validation'):,} "
        f"validation, {dataset.num_rows('test'):,} test rows; predictions clipped to [{low:g}, {high:g}]"
    )


def _baselines(dataset: PreparedDataset) -> dict[str, dict[str, float]]:
    train, test = dataset.columns("train"), dataset.columns("test")
    bias = fit_bias_model(
        train, num_user_rows=len(dataset.user_vocabulary), num_item_rows=len(dataset.item_vocabulary)
    )
    predictions = {
        "global_mean": np.full(len(test), bias.mean),
        "user_item_bias": bias.predict(test.user_index, test.item_index),
    }
    return {
        name: rating_errors(predicted, test.rating, scale=dataset.rating_scale)
        for name, predicted in predictions.items()
    }
