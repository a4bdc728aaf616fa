"""The settings `data.*`: how ratings are read, filtered and split."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any, Literal

from data_pipeline.errors import UserError, shown

# `data.split` is one of these, or the name of a predefined pair such as u1.
SPLIT_NAMES = ("random", "per-user", "leave-last-out", "time", "k-fold")
# The name of a pair of files train.X and test.X, and of one that `data.test` makes.
GIVEN = "given"


@dataclass(frozen=True)
class DataConfig:
    """How ratings are read and split. A value of another type or out of its range is a `UserError`.

    Attributes:
        format: how DATA is laid out; `auto` looks at names and first bytes.
        columns: names of the columns, `user=a,item=b,rating=c,timestamp=d,weight=e`; what is not named is
            found by its usual names. `rating=none`: every row is a rating of 1. Numbers (`user=1,item=2`)
            are positions in files without a header line.
        bad_rows: `error` ends with the first bad row, `drop` goes on without it, counts and reports it.
        users, items: files of side features, one row an id.
        duplicates: which of several ratings of one (user, item) stays; the last is that of the highest
            timestamp, without timestamps that of the last row. `mean` gives the last one the mean of the
            ratings, not weighted; of ratings that are appended later that is a mean of the stored one and
            the new ones.
        min_user_ratings, min_item_ratings: k-core: users and items with fewer ratings are dropped until
            none has fewer; 0 = all stay.
        split: one of `SPLIT_NAMES`, or the name of a predefined pair in the folder: `u1` for u1.base and
            u1.test, `given` for train.csv and test.csv (or .tsv, .parquet).
        test: file of test ratings, in DATA's format; DATA is then train and validation, `split` is `given`.
        test_fraction: of all rows (`random`, `time`), or of each user's (`per-user`).
        validation_fraction: of the training rows; 0 for no validation curve.
        split_seed: seed of both cuts.
        folds, fold: how many parts `k-fold` makes, and which of them, from 0, is the test part.
    """

    format: Literal["auto", "ml-100k", "ml-1m", "ml-10m", "ml-csv", "csv", "tsv", "parquet"] = "auto"
    columns: str = ""
    bad_rows: Literal["error", "drop"] = "error"
    users: str = ""
    items: str = ""
    duplicates: Literal["keep-last", "keep-first", "mean", "error"] = "keep-last"
    min_user_ratings: int = 0
    min_item_ratings: int = 0
    split: str = "random"
    test: str = ""
    test_fraction: float = 0.2
    validation_fraction: float = 0.05
    split_seed: int = 42
    folds: int = 5
    fold: int = 0

    def __post_init__(self) -> None:
        for name, wanted in typing.get_type_hints(DataConfig).items():
            _check_value(f"data.{name}", getattr(self, name), wanted)
        if self.test and self.split not in (GIVEN, DataConfig.split):
            rule = f"data.test is the test part, so data.split must be {GIVEN} or as by default"
            raise UserError(f"{rule}, got {self.split!r}")
        if self.test:
            object.__setattr__(self, "split", GIVEN)
        if not 0 < self.test_fraction < 1:
            raise UserError(f"data.test_fraction must be above 0 and below 1, got {self.test_fraction}")
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                f"data.validation_fraction must be at least 0 and below 1, got {self.validation_fraction}"
            )
        if self.fold >= self.folds:
            raise UserError(f"data.fold must be below data.folds ({self.folds}), got {self.fold}")


_LOWEST = {"data.folds": 2}  # of the other whole numbers it is 0
# NumPy's seeds have 32 bits; rows, and TensorFlow's steps and sizes, are counted in signed 32 bits.
SEED_LIMIT, COUNT_LIMIT = 2**32, 2**31


def _check_value(key: str, value: Any, wanted: Any) -> None:
    """Raises UserError where the value is not of the annotated type, or a whole number out of range."""
    if typing.get_origin(wanted) is Literal:
        if value not in typing.get_args(wanted):
            raise UserError(f"{key} must be one of {', '.join(typing.get_args(wanted))}, got {shown(value)}")
        return
    if isinstance(value, bool) or not isinstance(value, (int, float) if wanted is float else wanted):
        raise UserError(f"{key} must be {wanted.__name__}, got {shown(value)}")
    if wanted is int:
        lowest, limit = _LOWEST.get(key, 0), SEED_LIMIT if key.endswith("seed") else COUNT_LIMIT
        if value < lowest:
            raise UserError(f"{key} must be at least {lowest}, got {value}")
        if value >= limit:
            raise UserError(f"{key} must be below {limit}, got {value}")
