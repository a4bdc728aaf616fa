"""From whatever holds ratings to a prepared dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data_pipeline.config import SPLIT_NAMES, DataConfig
from data_pipeline.dataset import PreparedDataset, require_empty, write_dataset
from data_pipeline.errors import UserError
from data_pipeline.layouts import predefined_rule
from data_pipeline.ratings import Ratings, read_all
from data_pipeline.source import open_source
from data_pipeline.split import cut_validation, random_split

if TYPE_CHECKING:
    import pandas as pd


def resolve_data(data: str | Path | pd.DataFrame | None) -> tuple[Path | Ratings, str]:
    """What is meant by DATA: a path, or ratings; and one plain line that says which was taken.

    None means MovieLens-100K where it is at hand or can be downloaded, else generated ratings;
    `generated` means the latter.
    """
    if isinstance(data, str | Path) and data != "generated":
        path = Path(data)
        if not path.exists():
            raise UserError(f"DATA: no such file or folder: {path}")
        return path, str(path)
    source = open_source(data, DataConfig())
    if data is None and source.files:
        return source.files[0].parent, source.described
    return read_all(source), source.described


def read_ratings(source: Path | Ratings, config: DataConfig) -> tuple[Ratings, Ratings | None]:
    """(all ratings, None), or (train, test) where `config.split` names a predefined pair."""
    if config.split not in SPLIT_NAMES and config.test_fraction != DataConfig.test_fraction:
        raise UserError(
            f"data.test_fraction is for the random split, got {config.test_fraction} "
            f"with data.split {config.split!r}"
        )
    if isinstance(source, Ratings):
        if config.split not in SPLIT_NAMES:
            raise UserError(predefined_rule(config))
        return source, None
    opened = open_source(source, config)
    return read_all(opened), None if opened.test is None else read_all(opened.test)


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
