"""Recommends the best unseen items to a user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX
from data_pipeline.errors import UserError
from data_pipeline.features.interactions import Interactions
from trainer.evaluation.baselines.bias import bias_model_of
from trainer.ranking.top_items import top_items
from trainer.run.trained_run import Run, load_run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Recommendation:
    """The items recommended to one user, best first.

    Attributes:
        known_user: whether the user is in the training rows. If not (cold start), the items are those with
            the highest item bias, shrunk so that a few high ratings do not suffice.
        items: columns item_id, title (None if unknown), score. At most k rows; fewer, or none, if the user
            has rated all other items. Scores are not clipped to the rating scale.
    """

    user_id: object
    known_user: bool
    items: pd.DataFrame


def recommend(run: Run | str | Path, user_id: object = None, *, k: int = 10) -> Recommendation:
    """Recommends the k items with the highest scores that the user has not rated in any split.

    Args:
        run: a trained run or its workdir.
        user_id: raw id; None: the user of the first test row.

    Raises:
        UserError: k is not an integer of at least 1, or `user_id` is None and there is no test row.
    """
    import pandas as pd

    if not isinstance(k, int | np.integer) or k < 1:
        raise UserError(f"k must be an integer of at least 1, got {k}")
    run = load_run(run)
    dataset = run.dataset
    if user_id is None and not dataset.num_rows("test"):
        raise UserError(f"recommend needs a user id if there are no test rows, got neither in {dataset.name}")
    if user_id is None:
        user_id = dataset.table("test")["user_id"][0].as_py()
    user_index = int(dataset.user_vocabulary.index(pa.array([user_id]))[0])
    known_user = user_index != UNKNOWN_INDEX
    bias = None if known_user else bias_model_of(dataset)
    user = np.array([user_index], np.int32)
    best = top_items(
        bias or run.ranker,
        user,
        seen=_seen_items(dataset, user_id, user_index),
        k=min(k, len(dataset.items)),
    )[0]
    item_index = best[best > 0]
    # The same values as `predict` gives: the ranker's have the same order, but may be shifted.
    scores = (bias.predict if bias else run.scorer)(np.repeat(user, len(item_index)), item_index)
    items = pd.DataFrame(
        {
            "item_id": dataset.item_vocabulary.ids_of(item_index).to_pylist(),
            # As objects: pandas would make a missing title NaN.
            "title": pd.Series(dataset.titles(item_index), dtype=object),
            "score": scores,
        }
    )
    return Recommendation(user_id=user_id, known_user=known_user, items=items)


def _seen_items(dataset: PreparedDataset, user_id: object, user_index: int) -> Interactions:
    """The items that the user rated in any split, as the only row."""
    seen = []
    for split in SPLITS:
        table = dataset.table(split)
        if user_index != UNKNOWN_INDEX:
            rows = pc.equal(table["user_index"], user_index)
        elif "user_id" in table.column_names:  # train has no unknown users, and no such column
            rows = pc.equal(pc.cast(table["user_id"], pa.string()), pa.scalar(str(user_id)))
        else:
            continue
        seen.append(table.filter(rows)["item_index"].to_numpy())
    pairs = [(np.ones_like(items), items) for items in seen]
    items = Interactions.of(pairs, num_user_rows=2, num_item_rows=dataset.num_item_rows)
    return items.select(np.array([1]))
