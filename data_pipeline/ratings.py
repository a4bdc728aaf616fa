"""Ratings in memory, for what is small: generated ones, excerpts, tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

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
