"""Ratings in an Arrow table in memory: generated ratings, subsets, tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.sources.source import RatingsSource

if TYPE_CHECKING:
    from data_pipeline.sources.source import RatingsSource


@dataclass(frozen=True)
class Ratings:
    """Raw ratings and side tables.

    Attributes:
        table: ratings with the columns of a `RatingsSource`'s batches.
        name: short name of the source, used for default folder names.
        fingerprint: SHA-256 of the source's bytes.
        users: side table keyed by `user_id`, or None.
        items: side table keyed by `item_id` (with `title`), or None.
        rmse_floor: the lowest RMSE any model can reach, known for generated ratings only.
    """

    table: pa.Table
    name: str
    fingerprint: str
    users: pa.Table | None = None
    items: pa.Table | None = None
    rmse_floor: float | None = None

    def __len__(self) -> int:
        return self.table.num_rows


def source_of(ratings: Ratings) -> RatingsSource:
    """In-memory ratings as a `RatingsSource`."""

    return source_of_table(
        ratings.table,
        name=ratings.name,
        described=ratings.name,
        fingerprint=ratings.fingerprint,
        users=ratings.users,
        items=ratings.items,
        rmse_floor=ratings.rmse_floor,
    )


_TABLE_BATCH_ROWS = 1 << 18


def source_of_table(
    table: pa.Table,
    *,
    name: str,
    described: str,
    fingerprint: str,
    users: pa.Table | None = None,
    items: pa.Table | None = None,
    rmse_floor: float | None = None,
) -> RatingsSource:
    """A table with the columns of a `RatingsSource`'s batches, as a source."""
    floats = {"rating", "weight"}
    schema = pa.schema([(f.name, pa.float32() if f.name in floats else f.type) for f in table.schema])

    def batches(report: ReadReport) -> Iterator[pa.RecordBatch]:
        for batch in table.cast(schema).to_batches(max_chunksize=_TABLE_BATCH_ROWS):
            report.rows += len(batch)
            yield batch

    return RatingsSource(
        name=name,
        described=described,
        files=(),
        batches=batches,
        digest=lambda: fingerprint,
        users=users,
        items=items,
        rmse_floor=rmse_floor,
    )
