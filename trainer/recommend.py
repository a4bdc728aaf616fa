"""The best items that a user has not rated yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset import PreparedDataset
from data_pipeline.errors import UserError
from data_pipeline.labels import SPLITS
from data_pipeline.vocabulary import UNKNOWN_INDEX
from trainer.baselines.bias import fit_bias_model
from trainer.run import Run, load_run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Recommendation:
    """The items for one user, best first.

    Attributes:
        known_user: whether training had the user. If not, the items are those best liked by everybody:
            highest mean + item bias, shrunk so that a few high ratings do not suffice.
        items: columns item_id, title (None where unknown), score; at most k rows, fewer if the user has rated
            almost everything. Scores only order, they are not clipped to the rating scale.
    """

    user_id: object
    known_user: bool
    items: pd.DataFrame


def recommend(run: Run | str | Path, user_id: object = None, *, k: int = 10) -> Recommendation:
    """Recommends the k items with the highest predicted rating among those the user has not rated.

    Args:
        run: a trained run or its workdir.
        user_id: raw id; None for the user of the first test row.

    Raises:
        UserError: k below 1.
    """
    import pandas as pd

    if k < 1:
        raise UserError(f"k must be at least 1, got {k}")
    run = load_run(run)
    dataset = run.dataset
    if user_id is None:
        user_id = dataset.table("test")["user_id"][0].as_py()
    user_index = int(dataset.user_vocabulary.index(pa.array([user_id]))[0])
    item_index = np.arange(1, len(dataset.item_vocabulary), dtype=np.int32)
    known_user = user_index != UNKNOWN_INDEX
    if known_user:
        scores = run.scorer(np.full_like(item_index, user_index), item_index)
    else:
        bias = fit_bias_model(
            dataset.columns("train"),
            num_user_rows=len(dataset.user_vocabulary),
            num_item_rows=len(dataset.item_vocabulary),
        )
        scores = bias.mean + bias.item_bias[item_index]
    scores[np.isin(item_index, _seen_items(dataset, user_id, user_index))] = -np.inf
    best = np.argsort(-scores, kind="stable")[:k]
    best = best[np.isfinite(scores[best])]
    items = pd.DataFrame(
        {
            "item_id": dataset.item_vocabulary.ids.take(pa.array(best)).to_pylist(),
            # As objects: pandas would make a missing title NaN.
            "title": pd.Series(dataset.titles(item_index[best]), dtype=object),
            "score": scores[best],
        }
    )
    return Recommendation(user_id=user_id, known_user=known_user, items=items)


def _seen_items(dataset: PreparedDataset, user_id: object, user_index: int) -> np.ndarray:
    """Item indices that the user rated in any split."""
    seen = []
    for split in SPLITS:
        table = dataset.table(split)
        if user_index != UNKNOWN_INDEX:
            rows = pc.equal(table["user_index"], user_index)
        elif "user_id" in table.column_names:  # not in train, which has no unknown users
            rows = pc.equal(pc.cast(table["user_id"], pa.string()), pa.scalar(str(user_id)))
        else:
            continue
        seen.append(table.filter(rows)["item_index"].to_numpy())
    return np.concatenate(seen)
