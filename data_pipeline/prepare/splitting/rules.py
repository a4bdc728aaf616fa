"""Cuts rows into train, validation and test: the rules, which `data.split` names.

Validation is always cut from train, by the same rule, never from test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data_pipeline.config import SPLIT_NAMES, DataConfig
from data_pipeline.dataset.splits import DROPPED, TEST, TRAIN, UNASSIGNED, VALIDATION
from data_pipeline.errors import UserError
from data_pipeline.prepare.splitting.inverse_shuffle import draw_swaps, undo_shuffle, undo_swaps
from data_pipeline.prepare.staging import Staging, in_threads
from data_pipeline.prepare.stored_order import order_keys

# Which splits a setting has an effect on; elsewhere another value than the default is an error.
_USED_BY = {
    "test_fraction": ("random", "per-user", "time"),
    "folds": ("k-fold",),
    "fold": ("k-fold",),
}
_KEYS_OF_USERS_ROWS = (
    1  # so that which of a user's rows are tested on does not depend on where they are stored
)


def check_split(config: DataConfig) -> None:
    """Refuses settings without an effect on the chosen split.

    Raises:
        UserError: names the setting and its value.
    """
    for name, splits in _USED_BY.items():
        value = getattr(config, name)
        if config.split not in splits and value != getattr(DataConfig, name):
            allowed = " and ".join(splits)
            raise UserError(
                f"data.{name} is for the {allowed} split, got {value} with data.split {config.split!r}"
            )
    if config.split == "leave-last-out" and config.validation_fraction not in (
        0,
        DataConfig.validation_fraction,
    ):
        raise UserError(
            "with data.split leave-last-out validation is one row a user: data.validation_fraction must be 0 "
            f"or as by default, got {config.validation_fraction}"
        )


# How a share of rows becomes a number of rows.
Rounding = Callable[[float], int]


def round_down(share: float) -> int:
    """The number of rows for appended ones, so that a single one is for training.

    >>> round_down(0.29 * 100), round_down(0.2)
    (29, 0)
    """
    return math.floor(share + 1e-6)


def split_rows(
    staging: Staging, labels: np.ndarray, config: DataConfig, *, rounding: Rounding = math.ceil
) -> None:
    """Labels all `UNASSIGNED` rows `TRAIN`, `VALIDATION` or `TEST`; a pure function of the rows and the seed.

    Args:
        labels: uint8 [rows], by row number, changed in place.
        rounding: of shares of all rows; those of a user are rounded half up.

    Raises:
        UserError: no row is left for train or for test.
    """
    check_split(config)
    rule = _RULES.get(config.split, _split_predefined)
    rule(staging, labels, config, rounding)
    num_rows = int(np.count_nonzero(labels != DROPPED))
    num_train, num_test = np.count_nonzero(labels == TRAIN), np.count_nonzero(labels == TEST)
    if not num_train and (labels == VALIDATION).any():
        raise UserError(f"data.validation_fraction {config.validation_fraction} leaves no row to train on")
    if not num_train or not num_test:
        setting = (
            f"data.test_fraction {config.test_fraction}"
            if config.split in _USED_BY["test_fraction"]
            else f"data.split {config.split}"
        )
        raise UserError(
            f"a split needs at least one row for train and one for test, got {num_rows} rating(s) "
            f"with {setting}"
        )


def random_labels(
    num_rows: int,
    *,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
    rounding: Rounding = math.ceil,
) -> np.ndarray:
    """Labels (uint8) of a random split: as sets, scikit-learn's `train_test_split(random_state=seed)`, twice.

    >>> random_labels(10, test_fraction=0.2, validation_fraction=0.0, seed=42).tolist()
    [0, 2, 0, 0, 0, 0, 0, 0, 2, 0]
    """
    num_test = rounding(test_fraction * num_rows)
    with ThreadPoolExecutor(1, "split") as thread:
        swaps = thread.submit(draw_swaps, num_rows, seed, first=max(1, num_test))
        train = _validation_labels(num_rows - num_test, validation_fraction, seed, rounding)
        labels = np.concatenate([np.full(num_test, TEST, np.uint8), train])
        undo_swaps(labels, swaps.result())
    return labels


def fold_labels(
    num_rows: int,
    *,
    folds: int,
    fold: int,
    validation_fraction: float,
    seed: int,
    rounding: Rounding = math.ceil,
) -> np.ndarray:
    """Labels (uint8) of one of several folds: scikit-learn's `KFold(folds, shuffle=True, random_state=seed)`.

    Validation is `train_test_split` of the training rows as `KFold` gives them, in ascending order.
    """
    labels = np.full(num_rows, TRAIN, np.uint8)
    # The first num_rows % folds folds have one row more, where shares are not rounded down.
    more = num_rows % folds if rounding is math.ceil else 0
    bounds = [num * (num_rows // folds) + min(num, more) for num in (fold, fold + 1)]
    labels[bounds[0] : bounds[1]] = TEST
    undo_shuffle(labels, seed)
    rest = labels == TRAIN
    labels[rest] = _validation_labels(int(np.count_nonzero(rest)), validation_fraction, seed, rounding)
    return labels


def _validation_labels(num_rows: int, fraction: float, seed: int, rounding: Rounding) -> np.ndarray:
    """Labels (uint8) of rows that are for training: a random fraction is `VALIDATION`."""
    labels = np.full(num_rows, TRAIN, np.uint8)
    labels[: rounding(fraction * num_rows)] = VALIDATION
    undo_shuffle(labels, seed)
    return labels


def _split_random(_staging: Staging, labels: np.ndarray, config: DataConfig, rounding: Rounding) -> None:
    undecided = labels == UNASSIGNED
    labels[undecided] = random_labels(
        int(np.count_nonzero(undecided)),
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        seed=config.split_seed,
        rounding=rounding,
    )


def _split_k_fold(_staging: Staging, labels: np.ndarray, config: DataConfig, rounding: Rounding) -> None:
    undecided = labels == UNASSIGNED
    labels[undecided] = fold_labels(
        int(np.count_nonzero(undecided)),
        folds=config.folds,
        fold=config.fold,
        validation_fraction=config.validation_fraction,
        seed=config.split_seed,
        rounding=rounding,
    )


def _split_predefined(_staging: Staging, labels: np.ndarray, config: DataConfig, rounding: Rounding) -> None:
    """What is not in the pair's test file is train."""
    undecided = labels == UNASSIGNED
    num_rows = int(np.count_nonzero(undecided))
    labels[undecided] = _validation_labels(num_rows, config.validation_fraction, config.split_seed, rounding)


