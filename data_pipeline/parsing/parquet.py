"""Ratings in Parquet."""

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
from data_pipeline.parsing.values import row_fault, typed

ROWS_PER_BATCH = 1 << 18


@dataclass(frozen=True)
class ParquetRatings:
    """One file of ratings, opened: its columns are known, no row is read.

    Attributes:
        columns: our column -> its position among the file's columns.
        names: of all of the file's columns.
        num_bytes: of the file.
    """

    path: Path
    columns: dict[str, int]
    names: tuple[str, ...]
    num_rows: int
    num_bytes: int

    def tasks(self) -> Iterator[Callable[[], Chunk]]:
        """What is to be done to read the file, part by part."""
        first = 0
        wanted = [self.names[position] for position in self.columns.values()]
        with _Readable(self.path), pq.ParquetFile(self.path, pre_buffer=False) as file:
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=wanted):
                yield partial(self.parse, first, batch)
                first += len(batch)
        if first != self.num_rows:
            raise UserError(f"{self.path}: the file says {self.num_rows} rows, got {first}")

    def parse(self, first: int, raw: pa.RecordBatch) -> Chunk:
        """The good rows of raw columns.

        Args:
            first: the number of their first row.
        """
        raw_bytes = (
            self.num_bytes * (first + len(raw)) // self.num_rows - self.num_bytes * first // self.num_rows
        )
        return typed_part(
            {column: raw[self.names[position]] for column, position in self.columns.items()},
            source=str(self.path),
            first=first,
            raw_bytes=raw_bytes,
        )


def typed_part(columns: dict[str, pa.Array], *, source: str, first: int, raw_bytes: int = 0) -> Chunk:
    """Columns of any type as a part whose bad rows are named by source and number of the row, from 0.

    Raises:
        UserError: a column has a type that ids, ratings or times do not have.
    """
    try:
        batch, bad = typed(columns)
    except TypeError as error:
        raise UserError(f"{source}: {error}") from None
    rows = [] if bad is None else np.flatnonzero(bad).tolist()

    def name_bad(count: int) -> list[str]:
        return [
            f"{source}: row {first + row}: "
            f"{row_fault({name: column.slice(row, 1) for name, column in columns.items()})}"
            for row in rows[:count]
        ]

    return Chunk(batch, len(rows), raw_bytes, name_bad)


def open_parquet(path: Path, choice: ColumnNames) -> ParquetRatings:
    """Finds the columns of a Parquet file of ratings.

    Raises:
        UserError: not a Parquet file, or a column is missing.
    """
    if not path.stat().st_size:
        raise UserError(f"{path}: a ratings file needs rows, got an empty file")
    with _Readable(path), pq.ParquetFile(path) as file:
        names, num_rows = tuple(file.schema_arrow.names), file.metadata.num_rows
    return ParquetRatings(path, choice.match(names, source=str(path)), names, num_rows, path.stat().st_size)


class _Readable:
    """Turns what Arrow says of a damaged file into one line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowException) or (isinstance(error, OSError) and not error.errno):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{self._path}: not readable as Parquet: {reason[:300]}") from error


def read_parquet_table(path: Path) -> pa.Table:
    """All of a file.

    Raises:
        UserError: not a Parquet file.
    """
    with _Readable(path):
        return pq.read_table(path, partitioning=None)
