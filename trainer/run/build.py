"""A run's model and objective, made from its settings and its data."""

from __future__ import annotations

import keras
import numpy as np

from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.errors import UserError
from data_pipeline.features.side_features import side_features
from trainer.config import Config
from trainer.engine.engine import Engine
from trainer.engine.optimizers import make_optimizer
from trainer.models import ModelFunction, build_model
from trainer.models.inputs import ModelInputs
from trainer.objectives import Objective, make_objective
from trainer.objectives.ordinal import with_ordinal_head
from trainer.run.caller import seeded
from trainer.run.devices import Devices

# With more different values, ratings are treated as numbers, not as grades.
MAX_GRADES = 100


def model_for(config: Config, dataset: PreparedDataset, own: ModelFunction | None = None) -> keras.Model:
    """The configured model with fresh weights, for the ids and side features of a data set.

    Args:
        own: the function that `model.name` names, where that is one of your own.

    Raises:
        UserError: there is no such model or feature, or too many different ratings for `ordinal`.
    """
    inputs = ModelInputs(
        num_user_rows=dataset.num_user_rows,
        num_item_rows=dataset.num_item_rows,
        read_score=lambda: _mean_rating(dataset) if config.objective.name == "mse" else 0.0,
        read_features=lambda: side_features(dataset.users, dataset.items, config.model.features),
    )
    if config.model.features not in ("all", "none"):
        _ = inputs.features  # named features must exist, even if the model does not use them
    model = build_model(config.model, inputs, own)
    if config.objective.name == "ordinal":
        grades, counts = _grades(dataset)
        model = with_ordinal_head(model, grades.tolist(), (counts / counts.sum()).tolist())
    return model


def objective_for(config: Config, dataset: PreparedDataset, model: keras.Model) -> Objective:
    """The configured objective; create it inside `strategy.scope()`.

    Raises:
        UserError: the model or the data does not fit it.
    """
    return make_objective(
        config.objective,
        model,
        dataset.columns("train"),
        num_user_rows=dataset.num_user_rows,
        num_item_rows=dataset.num_item_rows,
    )


def _require_weight(dataset: PreparedDataset) -> None:
    """Raises UserError if every training row weighs 0: the loss would be 0, and nothing be learned."""
    weights = [segment.arrays.get("weight") for segment in dataset.columns("train").segments]
    if all(weight is not None and not weight.any() for weight in weights):
        raise UserError(
            f"{dataset.name}: training needs a row with a weight above 0, got weight 0 in all rows"
        )


def _mean_rating(dataset: PreparedDataset) -> float:
    return float(dataset.columns("train").rating.mean(dtype=np.float64))


def _grades(dataset: PreparedDataset) -> tuple[np.ndarray, np.ndarray]:
    """(different training ratings, ascending; number of rows with each)."""
    grades, counts = np.unique(dataset.columns("train").rating, return_counts=True)
    if not 2 <= len(grades) <= MAX_GRADES:
        raise UserError(
            f"objective.name=ordinal needs between 2 and {MAX_GRADES} different ratings, got {len(grades)}"
        )
    return grades, counts


def make_engine(
    config: Config,
    dataset: PreparedDataset,
    devices: Devices,
    own_model: ModelFunction | None,
    block_steps: int,
) -> Engine:
    """Model, objective and optimizer with fresh weights, made from the seed.

    Raises:
        UserError: they do not fit each other or the data.
    """
    _require_weight(dataset)
    with seeded(config.train.seed), devices.strategy.scope():
        model = model_for(config, dataset, own_model)
        engine = Engine(
            model,
            make_optimizer(config.optimizer),
            strategy=devices.strategy,
            objective=objective_for(config, dataset, model),
            global_batch_size=config.train.global_batch_size,
            block_steps=block_steps,
            accumulation_steps=config.train.accumulation_steps,
            threads=devices.threads,
            seed=config.train.seed,
            use_loss_scaling=devices.precision == "mixed_float16",
        )
        # Only for callbacks that read `model.optimizer`.
        model.compile(optimizer=engine.optimizer, auto_scale_loss=False)
    return engine