def _split_per_user(staging: Staging, labels: np.ndarray, config: DataConfig, _rounding: Rounding) -> None:
    """Of a user's n rows n x fraction, rounded half up, are test, never all; so is validation of the rest.

    Which ones: those with the lowest keys of the seed.
    """

    def cut(group: tuple[int, int]) -> None:
        columns = _undecided_rows(staging, labels, group, ["row", "user"])
        row, user = columns["row"], columns["user"]
        key = order_keys(row, config.split_seed, purpose=_KEYS_OF_USERS_ROWS)
        order = np.argsort(user.astype(np.uint64) << np.uint64(32) | key)
        size, place = _sizes_and_places(user[order])
        num_test = np.minimum(np.floor(config.test_fraction * size + 0.5), size - 1)
        rest = size - num_test
        num_validation = np.minimum(np.floor(config.validation_fraction * rest + 0.5), rest - 1)
        part = np.full(len(row), TRAIN, np.uint8)
        part[place < num_test + num_validation] = VALIDATION
        part[place < num_test] = TEST
        labels[row[order]] = part

    in_threads(cut, staging.user_groups())


def _split_leave_last_out(
    staging: Staging, labels: np.ndarray, config: DataConfig, _rounding: Rounding
) -> None:
    """A user's last row is test, the one before it validation, where a row is left to train on."""
    names = ["row", "user"] + (["timestamp"] if "timestamp" in staging.names else [])

    def cut(group: tuple[int, int]) -> None:
        columns = _undecided_rows(staging, labels, group, names)
        row, user = columns["row"], columns["user"]
        order = np.lexsort([row, *([columns["timestamp"]] if "timestamp" in columns else []), user])
        size, place = _sizes_and_places(user[order])
        part = np.full(len(row), TRAIN, np.uint8)
        part[(place == size - 1) & (size >= 2)] = TEST
        if config.validation_fraction:
            part[(place == size - 2) & (size >= 3)] = VALIDATION
        labels[row[order]] = part

    in_threads(cut, staging.user_groups())


