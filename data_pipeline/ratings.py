"""Ratings in memory, for what is small: generated ones, excerpts, tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from data_pipeline.source import RatingsSource


@dataclass(frozen=True)
class Ratings:
    """Raw ratings and what is known of their users and items.

    Attributes:
        table: the columns of a `RatingsSource`'s batches.
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
    """Ratings that are in memory, as what `prepare_dataset` takes."""
    from data_pipeline.source import source_of_table

    return source_of_table(
        ratings.table,
        name=ratings.name,
        described=ratings.name,
        fingerprint=ratings.fingerprint,
        users=ratings.users,
        items=ratings.items,
        rmse_floor=ratings.rmse_floor,
    )


def read_all(source: RatingsSource) -> Ratings:
    """All ratings of a source (of its training part, where it has two)."""
    from data_pipeline.source import ReadReport

    table = one_table(list(source.batches(ReadReport())))
    return Ratings(table, source.name, source.fingerprint, source.users, source.items, source.rmse_floor)


def one_table(batches: list[pa.RecordBatch]) -> pa.Table:
    """The batches below each other; ids that one of them has as strings are strings."""
    schema = batches[0].schema
    for batch in batches:
        for position, column in enumerate(batch.schema):
            if column.name in ("user_id", "item_id") and pa.types.is_string(column.type):
                schema = schema.set(position, column)
    return pa.Table.from_batches(
        [
            pa.RecordBatch.from_arrays(
                [pc.cast(column, field.type) for column, field in zip(batch.columns, schema, strict=True)],
                schema=schema,
            )
            for batch in batches
        ]
    )
