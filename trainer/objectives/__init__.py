"""Objectives: what a step minimizes, one loss per row.

objective  the interface, and how to score several items per row
rating     squared error
ordinal    ratings as ordered grades
sampled    binary cross-entropy, BPR and sampled softmax over negatives
in_batch   in-batch softmax with logQ correction
negatives  draws negatives inside the compiled step

Any model can be trained with any objective; in-batch softmax needs towers. The loss of a step is the weighted
mean over the global batch. Therefore a row's loss must not depend on how the batch is split between devices.
"""

from __future__ import annotations

import keras
import numpy as np

from data_pipeline.dataset.columns import Columns
from data_pipeline.errors import UserError
from data_pipeline.features.interactions import Interactions
from trainer.config import ObjectiveConfig
from trainer.objectives.in_batch import InBatchSoftmax
from trainer.objectives.negatives import NegativeSampler
from trainer.objectives.objective import BATCH_BITS, BATCH_ITEMS, Objective
from trainer.objectives.ordinal import Ordinal, with_ordinal_head
from trainer.objectives.rating import MeanSquaredError
from trainer.objectives.sampled import BPR, BinaryCrossEntropy, SampledSoftmax

__all__ = [
    "BATCH_BITS",
    "BATCH_ITEMS",
    "MeanSquaredError",
    "Objective",
    "make_objective",
    "with_ordinal_head",
]

_SAMPLED = {"bce": BinaryCrossEntropy, "bpr": BPR, "sampled-softmax": SampledSoftmax}


def make_objective(
    config: ObjectiveConfig,
    model: keras.Model,
    train: Columns,
    *,
    num_user_rows: int,
    num_item_rows: int,
) -> Objective:
    """Makes the configured objective; call it inside `strategy.scope()`.

    Args:
        train: the training rows, for the items that users have rated and the popularity of items.

    Raises:
        UserError: the objective does not fit the model or the data.
    """
    if config.name == "mse":
        return MeanSquaredError()
    if config.name == "ordinal":
        return Ordinal(model)
    positive_from = config.positive_from
    if positive_from is not None and not np.any(train.rating >= positive_from):
        raise UserError(
            f"objective.positive_from must be at most the highest training rating, {train.rating.max():g}, "
            f"got {positive_from:g}"
        )
    seen = Interactions.of(
        [(train.user_index, train.item_index)], num_user_rows=num_user_rows, num_item_rows=num_item_rows
    )
    counts = np.bincount(train.item_index, minlength=num_item_rows)
    negatives = NegativeSampler(seen, config.sampler, counts)
    if config.name == "in-batch-softmax":
        return InBatchSoftmax(model, negatives, positive_from=positive_from)
    negatives.require_unseen()
    return _SAMPLED[config.name](negatives, config.negatives, positive_from=positive_from)
