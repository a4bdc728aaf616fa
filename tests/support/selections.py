"""Split assignments of the rows of a DataFrame, for the tests of the splitting wing."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

from data_pipeline.config import DataConfig
from data_pipeline.dataset.splits import DROPPED, SPLITS
from data_pipeline.prepare import staging as staging_module
from data_pipeline.prepare.splitting import repeated_pairs as repeated
from data_pipeline.prepare.splitting.assign import SplitAssignment, assign_splits
from data_pipeline.prepare.staging import Staging


def batches_of(frame: pd.DataFrame, sizes: list[int]) -> list[pa.RecordBatch]:
    """The frame's rows in batches of these sizes, in turn."""
    batches, first = [], 0
    while first < len(frame):
        size = sizes[len(batches) % len(sizes)]
        batches.append(
            pa.RecordBatch.from_pandas(
                frame.iloc[first : first + size].astype({"rating": np.float32}), preserve_index=False
            )
        )
        first += size
    return batches


def select(
    frame: pd.DataFrame,
    config: DataConfig,
    *,
    sizes: tuple[int, ...] = (7, 1, 64),
    group_rows: int = 8,
    **arguments,
) -> SplitAssignment:
    """Calls `assign_splits` for the rows of a frame, staged in small runs and in groups of few users."""
    with (
        patch.multiple(staging_module, RUN_ROWS=16, CHUNK_ROWS=6, MIN_GROUP_ROWS=group_rows),
        patch.object(repeated, "MIN_ROWS", 4),
        tempfile.TemporaryDirectory() as folder,
    ):
        staging = Staging(Path(folder), seed=config.split_seed)
        try:
            for batch in batches_of(frame, list(sizes)):
                staging.append(batch)
            staging.finish()
            return assign_splits(staging, config, **arguments)
        finally:
            staging.close()


def parts_of(frame: pd.DataFrame, config: DataConfig, **arguments) -> dict[str, list[int]]:
    """Split name, or `dropped` -> its row numbers, ascending."""
    split_of_row = select(frame, config, **arguments).split_of_row
    names = {**dict(enumerate(SPLITS)), DROPPED: "dropped"}
    return {name: np.flatnonzero(split_of_row == number).tolist() for number, name in names.items()}


@st.composite
def ratings_frames(draw, *, distinct: bool = True, min_rows: int = 12, max_rows: int = 80) -> pd.DataFrame:
    """Frames with few users and items, so that groups are large and pairs repeat; timestamps have ties."""
    num_rows = draw(st.integers(min_rows, max_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_users = draw(st.integers(1, 12))
    cells = num_users * 15
    pairs = (
        rng.permutation(cells)[: min(num_rows, cells)]
        if distinct
        else rng.integers(0, cells // 3 + 1, num_rows)
    )
    return pd.DataFrame(
        {
            "user_id": pairs // 15 * 1000 - 3000,
            "item_id": pairs % 15,
            "rating": rng.integers(1, 11, len(pairs)) / 2,
            "timestamp": rng.integers(0, draw(st.sampled_from([3, 50, 10**9])), len(pairs)),
        }
    )


def config_of(**settings) -> DataConfig:
    """The default settings with some changes."""
    return replace(DataConfig(), **settings)
