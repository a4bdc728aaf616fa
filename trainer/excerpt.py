"""A part of somebody's ratings, cut to a number of steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data_pipeline.dataset import MANIFEST, PreparedDataset, open_dataset
from data_pipeline.errors import UserError
from data_pipeline.prepare import DataConfig, prepare_dataset, read_ratings, resolve_data
from data_pipeline.ratings import Ratings
from trainer.config import Config
from trainer.source import refuse_split_settings

VALIDATION_ROWS = TEST_ROWS = 200


def prepare_excerpt(
    data: str | Path | None,
    config: Config,
    settings: Sequence[str],
    out: Path,
    *,
    epochs: int,
    steps: int,
    say: Callable[[str], None],
) -> PreparedDataset:
    """Prepares so many of DATA's ratings, always the same, that an epoch's last batch is short.

    With batches of B rows the last has B // 4 + 1: of two or more replicas at least the last one has none.

    Args:
        out: the new folder.
        steps: of all epochs together.
        say: is told what DATA is.

    Raises:
        UserError: DATA has fewer rows, or cannot be read.
    """
    batch = config.train.global_batch_size
    num_train = (steps // epochs - 1) * batch + (batch // 4 + 1 if batch > 1 else 1)
    num_rows = num_train + VALIDATION_ROWS + TEST_ROWS
    source, described = resolve_data(data)
    say(f"data      {described}")
    ratings = _read_ratings(source, config, settings)
    if len(ratings) < num_rows:
        raise UserError(
            f"{steps} steps of {batch} rows need {num_rows:,} ratings, got {len(ratings):,}; "
            "give fewer --steps, or a smaller train.global_batch_size"
        )
    rows = np.random.RandomState(config.data.split_seed).permutation(len(ratings))[:num_rows]
    ratings = dataclasses.replace(ratings, table=ratings.table.take(np.sort(rows)))
    split = DataConfig(  # fractions are rounded up to whole rows
        test_fraction=(TEST_ROWS - 0.5) / num_rows,
        validation_fraction=(VALIDATION_ROWS - 0.5) / (num_rows - TEST_ROWS),
        split_seed=config.data.split_seed,
    )
    dataset = prepare_dataset(ratings, None, split, out)
    assert dataset.num_rows("train") == num_train
    return dataset


def _read_ratings(source: Path | Ratings, config: Config, settings: Sequence[str]) -> Ratings:
    """All ratings there are; of data that is split already, the training rows."""
    if not (isinstance(source, Path) and (source / MANIFEST).is_file()):
        return read_ratings(source, config.data)[0]
    refuse_split_settings(source, settings)
    dataset = open_dataset(source)
    table = dataset.table("train").drop_columns(["user_index", "item_index"])
    return Ratings(table=table, name=dataset.name, fingerprint=dataset.fingerprint)
