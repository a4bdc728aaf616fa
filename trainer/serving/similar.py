"""Finds the items or users whose vectors are nearest to those of given ones."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset.dataset import OTHER_ITEMS, OTHER_USERS, PreparedDataset
from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX
from data_pipeline.errors import UserError, shown
from data_pipeline.features.interactions import Interactions
from trainer.ranking.top_items import top_items
from trainer.run.trained_run import Run, load_run
from trainer.serving.vectors import Side, Vectors, vectors_of

if TYPE_CHECKING:
    import pandas as pd

Measure = Literal["cosine", "dot"]
MEASURES: tuple[Measure, ...] = ("cosine", "dot")
# Beyond these decimals, a sum in float64 depends on its order: equal vectors must tie.
DECIMALS = 12


def similar(
    run: Run | str | Path,
    *,
    item_id: object = None,
    user_id: object = None,
    k: int = 10,
    measure: Measure = "cosine",
) -> pd.DataFrame:
    """Lists the k items, or users, whose vectors are most similar to that of an item, or a user.

    The list is exact and does not contain the id itself. Ties are broken at random with a fixed seed.
    `vectors_of` says what the vectors of each model are. A vector of zeros has the cosine 0 with every other.

    Args:
        run: a trained run or its workdir.
        item_id: raw id, or a list of them; then a column `of` says whose neighbours a row has.
        user_id: the same for users; give one of both.
        k: length of a list; fewer, if there are no others.
        measure: `cosine` of the angle between vectors, or `dot`, their inner product.

    Returns:
        A DataFrame with columns item_id, title (None if unknown), score; for users user_id, score. The
        highest score comes first.

    Raises:
        UserError: an id has no training row, a value is out of range, or the model has no vectors.
    """
    import pandas as pd

    if (item_id is None) == (user_id is None):
        raise UserError(f"give one of item_id and user_id, got {'none' if item_id is None else 'both'}")
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise UserError(f"k must be an integer of at least 1, got {k}")
    if measure not in MEASURES:
        raise UserError(f"measure must be cosine or dot, got {measure!r}")
    run = load_run(run)
    side: Side = "users" if item_id is None else "items"
    asked = user_id if item_id is None else item_id
    is_list = isinstance(asked, Collection) and not isinstance(asked, str | bytes)
    ids = list(asked) if is_list else [asked]  # type: ignore[call-overload]
    index = np.array([_index_of(run.dataset, side, each) for each in ids], np.int32)
    vectors = vectors_of(run, side)
    best, scores = nearest(vectors, index - 1, k=int(k), measure=measure)
    frames = []
    for each, rows, score in zip(ids, best, scores, strict=True):
        columns: dict[str, object] = {"of": [each] * len(rows)} if is_list else {}
        columns[f"{side[:-1]}_id"] = vectors.ids.take(pa.array(rows)).to_pylist()
        if vectors.titles is not None:  # as objects: pandas would make a missing title NaN
            columns["title"] = pd.Series(vectors.titles.take(pa.array(rows)).to_pylist(), dtype=object)
        frames.append(pd.DataFrame({**columns, "score": score}))
    if not frames:
        raise UserError(f"{side[:-1]}_id must name at least one id, got {shown(asked)}")
    return pd.concat(frames, ignore_index=True)


def nearest(
    vectors: Vectors, rows: np.ndarray, *, k: int, measure: Measure
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The k nearest rows of each row, nearest first, without itself: (rows, scores), one array per row."""
    ranker = _Similarity(vectors, measure)
    index = np.asarray(rows, np.int32) + 1  # 0 is the unknown id
    itself = Interactions(np.arange(len(index) + 1), index, len(vectors) + 1)
    best = top_items(ranker, index, seen=itself, k=min(k, len(vectors)))
    found = [each[each > 0] - 1 for each in best]
    scores = [
        np.round(
            _scaled(vectors.rows(np.array([row])), measure) @ _scaled(vectors.rows(others), measure).T,
            DECIMALS,
        )[0]
        for row, others in zip(rows, found, strict=True)
    ]
    return found, scores


class _Similarity:
    """A ranker: the similarity of all rows of `vectors` to some of them, in float64."""

    def __init__(self, vectors: Vectors, measure: Measure) -> None:
        self._vectors = vectors
        self._measure: Measure = measure
        self.num_item_rows = len(vectors) + 1

    def scores(self, index: np.ndarray) -> np.ndarray:
        asked_QD = _scaled(self._vectors.rows(index - 1), self._measure)
        scores = np.zeros((len(index), self.num_item_rows))
        for part, block in self._vectors.blocks():
            scores[:, part.start + 1 : part.stop + 1] = asked_QD @ _scaled(block, self._measure).T
        return np.round(scores, DECIMALS)


def _scaled(vectors: np.ndarray, measure: Measure) -> np.ndarray:
    """In float64; for the cosine, of length 1, where they are not zeros."""
    vectors = vectors.astype(np.float64)
    if measure == "dot":
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def _index_of(dataset: PreparedDataset, side: Side, raw_id: object) -> int:
    """The index of an id.

    Raises:
        UserError: it has no training row, and so no trained vector; says whether the dataset knows it.
    """
    vocabulary = dataset.user_vocabulary if side == "users" else dataset.item_vocabulary
    index = int(vocabulary.index(pa.array([_plain(raw_id)]))[0])
    if index != UNKNOWN_INDEX:
        return index
    name = f"{side[:-1]}_id"
    others = dataset.others(OTHER_USERS if side == "users" else OTHER_ITEMS)
    columns = {split: dataset.table(split)[name] for split in ("validation", "test")}
    if others is not None:
        columns["side features"] = others[name]
    where = [split for split, column in columns.items() if _has(column, raw_id)]
    if where:
        raise UserError(
            f"{name} must have training rows to have a vector, got {shown(raw_id)}, which is in the "
            f"{' and '.join(where)} only"
        )
    raise UserError(f"{name} must be an id of the training rows, got {shown(raw_id)}")


def _plain(raw_id: object) -> object:
    """A number that is whole as an integer: 5.0 means the id 5, as in a DataFrame of ratings."""
    if isinstance(raw_id, np.generic):
        raw_id = raw_id.item()
    if isinstance(raw_id, float) and raw_id.is_integer():
        return int(raw_id)
    if raw_id is None or isinstance(raw_id, bool) or not isinstance(raw_id, str | int):
        raise UserError(f"an id must be a whole number or a text, got {shown(raw_id)}")
    return raw_id


def _has(column: pa.ChunkedArray, raw_id: object) -> bool:
    return bool(pc.any(pc.equal(pc.cast(column, pa.string()), str(_plain(raw_id)))).as_py())
