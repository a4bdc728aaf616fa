"""Ratings from a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.parsing.chunks import Chunk
from data_pipeline.parsing.column_names import ColumnNames
from data_pipeline.parsing.ids import parse_ids
from data_pipeline.parsing.parquet import ROWS_PER_BATCH, typed_chunk

if TYPE_CHECKING:
    import pandas as pd


def frame_chunks(frame: pd.DataFrame, column_names: ColumnNames, *, name: str) -> Iterator[Chunk]:
    """Yields the ratings of a DataFrame whose columns are named as in a CSV."""
    columns = frame_columns(frame, column_names, name=name)
    for first in range(0, len(frame), ROWS_PER_BATCH):
        piece = frame.iloc[first : first + ROWS_PER_BATCH]
        arrays = {column: _array(piece.iloc[:, position]) for column, position in columns.items()}
        yield typed_chunk(arrays, source=name, first=first)


def frame_columns(frame: pd.DataFrame, column_names: ColumnNames, *, name: str) -> dict[str, int]:
    """Our columns -> positions of the columns in the frame."""
    return column_names.match([str(column) for column in frame.columns], source=name)


def ids_as_text(column: pd.Series) -> pa.Array:
    """Values as strings, as a CSV of the frame would hold them; 7.0 becomes 7, missing values become null."""
    try:
        array = pa.array(column, from_pandas=True)
        if pa.types.is_floating(array.type):
            integers, bad = parse_ids(array)
            if bad is None or array.null_count == np.count_nonzero(bad):
                array = pc.if_else(array.is_valid(), integers, None)
        return pc.cast(array, pa.string())
    except (pa.ArrowException, OverflowError):  # mixed types, or types unknown to Arrow
        return pa.array(column.map(str, na_action="ignore"), pa.string(), from_pandas=True)


def _array(column: pd.Series) -> pa.Array:
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return ids_as_text(column)
