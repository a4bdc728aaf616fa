"""Ratings in a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.parsing.chunks import Chunk
from data_pipeline.parsing.column_names import ColumnNames
from data_pipeline.parsing.ids import ids
from data_pipeline.parsing.parquet import ROWS_PER_BATCH, typed_part

if TYPE_CHECKING:
    import pandas as pd


def frame_parts(frame: pd.DataFrame, choice: ColumnNames, *, name: str) -> Iterator[Chunk]:
    """The ratings of a frame with columns named as in a CSV."""
    columns = frame_columns(frame, choice, name=name)
    for first in range(0, len(frame), ROWS_PER_BATCH):
        piece = frame.iloc[first : first + ROWS_PER_BATCH]
        arrays = {column: _array(piece.iloc[:, position]) for column, position in columns.items()}
        yield typed_part(arrays, source=name, first=first)


def frame_columns(frame: pd.DataFrame, choice: ColumnNames, *, name: str) -> dict[str, int]:
    """Our columns -> positions among the frame's."""
    return choice.match([str(column) for column in frame.columns], source=name)


def ids_as_text(column: pd.Series) -> pa.Array:
    """Ids or other values as a CSV of the frame would hold them, 7.0 as 7; null where one is missing."""
    try:
        array = pa.array(column, from_pandas=True)
        if pa.types.is_floating(array.type):
            integers, bad = ids(array)
            if bad is None or array.null_count == np.count_nonzero(bad):
                array = pc.if_else(array.is_valid(), integers, None)
        return pc.cast(array, pa.string())
    except (pa.ArrowException, OverflowError):  # ids of mixed types, or of none that Arrow has
        return pa.array(column.map(str, na_action="ignore"), pa.string(), from_pandas=True)


def _array(column: pd.Series) -> pa.Array:
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return ids_as_text(column)
