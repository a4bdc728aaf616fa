"""Ratings as batches of typed rows, whatever they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from data_pipeline.parsing.chunks import ReadReport


@dataclass(frozen=True)
class RatingsSource:
    """Ratings that can be read, batch by batch, as often as one likes.

    A batch has columns `user_id`, `item_id` (int64 where every id of the batch is written as an integer:
    '7', not '07' or ' 7'; else string), `rating` (float32, finite) and, in all batches or none, `timestamp`
    (int64, seconds) and `weight` (float32, finite, at least 0). Nothing is null. Some batches may have an id
    column as integers and others as strings: then all ids are strings, and 7 is '7'.

    Attributes:
        name: short name, for default folder names.
        described: one plain line that says what was taken.
        files: the files of ratings; empty for a DataFrame or generated ratings.
        batches: reads from the start, fills the report; raises UserError at the first bad row, unless these
            are dropped, and after the last batch if there was no row at all.
        digest: computes the fingerprint.
        users, items: side tables keyed by `user_id` and `item_id`, or None.
        rmse_floor: the lowest RMSE any model can reach, known for generated ratings only.
        test: the predefined test part; then `batches` is the training part.
    """

    name: str
    described: str
    files: tuple[Path, ...]
    batches: Callable[[ReadReport], Iterator[pa.RecordBatch]]
    digest: Callable[[], str]
    users: pa.Table | None = None
    items: pa.Table | None = None
    rmse_floor: float | None = None
    test: RatingsSource | None = None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the source's bytes, side tables and test part included; parses nothing."""
        return self.digest()
