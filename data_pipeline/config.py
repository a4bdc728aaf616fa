"""The settings `data.*`: how ratings are read, filtered and split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from data_pipeline.errors import UserError
from data_pipeline.files import path_of
from data_pipeline.settings import (
    COUNT_LIMIT,
    SEED_LIMIT,
    declared_settings,
    parse_settings,
    setting,
    settings_part,
)

# `data.split` is one of these, or the name of a predefined pair such as u1.
SPLIT_NAMES = ("random", "per-user", "leave-last-out", "time", "k-fold")
# The name of a pair of files train.X and test.X, and of one that `data.test` makes.
GIVEN = "given"


@settings_part("data")
@dataclass(frozen=True)
class DataConfig:
    """How ratings are read, filtered and split; every field is checked when an object is made.

    Raises:
        UserError: a value of another type or out of its range, or two that exclude each other.
    """

    format: Annotated[
        Literal["auto", "ml-100k", "ml-1m", "ml-10m", "ml-csv", "csv", "tsv", "parquet"],
        setting("How DATA is laid out. `auto` looks at names and first bytes."),
    ] = "auto"
    columns: Annotated[
        str,
        setting(
            "Column names: `user=a,item=b,rating=c,timestamp=d,weight=e`. Other columns are found by their "
            "usual names. `rating=none` makes every row a rating of 1. Numbers such as `user=1,item=2` are "
            "positions in files without a header line."
        ),
    ] = ""
    bad_rows: Annotated[
        Literal["error", "drop"],
        setting("`error` stops at the first bad row. `drop` skips bad rows, counts and reports them."),
    ] = "error"
    users: Annotated[str, setting("File of user features (CSV, TSV or Parquet), one row per id.")] = ""
    items: Annotated[str, setting("File of item features (CSV, TSV or Parquet), one row per id.")] = ""
    duplicates: Annotated[
        Literal["keep-last", "keep-first", "mean", "error"],
        setting(
            "Which of several ratings of one (user, item) pair is kept. The last has the highest timestamp, "
            "or without timestamps the highest row number. `mean` is not weighted; with appended ratings it "
            "is the mean of the stored and the new ones."
        ),
    ] = "keep-last"
    min_user_ratings: Annotated[
        int,
        setting(
            "k-core: users with fewer ratings are removed, repeatedly. 0 keeps all.", ge=0, lt=COUNT_LIMIT
        ),
    ] = 0
    min_item_ratings: Annotated[
        int,
        setting(
            "k-core: items with fewer ratings are removed, repeatedly. 0 keeps all.", ge=0, lt=COUNT_LIMIT
        ),
    ] = 0
    split: Annotated[
        str,
        setting(
            "How the test part is chosen. `u1` stands for the files u1.base and u1.test, `given` for "
            "train.csv and test.csv (or .tsv, .parquet).",
            rule=f"one of {', '.join(SPLIT_NAMES)}, or the name of a predefined pair in the folder",
        ),
    ] = "random"
    test: Annotated[
        str,
        setting(
            "File of test ratings, in DATA's format. DATA is then train and validation, `split` is `given`."
        ),
    ] = ""
    test_fraction: Annotated[
        float,
        setting("Test share of all rows (`random`, `time`) or of each user's rows (`per-user`).", gt=0, lt=1),
    ] = 0.2
    validation_fraction: Annotated[
        float, setting("Validation share of the training rows. 0 for no validation curve.", ge=0, lt=1)
    ] = 0.05
    split_seed: Annotated[int, setting("Seed of both cuts.", ge=0, lt=SEED_LIMIT)] = 42
    folds: Annotated[int, setting("Number of parts of the `k-fold` split.", ge=2, lt=COUNT_LIMIT)] = 5
    fold: Annotated[
        int,
        setting(
            "Which part of `k-fold` is the test part, counted from 0; below `folds`.", ge=0, lt=COUNT_LIMIT
        ),
    ] = 0

    def __post_init__(self) -> None:
        if self.test and self.split not in (GIVEN, DataConfig.split):
            rule = f"data.test is the test part, so data.split must be {GIVEN} or as by default"
            raise UserError(f"{rule}, got {self.split!r}")
        if self.test:
            object.__setattr__(self, "split", GIVEN)
        if self.fold >= self.folds:
            raise UserError(f"data.fold must be below data.folds ({self.folds}), got {self.fold}")


class DataSettings(TypedDict, total=False):
    """The settings `data.*` as keywords of a call; a test compares them with `DataConfig`."""

    format: Literal["auto", "ml-100k", "ml-1m", "ml-10m", "ml-csv", "csv", "tsv", "parquet"]
    columns: str
    bad_rows: Literal["error", "drop"]
    users: str | Path
    items: str | Path
    duplicates: Literal["keep-last", "keep-first", "mean", "error"]
    min_user_ratings: int
    min_item_ratings: int
    split: str
    test: str | Path
    test_fraction: float
    validation_fraction: float
    split_seed: int
    folds: int
    fold: int


def setting_of_keywords(given: DataSettings, others: Iterable[str] = ()) -> list[str]:
    """The `data.key=value` texts of keywords, after the other settings.

    >>> setting_of_keywords({"split": "time"}, ["train.epochs=2"])
    ['train.epochs=2', 'data.split=time']

    Raises:
        TypeError: a keyword that is no setting, as Python has it.
        UserError: one key is given both ways, or a file is given as something else than its path.
    """
    others = list(others)
    for key in given:
        if key not in DataSettings.__annotations__:
            raise TypeError(f"got an unexpected keyword argument {key!r}")
        if any(text.partition("=")[0].strip() == f"data.{key}" for text in others):
            raise UserError(f"give {key}= or the setting data.{key}, got both")
    for key, value in given.items():
        if key in ("users", "items", "test"):
            path_of(value, key)
    return [*others, *(f"data.{key}={value}" for key, value in given.items())]


def data_config(settings: Iterable[str] = ()) -> DataConfig:
    """The configuration that `data.key=value` settings give.

    >>> data_config(["data.split=time", "data.test_fraction=0.1"]).test_fraction
    0.1

    Raises:
        UserError: an unknown key, or a value of the wrong type or out of its range.
    """
    values = parse_settings(settings, declared_settings("data", DataConfig))
    return DataConfig(**{key.removeprefix("data."): value for key, value in values.items()})
