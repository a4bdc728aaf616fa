"""From whatever holds ratings to a prepared dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data_pipeline.config import DataConfig
from data_pipeline.dataset import MANIFEST, PreparedDataset, require_empty, write_dataset
from data_pipeline.errors import UserError
from data_pipeline.generate import generate_ratings
from data_pipeline.movielens import (
    download_ml_100k,
    is_ml_100k_folder,
    read_ml_100k_folder,
    read_predefined_pair,
)
from data_pipeline.ratings import Ratings, ratings_from_frame, read_ratings_file
from data_pipeline.split import cut_validation, random_split

if TYPE_CHECKING:
    import pandas as pd


def resolve_data(data: str | Path | pd.DataFrame | None) -> tuple[Path | Ratings, str]:
    """What is meant by DATA: a path, or ratings; and one plain line that says which was taken.

    None means MovieLens-100K where it is at hand or can be downloaded, else generated ratings;
    `generated` means the latter.
    """
    if data is None:
        try:
            folder = download_ml_100k()
        except OSError as error:
            return generate_ratings(), (
                f"MovieLens-100K is not here and cannot be downloaded ({error}): using generated ratings "
                "from a planted model instead. Give real ratings with DATA=path."
            )
        return folder, f"MovieLens-100K from {folder}"
    if isinstance(data, str) and data == "generated":
        return generate_ratings(), "generated ratings from a planted model"
    if not isinstance(data, str | Path):
        if not hasattr(data, "columns"):
            raise UserError(f"DATA must be a path or a DataFrame, got {type(data).__name__}")
        return ratings_from_frame(data), f"a DataFrame of {len(data):,} rows"
    path = Path(data)
    if not path.exists():
        raise UserError(f"DATA: no such file or folder: {path}")
    return path, str(path)


def read_ratings(source: Path | Ratings, config: DataConfig) -> tuple[Ratings, Ratings | None]:
    """(all ratings, None), or (train, test) where `config.split` names a predefined pair."""
    if config.split != "random":
        if config.test_fraction != DataConfig.test_fraction:
            raise UserError(
                f"data.test_fraction is for the random split, got {config.test_fraction} "
                f"with data.split {config.split!r}"
            )
        if not isinstance(source, Path) or not source.is_dir():
            raise UserError(
                f"data.split must be 'random', or a pair in a folder such as u1, got {config.split!r}"
            )
        return read_predefined_pair(source, config.split)
    if isinstance(source, Ratings):
        return source, None
    if source.is_file():
        return read_ratings_file(source), None
    if is_ml_100k_folder(source):
        return read_ml_100k_folder(source), None
    if (source / MANIFEST).is_file():
        raise UserError(f"DATA: ratings are wanted, got the prepared dataset {source}")
    raise UserError(f"DATA: a folder of ratings has u.data (MovieLens-100K) or {MANIFEST}, got {source}")


def prepare_dataset(ratings: Ratings, test: Ratings | None, config: DataConfig, out: Path) -> PreparedDataset:
    """Splits, indexes and writes ratings (`test`: the predefined test part, or None) to the folder `out`."""
    require_empty(out)
    if test is None:
        split = random_split(
            len(ratings),
            test_fraction=config.test_fraction,
            validation_fraction=config.validation_fraction,
            seed=config.split_seed,
        )
        table = ratings.table
    else:
        table = _concatenated(ratings.table, test.table)
        rows = np.arange(len(table))
        split = cut_validation(
            rows[: len(ratings)],
            rows[len(ratings) :],
            validation_fraction=config.validation_fraction,
            seed=config.split_seed,
        )
    return write_dataset(
        out,
        name=ratings.name,
        parts={
            "train": table.take(split.train),
            "validation": table.take(split.validation),
            "test": table.take(split.test),
        },
        users=ratings.users,
        items=ratings.items,
        split_settings=asdict(config),
        source_fingerprint=ratings.fingerprint,
        rmse_floor=ratings.rmse_floor,
    )


def _concatenated(train: pa.Table, test: pa.Table) -> pa.Table:
    """Both, one below the other; ids that only one of them has as integers become strings."""
    for name in ("user_id", "item_id"):
        if train.schema.field(name).type != test.schema.field(name).type:
            train, test = (
                table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
                for table in (train, test)
            )
    return pa.concat_tables([train, test])
