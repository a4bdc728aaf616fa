"""Predicts ratings of (user_id, item_id) pairs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_pipeline.arguments import require_whole
from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX
from data_pipeline.errors import UserError, shown
from data_pipeline.parsing.frame import ids_as_text
from trainer.run.trained_run import Run, load_run

if TYPE_CHECKING:
    import pandas as pd


def predict(
    run: Run | str | Path,
    pairs: pd.DataFrame | Sequence[tuple[object, object]] | None = None,
    *,
    num_test_rows: int = 10,
) -> pd.DataFrame:
    """Predicts ratings of pairs, clipped to the rating scale of the training rows.

    A run with a ranking objective gives unclipped scores instead, which only order the items of a user.

    Args:
        run: a trained run or its workdir.
        pairs: (user_id, item_id) pairs, or a DataFrame with these columns. Ids that are not in the training
            rows get the prediction of an unknown user or item. None: the first test rows, with their ratings.
        num_test_rows: number of test rows, if `pairs` is None.

    Returns:
        A DataFrame with columns user_id, item_id, predicted, actual (None if unknown), known_user,
        known_item.

    Raises:
        UserError: `num_test_rows` is not a whole number of at least 0; `pairs` lacks a column or holds
            something other than pairs.
    """
    import pandas as pd

    require_whole(num_test_rows, "num_test_rows")
    if num_test_rows < 0:
        raise UserError(f"num_test_rows must be at least 0, got {num_test_rows}")
    run = load_run(run)
    dataset = run.dataset
    if pairs is None:
        head = dataset.table("test").slice(0, num_test_rows)
        user_id, item_id = head["user_id"], head["item_id"]
        actual = head["rating"].to_pylist()
    else:
        if not isinstance(pairs, pd.DataFrame):
            pairs = _table_of(pairs)
        missing = [name for name in ("user_id", "item_id") if name not in pairs.columns]
        if missing:
            raise UserError(f"pairs need columns user_id and item_id, got {list(pairs.columns)}")
        # As text, like the ids of a DataFrame of ratings: 5.0 means the id 5 of the training data.
        user_id, item_id = ids_as_text(pairs["user_id"]), ids_as_text(pairs["item_id"])
        actual = [None] * len(user_id)
    user_index = dataset.user_vocabulary.index(user_id)
    item_index = dataset.item_vocabulary.index(item_id)
    predicted = run.scorer(user_index, item_index)
    if not run.config.objective.is_ranking:
        predicted = np.clip(predicted, *dataset.rating_scale)
    return pd.DataFrame(
        {
            "user_id": user_id.to_pylist() if pairs is None else pairs["user_id"].tolist(),
            "item_id": item_id.to_pylist() if pairs is None else pairs["item_id"].tolist(),
            "predicted": predicted,
            "actual": pd.Series(actual, dtype=object),
            "known_user": user_index != UNKNOWN_INDEX,
            "known_item": item_index != UNKNOWN_INDEX,
        }
    )


def _table_of(pairs: Iterable[tuple[object, object]]) -> pd.DataFrame:
    """Pairs as a table; a string of two characters is not a pair."""
    import pandas as pd

    if not isinstance(pairs, Iterable) or isinstance(pairs, str | bytes):
        raise UserError(f"pairs must be (user_id, item_id) pairs, got {shown(pairs)}")
    pairs = list(pairs)
    for pair in pairs:
        if not isinstance(pair, Collection) or isinstance(pair, str) or len(pair) != 2:
            raise UserError(f"pairs must be (user_id, item_id) pairs, got {shown(pair)}")
    return pd.DataFrame(pairs, columns=["user_id", "item_id"])
