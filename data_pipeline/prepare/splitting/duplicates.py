"""Resolves repeated ratings: keeps one row of each (user, item) pair."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from data_pipeline.dataset.splits import DROPPED, UNASSIGNED
from data_pipeline.errors import UserError
from data_pipeline.prepare.splitting.repeated_pairs import repeated_pairs
from data_pipeline.prepare.staging import Staging, in_threads


@dataclass(frozen=True)
class DuplicateReport:
    """The result of resolving repeated ratings.

    Attributes:
        num_dropped: the number of dropped rows.
        mean_rows, mean_ratings: the rows kept by `mean` (uint32, ascending) and their mean ratings (float32).
    """

    num_dropped: int = 0
    mean_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint32))
    mean_ratings: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))


def drop_duplicates(
    staging: Staging,
    split_of_row: np.ndarray,
    rule: Literal["keep-last", "keep-first", "mean", "error"],
    *,
    num_train: int | None = None,
) -> DuplicateReport:
    """Keeps one row of each (user, item) pair and sets the others to `DROPPED`.

    The last row has the highest timestamp; ties and sources without timestamps go by the order of the source.
    With `mean` the last row is kept and gets the mean of all ratings. If one of the rows is already assigned
    to a split, the kept row takes that split.

    With predefined train and test sets, repeated ratings are resolved within each set. For a pair that occurs
    in both, the training row is dropped, so test rows are exactly those of the test file.

    Args:
        split_of_row: uint8 [rows], changed in place.
        num_train: with a predefined pair, the number of training rows; all later rows are test rows.

    Raises:
        UserError: a pair is repeated and `rule` is `error`.
    """
    names = ["row", "user", "item", "rating"] + (["timestamp"] if "timestamp" in staging.names else [])
    reports: list[DuplicateReport] = []
    pairs = repeated_pairs(staging)
    if not len(pairs):
        return DuplicateReport()

    def resolve(group: tuple[int, int]) -> None:
        columns = _repeated_rows(staging, group, names, pairs)
        if columns is not None:
            reports.append(_keep_one_of_each(columns, split_of_row, rule, staging, num_train))

    in_threads(resolve, staging.user_groups())
    rows = np.concatenate([each.mean_rows for each in reports])
    order = np.argsort(rows)
    return DuplicateReport(
        num_dropped=sum(each.num_dropped for each in reports),
        mean_rows=rows[order],
        mean_ratings=np.concatenate([each.mean_ratings for each in reports])[order],
    )


def _repeated_rows(
    staging: Staging, group: tuple[int, int], names: list[str], pairs: np.ndarray
) -> dict[str, np.ndarray] | None:
    """The rows of a group of users that have one of `pairs`, ordered by pair, then from first to last."""
    num_items = len(staging.items)
    begin, end = np.searchsorted(pairs, np.array(group, np.uint64) * np.uint64(num_items))
    if begin == end:
        return None
    columns = staging.rows_of_users(group, ["user", "item"])
    pair = columns["user"].astype(np.uint64) * np.uint64(num_items) + columns["item"].astype(np.uint64)
    rows = _rows_in(pairs[begin:end], pair)
    pair = pair[rows]
    columns = {name: column[rows] for name, column in staging.rows_of_users(group, names).items()}
    keys = [columns["row"], pair]
    if "timestamp" in columns:
        keys.insert(1, columns["timestamp"])
    order = np.lexsort(keys)
    return {"pair": pair[order], **{name: column[order] for name, column in columns.items()}}


def _rows_in(values: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The positions in a column that hold one of the sorted values."""
    # A 20-bit multiplicative hash rules out most rows faster than binary search does.
    shift = column.dtype.type(column.itemsize * 8 - 20)
    multiplier = column.dtype.type(0x9E3779B97F4A7C15 >> (64 - column.itemsize * 8))
    has_hash = np.zeros(1 << 20, bool)
    has_hash[values * multiplier >> shift] = True
    rows = np.flatnonzero(has_hash[column * multiplier >> shift])
    nearest = np.minimum(np.searchsorted(values, column[rows]), len(values) - 1)
    return rows[values[nearest] == column[rows]]


def _keep_one_of_each(
    columns: dict[str, np.ndarray],
    split_of_row: np.ndarray,
    rule: str,
    staging: Staging,
    num_train: int | None,
) -> DuplicateReport:
    """Resolves the repeated rows that `_repeated_rows` returns."""
    rows, pair = columns["row"], columns["pair"]
    begins = _begins(pair)
    if rule == "error":
        first = begins[np.argmin(np.minimum.reduceat(rows, begins))]
        user = staging.users.ids()[int(columns["user"][first])].as_py()
        item = staging.items.ids()[int(columns["item"][first])].as_py()
        raise UserError(
            "with data.duplicates=error a user may rate an item only once, "
            f"got {np.count_nonzero(pair == pair[first])} ratings of item {item!r} by user {user!r}"
        )
    if num_train is not None:
        order = np.lexsort([rows >= num_train, pair])  # stable: first to last within train and test
        columns = {name: column[order] for name, column in columns.items()}
        rows, pair = columns["row"], columns["pair"]
        begins = _begins(pair, rows >= num_train)
    counts = np.diff(np.append(begins, len(rows)))
    kept = rows[begins if rule == "keep-first" else begins + counts - 1]
    assigned = np.minimum.reduceat(
        np.where(split_of_row[rows] == UNASSIGNED, DROPPED, split_of_row[rows]), begins
    )
    kept_split = np.where(assigned == DROPPED, UNASSIGNED, assigned).astype(np.uint8)
    means = np.add.reduceat(columns["rating"].astype(np.float64), begins) / counts
    # If a pair is in both train and test, its last row is a test row.
    is_last = np.append(pair[begins[1:]] != pair[begins[:-1]], True)
    kept, kept_split, means = kept[is_last], kept_split[is_last], means[is_last]
    split_of_row[rows] = DROPPED
    split_of_row[kept] = kept_split
    num_dropped = len(rows) - len(kept)
    return (
        DuplicateReport(num_dropped, kept, means.astype(np.float32))
        if rule == "mean"
        else DuplicateReport(num_dropped)
    )


def _begins(*columns: np.ndarray) -> np.ndarray:
    """The first positions of runs of equal values in sorted columns."""
    differ = [column[1:] != column[:-1] for column in columns]
    return np.concatenate([[0], np.flatnonzero(np.logical_or.reduce(differ)) + 1])
