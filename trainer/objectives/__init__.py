"""What a step minimizes: from a model and a batch to one loss a row.

An objective is a choice of every model. A step's loss is the mean over the global batch by weight, so that an
objective must give each row a loss that does not depend on where the batch is cut between devices.
"""

from __future__ import annotations

import keras
import numpy as np

from data_pipeline.dataset.columns import Columns
from data_pipeline.errors import UserError
from data_pipeline.features.interactions import Interactions
from trainer.config import ObjectiveConfig
from trainer.objectives.in_batch import InBatchSoftmax
from trainer.objectives.negatives import Negatives
from trainer.objectives.objective import Objective
from trainer.objectives.ordinal import Ordinal
from trainer.objectives.rating import MeanSquaredError
from trainer.objectives.sampled import BPR, BinaryCrossEntropy, SampledSoftmax

__all__ = ["MeanSquaredError", "Objective", "make_objective"]

_SAMPLED = {"bce": BinaryCrossEntropy, "bpr": BPR, "sampled-softmax": SampledSoftmax}


def make_objective(
    config: ObjectiveConfig,
    model: keras.Model,
    train: Columns,
    *,
    num_user_rows: int,
    num_item_rows: int,
) -> Objective:
    """The configured objective; create it inside `strategy.scope()`.

    Args:
        train: the training rows: what users have rated, and how often items are.

    Raises:
        UserError: the model or the data does not fit it.
    """
    if config.name == "mse":
        return MeanSquaredError()
    if config.name == "ordinal":
        return Ordinal(model)
    least = config.positive_from
    if least is not None and not np.any(train.rating >= least):
        raise UserError(
            f"objective.positive_from must be at most the highest training rating, {train.rating.max():g}, "
            f"got {least:g}"
        )
    seen = Interactions.of(
        [(train.user_index, train.item_index)], num_user_rows=num_user_rows, num_item_rows=num_item_rows
    )
    counts = np.bincount(train.item_index, minlength=num_item_rows)
    negatives = Negatives(seen, config.sampler, counts)
    if config.name == "in-batch-softmax":
        return InBatchSoftmax(model, negatives, positive_from=config.positive_from)
    negatives.require_unseen()
    return _SAMPLED[config.name](negatives, config.negatives, positive_from=config.positive_from)
