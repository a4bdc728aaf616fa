"""Which part each row belongs to: train, validation, test, or none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_pipeline.config import DataConfig
from data_pipeline.dataset.splits import DROPPED, TEST, TRAIN, UNASSIGNED, VALIDATION
from data_pipeline.prepare.splitting.duplicates import DuplicateReport, drop_duplicates
from data_pipeline.prepare.splitting.k_core import drop_rare
from data_pipeline.prepare.splitting.rules import round_down, split_rows
from data_pipeline.prepare.staging import Staging


@dataclass(frozen=True)
class SplitAssignment:
    """One byte a row.

    Attributes:
        labels: uint8 [rows of the source], by row number: a part's number or `DROPPED`.
        distinct: what became of repeated ratings.
        num_rare: rows dropped for their user's or item's few ratings.
    """

    labels: np.ndarray
    distinct: DuplicateReport
    num_rare: int

    def num_rows(self) -> dict[str, int]:
        """Part -> how many rows."""
        counts = np.bincount(self.labels, minlength=3)
        return {"train": counts[TRAIN], "validation": counts[VALIDATION], "test": counts[TEST]}


def select_rows(
    staging: Staging,
    config: DataConfig,
    *,
    num_train: int | None = None,
    old_labels: np.ndarray | None = None,
    distinct: bool = False,
    say: Callable[[str], None] = lambda _phase: None,
) -> SplitAssignment:
    """Drops repeated ratings, then users and items with few, then splits what is left.

    Args:
        num_train: of a predefined pair: the rows before this one are train, the others test.
        old_labels: of the first rows, which have their parts already and keep them (`prepare --append`).
        distinct: the pairs are known to be distinct, or taken as they are.
        say: is told what is being done.

    Raises:
        UserError: a repeated rating where that is an error, or a part without rows.
    """
    labels = np.full(staging.num_rows, UNASSIGNED, np.uint8)
    num_old = 0
    if old_labels is not None:
        num_old = len(old_labels)
        labels[:num_old] = old_labels
    if num_train is not None:
        labels[num_train:] = TEST
    say("looking for repeated ratings")
    found = (
        DuplicateReport()
        if distinct
        else drop_duplicates(staging, labels, config.duplicates, num_train=num_train)
    )
    num_rare = 0
    if config.min_user_ratings > 1 or config.min_item_ratings > 1:
        say("counting users' and items' ratings")
        num_rare = drop_rare(
            staging,
            labels,
            min_user_ratings=config.min_user_ratings,
            min_item_ratings=config.min_item_ratings,
            num_fixed=num_old,
        )
    say("splitting")
    split_rows(staging, labels, config, rounding=math.ceil if old_labels is None else round_down)
    assert not (labels == UNASSIGNED).any()
    assert labels.max(initial=0) in (TRAIN, VALIDATION, TEST, DROPPED)
    return SplitAssignment(labels=labels, distinct=found, num_rare=num_rare)
