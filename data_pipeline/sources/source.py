"""`RatingsSource`, the common interface of all sources: batches of typed rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from data_pipeline.parsing.chunks import ReadReport


@dataclass(frozen=True)
class RatingsSource:
    """Ratings that can be read, batch by batch, any number of times.

    A batch has the columns `user_id` and `item_id` (int64 if every id of the batch is an integer in canonical
    form: '7', not '07' or ' 7'; else string), `rating` (float32, finite) and, in all batches or none,
    `timestamp` (int64, seconds) and `weight` (float32, finite, at least 0). There are no nulls. If some
    batches have integer ids and others strings, all ids of the source are strings, and 7 means '7'.

    Attributes:
        name: short name, used for default folder names.
        described: one line that describes the source to the user.
        files: the files of ratings; empty for a DataFrame or generated ratings.
        batches: reads from the start and updates the report. Raises UserError at the first bad row, unless
            bad rows are dropped, and after the last batch if there were no good rows.
        digest: computes the fingerprint.
        users, items: side tables keyed by `user_id` and `item_id`, or None.
        rmse_floor: the lowest RMSE any model can reach, known for generated ratings only.
        test: the test ratings of a predefined pair; `batches` are then the training ratings.
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
        """SHA-256 of the source, including side tables and test ratings."""
        return self.digest()
