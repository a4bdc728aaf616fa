"""Where ratings come from: whatever the user named, as batches of typed rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from data_pipeline.config import DataConfig

if TYPE_CHECKING:
    import pandas as pd

    from data_pipeline.ratings import Ratings


@dataclass
class ReadReport:
    """What reading met so far; filled while batches are read.

    Attributes:
        total_bytes, bytes_read: of the files, compressed as they are; 0 where there are none.
        rows: handed out in batches.
        dropped_rows: bad rows left out with `bad_rows=drop`.
        first_dropped: a few of them, each as its error would read.
    """

    total_bytes: int = 0
    bytes_read: int = 0
    rows: int = 0
    dropped_rows: int = 0
    first_dropped: list[str] = field(default_factory=list)


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


def open_source(data: str | Path | pd.DataFrame | None, config: DataConfig) -> RatingsSource:
    """Ratings of a file, a folder, a glob, a DataFrame, `generated`; None: MovieLens-100K or generated ones.

    Reads headers and side tables, no ratings.

    Raises:
        UserError: there is no such file, or it does not fit the settings.
    """
    from data_pipeline.prepare import read_ratings, resolve_data

    found, described = resolve_data(data)
    ratings, test = read_ratings(found, config)

    def batches_of(table: pa.Table) -> Callable[[ReadReport], Iterator[pa.RecordBatch]]:
        schema = pa.schema(
            [(f.name, pa.float32() if f.name in ("rating", "weight") else f.type) for f in table.schema]
        )

        def batches(report: ReadReport) -> Iterator[pa.RecordBatch]:
            for batch in table.cast(schema).to_batches(max_chunksize=1 << 18):
                report.rows += len(batch)
                yield batch

        return batches

    def source(ratings: Ratings, test: RatingsSource | None) -> RatingsSource:
        return RatingsSource(
            name=ratings.name,
            described=described,
            files=() if not isinstance(found, Path) else (found,),
            batches=batches_of(ratings.table),
            digest=lambda: ratings.fingerprint,
            users=ratings.users,
            items=ratings.items,
            rmse_floor=ratings.rmse_floor,
            test=test,
        )

    return source(ratings, source(test, None) if test is not None else None)
