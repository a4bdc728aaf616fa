"""Where ratings come from: whatever the user named, as batches of typed rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from data_pipeline.config import GIVEN, SPLIT_NAMES, DataConfig
from data_pipeline.download import download_ml_100k
from data_pipeline.errors import UserError
from data_pipeline.fingerprint import fingerprint_of_batches, fingerprint_of_files
from data_pipeline.generate import generate_ratings
from data_pipeline.layouts import RatingsFile, find_layout, given_side_files, open_ratings, predefined_rule
from data_pipeline.parsing.chunks import ReadReport, good_rows, parsed
from data_pipeline.parsing.column_names import ColumnNames
from data_pipeline.parsing.frame import frame_columns, frame_parts
from data_pipeline.parsing.side_tables import read_side_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RatingsSource", "ReadReport", "open_source"]

_TABLE_BATCH_ROWS = 1 << 18


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
    """Ratings of a file, folder, glob, DataFrame or `generated`; None: MovieLens-100K, else generated ones.

    Reads headers and side tables, no ratings.

    Raises:
        UserError: there is no such file, or it does not fit the settings.
    """
    choice = ColumnNames.parse(config.columns)
    if data is None:
        try:
            folder = download_ml_100k()
        except OSError as error:
            told = (
                f"MovieLens-100K is not here and cannot be downloaded ({error}): using generated ratings "
                "from a planted model instead. Give real ratings with DATA=path."
            )
            return _generated(config, told)
        return _of_files(folder, config, choice, f"MovieLens-100K from {folder}")
    if isinstance(data, str) and data == "generated":
        return _generated(config, "generated ratings from a planted model")
    if isinstance(data, str | Path):
        return _of_files(data, config, choice, str(data))
    if not (hasattr(data, "columns") and hasattr(data, "iloc")):
        raise UserError(f"DATA must be a path or a DataFrame, got {type(data).__name__}")
    return _of_frame(data, config, choice)


def _of_files(data: str | Path, config: DataConfig, choice: ColumnNames, described: str) -> RatingsSource:
    layout = find_layout(data, config)
    num_train = len(layout.ratings)
    files = _opened((*layout.ratings, *layout.test_ratings), layout.format, choice)
    if num_train > 1:
        described = f"{described}: {num_train} files"
    if config.split == GIVEN:
        described = f"{described}, tested on {layout.test_ratings[0]}"
    tables = {side.key: read_side_file(side, choice) for side in layout.side_files}
    source = RatingsSource(
        name=layout.name,
        described=described,
        files=layout.ratings,
        batches=_batches_of_files(files[:num_train], config),
        digest=partial(fingerprint_of_files, layout.files),
        users=tables.get("user_id"),
        items=tables.get("item_id"),
    )
    if not layout.test_ratings:
        return source
    test = replace(
        source,
        files=layout.test_ratings,
        batches=_batches_of_files(files[num_train:], config),
    )
    return replace(source, test=test)


def _opened(paths: Sequence[Path], format_name: str, choice: ColumnNames) -> list[RatingsFile]:
    files = [open_ratings(path, format_name, choice) for path in paths]
    for file in files:
        if file.columns.keys() != files[0].columns.keys():
            rule = f"all files must have the same columns, got {list(files[0].columns)} in {files[0].path}"
            raise UserError(f"{rule} and {list(file.columns)} in {file.path}")
    return files


def _batches_of_files(
    files: Sequence[RatingsFile], config: DataConfig
) -> Callable[[ReadReport], Iterator[pa.RecordBatch]]:
    paths = [file.path for file in files]
    name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"

    def batches(report: ReadReport) -> Iterator[pa.RecordBatch]:
        report.total_bytes += sum(path.stat().st_size for path in paths)
        parts = parsed(task for file in files for task in file.tasks())
        return good_rows(parts, report, drop=config.bad_rows == "drop", name=name)

    return batches


def _of_frame(frame: pd.DataFrame, config: DataConfig, choice: ColumnNames) -> RatingsSource:
    name = "frame"
    _refuse_predefined(config)
    frame_columns(frame, choice, name=name)
    tables = {side.key: read_side_file(side, choice) for side in given_side_files(config)}

    def batches(report: ReadReport) -> Iterator[pa.RecordBatch]:
        parts = frame_parts(frame, choice, name=name)
        return good_rows(parts, report, drop=config.bad_rows == "drop", name=name)

    return RatingsSource(
        name=name,
        described=f"a DataFrame of {len(frame):,} rows",
        files=(),
        batches=batches,
        digest=lambda: fingerprint_of_batches(batches(ReadReport())),
        users=tables.get("user_id"),
        items=tables.get("item_id"),
    )


def _generated(config: DataConfig, described: str) -> RatingsSource:
    _refuse_predefined(config)
    ratings = generate_ratings()
    return source_of_table(
        ratings.table,
        name=ratings.name,
        described=described,
        fingerprint=ratings.fingerprint,
        items=ratings.items,
        rmse_floor=ratings.rmse_floor,
    )


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
    """Ratings that are in memory already, with the columns that batches have, as a source."""
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


def _refuse_predefined(config: DataConfig) -> None:
    if config.test:
        raise UserError(f"data.test goes with files of ratings, got {config.test!r} without one")
    if config.split not in SPLIT_NAMES:
        raise UserError(predefined_rule(config))
