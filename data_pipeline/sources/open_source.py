"""Opens DATA, whatever kind it is, as a `RatingsSource`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from data_pipeline.config import GIVEN, SPLIT_NAMES, DataConfig
from data_pipeline.errors import UserError
from data_pipeline.parsing.chunks import ReadReport, good_rows, parse_in_threads
from data_pipeline.parsing.column_names import ColumnNames
from data_pipeline.parsing.frame import frame_chunks, frame_columns
from data_pipeline.parsing.side_tables import read_side_file
from data_pipeline.sources.download import download_ml_100k
from data_pipeline.sources.fingerprint import fingerprint_of_batches, fingerprint_of_files
from data_pipeline.sources.generated import generate_ratings
from data_pipeline.sources.in_memory import source_of_table
from data_pipeline.sources.locate import (
    RatingsFile,
    configured_side_files,
    locate_files,
    open_ratings,
    unknown_split_message,
)
from data_pipeline.sources.source import RatingsSource

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RatingsSource", "ReadReport", "open_source"]


def open_source(data: str | Path | pd.DataFrame | None, config: DataConfig) -> RatingsSource:
    """Opens a file, folder, glob, DataFrame or `generated`. None: MovieLens-100K, else generated ratings.

    Reads headers and side tables, but no ratings yet.

    Raises:
        UserError: a file is missing or does not fit the settings.
    """
    column_names = ColumnNames.parse(config.columns)
    if data is None:
        try:
            folder = download_ml_100k()
        except OSError as error:
            description = (
                "generated ratings from a planted model, because MovieLens-100K is not in the cache and "
                f"cannot be downloaded ({getattr(error, 'reason', error)})"
            )
            return _generated(config, description)
        return _of_files(folder, config, column_names, f"MovieLens-100K from {folder}")
    if isinstance(data, str) and data == "generated":
        return _generated(config, "generated ratings from a planted model")
    if isinstance(data, str | Path):
        return _of_files(data, config, column_names, str(data))
    if not (hasattr(data, "columns") and hasattr(data, "iloc")):
        raise UserError(f"DATA must be a path or a DataFrame, got {type(data).__name__}")
    return _of_frame(data, config, column_names)


def _of_files(
    data: str | Path, config: DataConfig, column_names: ColumnNames, described: str
) -> RatingsSource:
    located = locate_files(data, config)
    num_train = len(located.ratings)
    files = _opened((*located.ratings, *located.test_ratings), located.format, column_names)
    if num_train > 1:
        described = f"{described}: {num_train} files"
    if config.split == GIVEN:
        described = f"{described}, tested on {located.test_ratings[0]}"
    tables = {side.key: read_side_file(side, column_names) for side in located.side_files}
    source = RatingsSource(
        name=located.name,
        described=described,
        files=located.ratings,
        batches=_batches_of_files(files[:num_train], config),
        digest=partial(fingerprint_of_files, located.files),
        users=tables.get("user_id"),
        items=tables.get("item_id"),
    )
    if not located.test_ratings:
        return source
    test = replace(
        source,
        files=located.test_ratings,
        batches=_batches_of_files(files[num_train:], config),
    )
    return replace(source, test=test)


def _opened(paths: Sequence[Path], format_name: str, column_names: ColumnNames) -> list[RatingsFile]:
    files = [open_ratings(path, format_name, column_names) for path in paths]
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
        chunks = parse_in_threads(task for file in files for task in file.tasks())
        return good_rows(chunks, report, drop=config.bad_rows == "drop", name=name)

    return batches


def _of_frame(frame: pd.DataFrame, config: DataConfig, column_names: ColumnNames) -> RatingsSource:
    name = "frame"
    _refuse_predefined(config)
    frame_columns(frame, column_names, name=name)
    tables = {side.key: read_side_file(side, column_names) for side in configured_side_files(config)}

    def batches(report: ReadReport) -> Iterator[pa.RecordBatch]:
        chunks = frame_chunks(frame, column_names, name=name)
        return good_rows(chunks, report, drop=config.bad_rows == "drop", name=name)

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


def _refuse_predefined(config: DataConfig) -> None:
    if config.test:
        raise UserError(f"data.test needs ratings from files, got {config.test!r} without a file")
    if config.split not in SPLIT_NAMES:
        raise UserError(unknown_split_message(config))
