"""Several ratings of one item by one user: which stays."""

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
    """What became of repeated ratings.

    Attributes:
        num_dropped: rows that others stand for.
        mean_rows, mean_ratings: rows whose rating is now a mean, ascending (uint32), and that mean (float32).
    """

    num_dropped: int = 0
    mean_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint32))
    mean_ratings: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))


def drop_duplicates(
    staging: Staging,
    labels: np.ndarray,
    rule: Literal["keep-last", "keep-first", "mean", "error"],
    *,
    num_train: int | None = None,
) -> DuplicateReport:
    """Keeps one row of each (user, item) pair and labels the others `DROPPED`.

    The last is that of the highest timestamp, of those the last in the source; without timestamps the last in
    the source. With `mean` it gets the mean of all ratings. Where one of the rows has its part already, the
    row that stays takes it.

    Of a predefined pair each part is dealt with by itself, and of a pair of user and item that both have the
    training row is dropped: what is tested on is what the test file says.

    Args:
        num_train: of a predefined pair: the rows before this one are train, the others test.

    Raises:
        UserError: there is one, and `rule` is `error`.
    """
    names = ["row", "user", "item", "rating"] + (["timestamp"] if "timestamp" in staging.names else [])
    found: list[DuplicateReport] = []
    pairs = repeated_pairs(staging)
    if not len(pairs):
        return DuplicateReport()

    def search(group: tuple[int, int]) -> None:
        columns = _repeated(staging, group, names, pairs)
        if columns is not None:
            found.append(_keep_one(columns, labels, rule, staging, num_train))

    in_threads(search, staging.user_groups())
    rows = np.concatenate([each.mean_rows for each in found])
    order = np.argsort(rows)
    return DuplicateReport(
        num_dropped=sum(each.num_dropped for each in found),
        mean_rows=rows[order],
        mean_ratings=np.concatenate([each.mean_ratings for each in found])[order],
    )


def _repeated(
    staging: Staging, group: tuple[int, int], names: list[str], pairs: np.ndarray
) -> dict[str, np.ndarray] | None:
    """The rows of a group of users that have one of the pairs, ordered by pair, then from first to last."""
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
    """Where a column has one of the sorted values."""
    # Most rows are ruled out by a hash of 20 bits, which is quicker than bisection.
    shift = column.dtype.type(column.itemsize * 8 - 20)
    odd = column.dtype.type(0x9E3779B97F4A7C15 >> (64 - column.itemsize * 8))
    is_hash = np.zeros(1 << 20, bool)
    is_hash[values * odd >> shift] = True
    rows = np.flatnonzero(is_hash[column * odd >> shift])
    nearest = np.minimum(np.searchsorted(values, column[rows]), len(values) - 1)
    return rows[values[nearest] == column[rows]]


def _keep_one(
    columns: dict[str, np.ndarray], labels: np.ndarray, rule: str, staging: Staging, num_train: int | None
) -> DuplicateReport:
    """Deals with rows as `_repeated` gives them."""
    rows, pair = columns["row"], columns["pair"]
    begins = _begins(pair)
    if rule == "error":
        first = begins[np.argmin(np.minimum.reduceat(rows, begins))]
        user = staging.users.ids()[int(columns["user"][first])].as_py()
        item = staging.items.ids()[int(columns["item"][first])].as_py()
        raise UserError(
            "with data.duplicates=error a user rates an item once, "
            f"got {np.count_nonzero(pair == pair[first])} ratings of item {item!r} by user {user!r}"
        )
    if num_train is not None:
        order = np.lexsort([rows >= num_train, pair])  # stable: within a part it stays from first to last
        columns = {name: column[order] for name, column in columns.items()}
        rows, pair = columns["row"], columns["pair"]
        begins = _begins(pair, rows >= num_train)
    counts = np.diff(np.append(begins, len(rows)))
    kept = rows[begins if rule == "keep-first" else begins + counts - 1]
    decided = np.minimum.reduceat(np.where(labels[rows] == UNASSIGNED, DROPPED, labels[rows]), begins)
    stays = np.where(decided == DROPPED, UNASSIGNED, decided).astype(np.uint8)
    means = np.add.reduceat(columns["rating"].astype(np.float64), begins) / counts
    # Of a pair in both parts the last is that of test.
    is_last = np.append(pair[begins[1:]] != pair[begins[:-1]], True)
    kept, stays, means = kept[is_last], stays[is_last], means[is_last]
    labels[rows] = DROPPED
    labels[kept] = stays
    num_dropped = len(rows) - len(kept)
    return (
        DuplicateReport(num_dropped, kept, means.astype(np.float32))
        if rule == "mean"
        else DuplicateReport(num_dropped)
    )


def _begins(*columns: np.ndarray) -> np.ndarray:
    """Where runs of equal values begin in columns that are ordered by them."""
    differ = [column[1:] != column[:-1] for column in columns]
    return np.concatenate([[0], np.flatnonzero(np.logical_or.reduce(differ)) + 1])
