"""Assigns each row to train, validation or test, or drops it: duplicates, k-core, split rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_pipeline.config import DataConfig
from data_pipeline.dataset.splits import DROPPED, TEST, TRAIN, UNASSIGNED, VALIDATION
from data_pipeline.prepare.splitting.duplicates import DuplicateReport, drop_duplicates
from data_pipeline.prepare.splitting.k_core import drop_outside_k_core
from data_pipeline.prepare.splitting.rules import round_down, split_rows
from data_pipeline.prepare.staging import Staging


@dataclass(frozen=True)
class SplitAssignment:
    """The split of every row.

    Attributes:
        split_of_row: uint8 [rows of the source]: `TRAIN`, `VALIDATION`, `TEST` or `DROPPED`.
        duplicates: the result of resolving repeated ratings.
        num_rare: the number of rows dropped by the k-core.
    """

    split_of_row: np.ndarray
    duplicates: DuplicateReport
    num_rare: int

    def num_rows(self) -> dict[str, int]:
        """Split name -> number of rows."""
        counts = np.bincount(self.split_of_row, minlength=3)
        return {"train": counts[TRAIN], "validation": counts[VALIDATION], "test": counts[TEST]}


def assign_splits(
    staging: Staging,
    config: DataConfig,
    *,
    num_train: int | None = None,
    existing_splits: np.ndarray | None = None,
    distinct: bool = False,
    on_phase: Callable[[str], None] = lambda _phase: None,
) -> SplitAssignment:
    """Resolves repeated ratings, applies the k-core and splits the remaining rows.

    Args:
        num_train: with a predefined pair, the number of training rows; all later rows are test rows.
        existing_splits: splits of the first rows, which do not change (`prepare --append`).
        distinct: skips the search for repeated ratings.
        on_phase: called with the name of each phase as it begins.

    Raises:
        UserError: a repeated rating with `duplicates=error`, or an empty train or test split.
    """
    split_of_row = np.full(staging.num_rows, UNASSIGNED, np.uint8)
    num_existing = 0
    if existing_splits is not None:
        num_existing = len(existing_splits)
        split_of_row[:num_existing] = existing_splits
    if num_train is not None:
        split_of_row[num_train:] = TEST
    on_phase("looking for repeated ratings")
    duplicates = (
        DuplicateReport()
        if distinct
        else drop_duplicates(staging, split_of_row, config.duplicates, num_train=num_train)
    )
    num_rare = 0
    if config.min_user_ratings > 1 or config.min_item_ratings > 1:
        on_phase("computing the k-core")
        num_rare = drop_outside_k_core(
            staging,
            split_of_row,
            min_user_ratings=config.min_user_ratings,
            min_item_ratings=config.min_item_ratings,
            num_fixed=num_existing,
        )
    on_phase("splitting")
    split_rows(staging, split_of_row, config, rounding=math.ceil if existing_splits is None else round_down)
    assert not (split_of_row == UNASSIGNED).any()
    assert split_of_row.max(initial=0) in (TRAIN, VALIDATION, TEST, DROPPED)
    return SplitAssignment(split_of_row=split_of_row, duplicates=duplicates, num_rare=num_rare)
