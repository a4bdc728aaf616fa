"""Ratings predicted for pairs of raw ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data_pipeline.errors import UserError
from data_pipeline.vocabulary import UNKNOWN_INDEX
from trainer.run import Run, load_run

if TYPE_CHECKING:
    import pandas as pd


def predict(
    run: Run | str | Path,
    pairs: pd.DataFrame | Sequence[tuple[object, object]] | None = None,
    *,
    num_test_rows: int = 10,
) -> pd.DataFrame:
    """Predicts ratings, clipped to the rating scale of the training rows.

    Args:
        run: a trained run or its workdir.
        pairs: (user_id, item_id) pairs, or a DataFrame with these columns; ids that training did not have
            are predicted as an unknown user or item. None: the first test rows, with their actual ratings.
        num_test_rows: how many of them.

    Returns:
        A DataFrame with columns user_id, item_id, predicted, actual (None where no rating is known),
        known_user, known_item.
    """
    import pandas as pd

    run = load_run(run)
    dataset = run.dataset
    if pairs is None:
        head = dataset.table("test").slice(0, num_test_rows)
        user_id, item_id = head["user_id"], head["item_id"]
        actual = head["rating"].to_pylist()
    else:
        user_id, item_id = _id_columns(pairs)
        actual = [None] * len(user_id)
    user_index = dataset.user_vocabulary.index(user_id)
    item_index = dataset.item_vocabulary.index(item_id)
    return pd.DataFrame(
        {
            "user_id": user_id.to_pylist(),
            "item_id": item_id.to_pylist(),
            "predicted": np.clip(run.scorer(user_index, item_index), *dataset.rating_scale),
            "actual": pd.Series(actual, dtype=object),
            "known_user": user_index != UNKNOWN_INDEX,
            "known_item": item_index != UNKNOWN_INDEX,
        }
    )


def _id_columns(pairs: pd.DataFrame | Sequence[tuple[object, object]]) -> tuple[pa.Array, pa.Array]:
    """User ids and item ids as Arrow columns; as strings where they are of mixed types."""
    if not isinstance(pairs, Sequence):
        missing = [name for name in ("user_id", "item_id") if name not in pairs.columns]
        if missing:
            raise UserError(f"pairs need columns user_id and item_id, got {list(pairs.columns)}")
        pairs = list(zip(pairs["user_id"].tolist(), pairs["item_id"].tolist(), strict=True))
    columns = []
    for position in (0, 1):
        ids = [pair[position] for pair in pairs]
        are_integers = all(isinstance(i, int) for i in ids)
        columns.append(pa.array(ids, pa.int64()) if are_integers else pa.array([str(i) for i in ids]))
    return columns[0], columns[1]