def _split_time(staging: Staging, labels: np.ndarray, config: DataConfig, rounding: Rounding) -> None:
    """The latest rows are test, the latest of the others validation; in one second, by row."""
    if "timestamp" not in staging.names:
        raise UserError("data.split time needs a timestamp column, got ratings without one")
    num_rows = int(np.count_nonzero(labels == UNASSIGNED))
    if not num_rows:
        return
    num_test = rounding(config.test_fraction * num_rows)
    num_validation = rounding(config.validation_fraction * (num_rows - num_test))
    times = np.empty(num_rows, np.int64)
    filled = 0
    for chunk in staging.chunks(["row", "timestamp"]):
        found = chunk["timestamp"][labels[chunk["row"]] == UNASSIGNED]
        times[filled : filled + len(found)] = found
        filled += len(found)
    bounds = {num_rows - num_test, num_rows - num_test - num_validation} - {num_rows}
    if bounds:
        times.partition(sorted(bounds))
    for label, number in ((TEST, num_test), (VALIDATION, num_validation)):
        if number:
            # What is later has been taken already, so the boundary is the same among all and among the rest.
            place = num_rows - num_test - (0 if label == TEST else num_validation)
            _label_latest(staging, labels, int(times[place]), number, label)
    labels[labels == UNASSIGNED] = TRAIN


def _label_latest(staging: Staging, labels: np.ndarray, boundary: int, number: int, label: int) -> None:
    """Labels the latest so many undecided rows, of which the earliest has the timestamp `boundary`."""
    at_boundary, later = [], 0
    for chunk in staging.chunks(["row", "timestamp"]):
        free = labels[chunk["row"]] == UNASSIGNED
        after = chunk["row"][free & (chunk["timestamp"] > boundary)]
        labels[after] = label
        later += len(after)
        at_boundary.append(chunk["row"][free & (chunk["timestamp"] == boundary)])
    rows = np.concatenate(at_boundary)
    rows.sort()
    labels[rows[len(rows) - (number - later) :]] = label


def _undecided_rows(
    staging: Staging, labels: np.ndarray, group: tuple[int, int], names: list[str]
) -> dict[str, np.ndarray]:
    columns = staging.rows_of_users(group, names)
    undecided = labels[columns["row"]] == UNASSIGNED
    return columns if undecided.all() else {name: column[undecided] for name, column in columns.items()}


def _sizes_and_places(user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For rows ordered by user: how many rows the user has, and which of them, from 0, this one is."""
    begins = np.flatnonzero(np.diff(user, prepend=-1))
    sizes = np.diff(np.append(begins, len(user)))
    return np.repeat(sizes, sizes), np.arange(len(user)) - np.repeat(begins, sizes)


_RULES: dict[str, Callable[[Staging, np.ndarray, DataConfig, Rounding], None]] = {
    "random": _split_random,
    "per-user": _split_per_user,
    "leave-last-out": _split_leave_last_out,
    "time": _split_time,
    "k-fold": _split_k_fold,
}
assert set(_RULES) == set(SPLIT_NAMES)
