"""A fixed subset of the ratings, for a given number of steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data_pipeline import advice
from data_pipeline.config import DataConfig
from data_pipeline.dataset.dataset import PreparedDataset, open_dataset
from data_pipeline.dataset.manifest import MANIFEST
from data_pipeline.errors import UserError
from data_pipeline.logs import log
from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from data_pipeline.sources.source import RatingsSource
from trainer.config import Config
from trainer.run.data import refuse_split_settings

if TYPE_CHECKING:
    import pandas as pd

VALIDATION_ROWS = TEST_ROWS = 200


def prepare_subset(
    data: str | Path | pd.DataFrame | None,
    config: Config,
    settings: Sequence[str],
    out: Path,
    *,
    epochs: int,
    steps: int,
) -> PreparedDataset:
    """Prepares a fixed subset of DATA's ratings, chosen so that the last batch of an epoch is incomplete.

    With batches of B rows the last has B // 4 + 1, so that at least the last of several replicas has no rows.

    Args:
        out: the new folder.
        steps: of all epochs together.

    Raises:
        UserError: DATA has fewer rows, or cannot be read.
    """
    batch = config.train.global_batch_size
    num_train = (steps // epochs - 1) * batch + (batch // 4 + 1 if batch > 1 else 1)
    num_rows = num_train + VALIDATION_ROWS + TEST_ROWS
    source = _open(data, config, settings)
    log.info(f"data      {source.described}")
    found = sum(len(batch) for batch in source.batches(ReadReport()))
    if found < num_rows:
        raise UserError(
            f"{steps} steps of {batch} rows need {num_rows:,} ratings, got {found:,}; "
            f"use fewer {advice.words('--steps', 'steps')} or a smaller train.global_batch_size"
        )
    rows = np.random.default_rng(config.data.split_seed).choice(found, num_rows, replace=False, shuffle=False)
    split = DataConfig(  # fractions are rounded up to whole rows
        test_fraction=(TEST_ROWS - 0.5) / num_rows,
        validation_fraction=(VALIDATION_ROWS - 0.5) / (num_rows - TEST_ROWS),
        split_seed=config.data.split_seed,
    )
    # Repeated pairs are kept: the number of rows is fixed.
    dataset = prepare_dataset(_taken(source, np.sort(rows)), split, out, distinct=True)
    assert dataset.num_rows("train") == num_train
    return dataset


def _open(data: str | Path | pd.DataFrame | None, config: Config, settings: Sequence[str]) -> RatingsSource:
    """All ratings, or the training rows of data that is already split."""
    if not isinstance(data, str | Path) or not (Path(data) / MANIFEST).is_file():
        return open_source(data, config.data)
    refuse_split_settings(Path(data), settings)
    dataset = open_dataset(Path(data))

    def batches(report: ReadReport) -> Iterator[pa.RecordBatch]:
        for batch in dataset.table("train").to_batches():
            report.rows += len(batch)
            yield dataset.with_raw_ids(batch)

    return RatingsSource(
        name=dataset.name,
        described=str(data),
        files=(),
        batches=batches,
        digest=lambda: dataset.fingerprint,
    )


def _taken(source: RatingsSource, rows: np.ndarray) -> RatingsSource:
    """Some rows of the training part, by ascending row numbers."""

    def batches(report: ReadReport) -> Iterator[pa.RecordBatch]:
        first = 0
        for batch in source.batches(report):
            begin, end = np.searchsorted(rows, [first, first + len(batch)])
            if begin < end:
                yield batch.take(pa.array(rows[begin:end] - first))
            first += len(batch)

    return dataclasses.replace(source, batches=batches, test=None)
