"""Ratings from Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.errors import UserError
from data_pipeline.parsing.chunks import Chunk
from data_pipeline.parsing.column_names import ColumnNames
from data_pipeline.parsing.values import row_fault, typed_batch

ROWS_PER_BATCH = 1 << 18


@dataclass(frozen=True)
class ParquetRatings:
    """One opened file of ratings: its columns are known, its rows are not read yet.

    Attributes:
        columns: our column -> its position in the file.
        names: the names of all columns of the file.
        num_bytes: the size of the file.
    """

    path: Path
    columns: dict[str, int]
    names: tuple[str, ...]
    num_rows: int
    num_bytes: int

    def tasks(self) -> Iterator[Callable[[], Chunk]]:
        """One parsing task per record batch of the file."""
        first = 0
        names = [self.names[position] for position in self.columns.values()]
        with _DamageAsUserError(self.path), pq.ParquetFile(self.path, pre_buffer=False) as file:
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=names):
                yield partial(self.parse, first, batch)
                first += len(batch)
        if first != self.num_rows:
            raise UserError(f"{self.path}: the file must have {self.num_rows} rows, got {first}")

    def parse(self, first: int, raw: pa.RecordBatch) -> Chunk:
        """Converts a record batch to a chunk.

        Args:
            first: the row number of its first row in the file.
        """
        raw_bytes = (
            self.num_bytes * (first + len(raw)) // self.num_rows - self.num_bytes * first // self.num_rows
        )
        return typed_chunk(
            {column: raw[self.names[position]] for column, position in self.columns.items()},
            source=str(self.path),
            first=first,
            raw_bytes=raw_bytes,
        )


def typed_chunk(columns: dict[str, pa.Array], *, source: str, first: int, raw_bytes: int = 0) -> Chunk:
    """Converts columns of any type to a chunk; bad rows are reported by source and row number, from 0.

    Raises:
        UserError: a column has a type that cannot hold ids, ratings or times.
    """
    try:
        batch, bad = typed_batch(columns)
    except TypeError as error:
        raise UserError(f"{source}: {error}") from None
    rows = [] if bad is None else np.flatnonzero(bad).tolist()

    def describe_bad(count: int) -> list[str]:
        return [
            f"{source}: row {first + row}: "
            f"{row_fault({name: column.slice(row, 1) for name, column in columns.items()})}"
            for row in rows[:count]
        ]

    return Chunk(batch, len(rows), raw_bytes, describe_bad)


def open_parquet(path: Path, column_names: ColumnNames) -> ParquetRatings:
    """Opens a Parquet file of ratings and finds its columns.

    Raises:
        UserError: not a Parquet file, or a column is missing.
    """
    if not path.stat().st_size:
        raise UserError(f"{path}: a ratings file needs rows, got an empty file")
    with _DamageAsUserError(path), pq.ParquetFile(path) as file:
        names, num_rows = tuple(file.schema_arrow.names), file.metadata.num_rows
    return ParquetRatings(
        path, column_names.match(names, source=str(path)), names, num_rows, path.stat().st_size
    )


class _DamageAsUserError:
    """Converts Arrow's exceptions for a damaged file to a one-line UserError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowException) or (isinstance(error, OSError) and not error.errno):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{self._path}: not readable as Parquet: {reason[:300]}") from error


def read_parquet_table(path: Path) -> pa.Table:
    """Reads a whole file.

    Raises:
        UserError: not a Parquet file.
    """
    with _DamageAsUserError(path):
        return pq.read_table(path, partitioning=None)
