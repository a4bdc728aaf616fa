"""The split rules that `data.split` names: they assign rows to train, validation and test.

Validation rows are always taken from the training rows by the same rule, never from the test rows.
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

# The splits that use a setting; with any other split a value other than the default is an error.
_USED_BY = {"test_fraction": ("random", "per-user", "time"), "folds": ("k-fold",), "fold": ("k-fold",)}
# The `purpose` of the keys of the per-user split, which makes it independent of the stored order.
_PER_USER_KEYS = 1


def check_split(config: DataConfig) -> None:
    """Checks that every changed setting has an effect on the chosen split.

    Raises:
        UserError: names a setting without effect, and its value.
    """
    for name, splits in _USED_BY.items():
        value = getattr(config, name)
        if config.split not in splits and value != getattr(DataConfig, name):
            allowed = " and ".join(splits)
            raise UserError(
                f"data.{name} is for the {allowed} split, got {value} with data.split {config.split!r}"
            )
    fractions = (0, DataConfig.validation_fraction)
    if config.split == "leave-last-out" and config.validation_fraction not in fractions:
        raise UserError(
            "with data.split leave-last-out validation is one row a user: data.validation_fraction must be 0 "
            f"or the default, got {config.validation_fraction}"
        )


# Rounds a fractional number of rows to a whole number.
Rounding = Callable[[float], int]


def round_down(share: float) -> int:
    """Rounds down; used for appended rows, so that a single new row is a training row.

    >>> round_down(0.29 * 100), round_down(0.2)
    (29, 0)
    """
    return math.floor(share + 1e-6)


def split_rows(
    staging: Staging, split_of_row: np.ndarray, config: DataConfig, *, rounding: Rounding = math.ceil
) -> None:
    """Assigns all `UNASSIGNED` rows to train, validation or test; a pure function of rows and seed.

    Args:
        split_of_row: uint8 [rows], changed in place.
        rounding: rounds shares of all rows; shares of one user's rows are always rounded half up.

    Raises:
        UserError: train or test gets no row.
    """
    check_split(config)
    rule = _RULES.get(config.split, _split_predefined)
    rule(staging, split_of_row, config, rounding)
    num_rows = int(np.count_nonzero(split_of_row != DROPPED))
    num_train, num_test = np.count_nonzero(split_of_row == TRAIN), np.count_nonzero(split_of_row == TEST)
    if not num_train and (split_of_row == VALIDATION).any():
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


def random_assignment(
    num_rows: int,
    *,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
    rounding: Rounding = math.ceil,
) -> np.ndarray:
    """A random split (uint8 [rows]): the same sets as applying scikit-learn's `train_test_split` twice.

    >>> random_assignment(10, test_fraction=0.2, validation_fraction=0.0, seed=42).tolist()
    [0, 2, 0, 0, 0, 0, 0, 0, 2, 0]
    """
    num_test = rounding(test_fraction * num_rows)
    with ThreadPoolExecutor(1, "split") as thread:
        swaps = thread.submit(draw_swaps, num_rows, seed, first=max(1, num_test))
        train = _validation_assignment(num_rows - num_test, validation_fraction, seed, rounding)
        split_of_row = np.concatenate([np.full(num_test, TEST, np.uint8), train])
        undo_swaps(split_of_row, swaps.result())
    return split_of_row


def fold_assignment(
    num_rows: int,
    *,
    folds: int,
    fold: int,
    validation_fraction: float,
    seed: int,
    rounding: Rounding = math.ceil,
) -> np.ndarray:
    """One fold (uint8 [rows]) of scikit-learn's `KFold(folds, shuffle=True, random_state=seed)`.

    Validation is `train_test_split` of the training rows in ascending order, as `KFold` returns them.
    """
    split_of_row = np.full(num_rows, TRAIN, np.uint8)
    # The first num_rows % folds folds have one row more, unless shares are rounded down.
    more = num_rows % folds if rounding is math.ceil else 0
    bounds = [num * (num_rows // folds) + min(num, more) for num in (fold, fold + 1)]
    split_of_row[bounds[0] : bounds[1]] = TEST
    undo_shuffle(split_of_row, seed)
    rest = split_of_row == TRAIN
    split_of_row[rest] = _validation_assignment(
        int(np.count_nonzero(rest)), validation_fraction, seed, rounding
    )
    return split_of_row


def _validation_assignment(num_rows: int, fraction: float, seed: int, rounding: Rounding) -> np.ndarray:
    """Splits training rows (uint8 [rows]): a random fraction is `VALIDATION`, the rest `TRAIN`."""
    split_of_row = np.full(num_rows, TRAIN, np.uint8)
    split_of_row[: rounding(fraction * num_rows)] = VALIDATION
    undo_shuffle(split_of_row, seed)
    return split_of_row


def _split_random(
    _staging: Staging, split_of_row: np.ndarray, config: DataConfig, rounding: Rounding
) -> None:
    unassigned = split_of_row == UNASSIGNED
    split_of_row[unassigned] = random_assignment(
        int(np.count_nonzero(unassigned)),
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        seed=config.split_seed,
        rounding=rounding,
    )


def _split_k_fold(
    _staging: Staging, split_of_row: np.ndarray, config: DataConfig, rounding: Rounding
) -> None:
    unassigned = split_of_row == UNASSIGNED
    split_of_row[unassigned] = fold_assignment(
        int(np.count_nonzero(unassigned)),
        folds=config.folds,
        fold=config.fold,
        validation_fraction=config.validation_fraction,
        seed=config.split_seed,
        rounding=rounding,
    )


def _split_predefined(
    _staging: Staging, split_of_row: np.ndarray, config: DataConfig, rounding: Rounding
) -> None:
    """The test rows are given; the other rows are train, minus a random validation share."""
    unassigned = split_of_row == UNASSIGNED
    num_rows = int(np.count_nonzero(unassigned))
    split_of_row[unassigned] = _validation_assignment(
        num_rows, config.validation_fraction, config.split_seed, rounding
    )


def _split_per_user(
    staging: Staging, split_of_row: np.ndarray, config: DataConfig, _rounding: Rounding
) -> None:
    """Per user: n x fraction of n rows are test, rounded half up, never all; likewise validation of the rest.

    A user's rows are taken in ascending order of a random key, which depends on the seed and the row number.
    """

    def cut(group: tuple[int, int]) -> None:
        columns = _unassigned_rows(staging, split_of_row, group, ["row", "user"])
        row, user = columns["row"], columns["user"]
        key = order_keys(row, config.split_seed, purpose=_PER_USER_KEYS)
        order = np.argsort(user.astype(np.uint64) << np.uint64(32) | key)
        size, position = _sizes_and_positions(user[order])
        num_test = np.minimum(np.floor(config.test_fraction * size + 0.5), size - 1)
        rest = size - num_test
        num_validation = np.minimum(np.floor(config.validation_fraction * rest + 0.5), rest - 1)
        splits = np.full(len(row), TRAIN, np.uint8)
        splits[position < num_test + num_validation] = VALIDATION
        splits[position < num_test] = TEST
        split_of_row[row[order]] = splits

    in_threads(cut, staging.user_groups())


def _split_leave_last_out(
    staging: Staging, split_of_row: np.ndarray, config: DataConfig, _rounding: Rounding
) -> None:
    """A user's last row is test and the one before it validation, as long as a training row is left."""
    names = ["row", "user"] + (["timestamp"] if "timestamp" in staging.names else [])

    def cut(group: tuple[int, int]) -> None:
        columns = _unassigned_rows(staging, split_of_row, group, names)
        row, user = columns["row"], columns["user"]
        order = np.lexsort([row, *([columns["timestamp"]] if "timestamp" in columns else []), user])
        size, position = _sizes_and_positions(user[order])
        splits = np.full(len(row), TRAIN, np.uint8)
        splits[(position == size - 1) & (size >= 2)] = TEST
        if config.validation_fraction:
            splits[(position == size - 2) & (size >= 3)] = VALIDATION
        split_of_row[row[order]] = splits

    in_threads(cut, staging.user_groups())


def _split_time(staging: Staging, split_of_row: np.ndarray, config: DataConfig, rounding: Rounding) -> None:
    """The latest rows are test, the latest of the rest validation; equal timestamps go by row number."""
    if "timestamp" not in staging.names:
        raise UserError("data.split time needs a timestamp column, got ratings without one")
    num_rows = int(np.count_nonzero(split_of_row == UNASSIGNED))
    if not num_rows:
        return
    num_test = rounding(config.test_fraction * num_rows)
    num_validation = rounding(config.validation_fraction * (num_rows - num_test))
    times = np.empty(num_rows, np.int64)
    filled = 0
    for chunk in staging.chunks(["row", "timestamp"]):
        unassigned_times = chunk["timestamp"][split_of_row[chunk["row"]] == UNASSIGNED]
        times[filled : filled + len(unassigned_times)] = unassigned_times
        filled += len(unassigned_times)
    bounds = {num_rows - num_test, num_rows - num_test - num_validation} - {num_rows}
    if bounds:
        times.partition(sorted(bounds))
    for split, number in ((TEST, num_test), (VALIDATION, num_validation)):
        if number:
            # Later rows are already assigned, so the position among all rows is also right for the rest.
            position = num_rows - num_test - (0 if split == TEST else num_validation)
            _assign_latest(staging, split_of_row, int(times[position]), number, split)
    split_of_row[split_of_row == UNASSIGNED] = TRAIN


def _assign_latest(
    staging: Staging, split_of_row: np.ndarray, boundary: int, number: int, split: int
) -> None:
    """Assigns `split` to the `number` latest unassigned rows, the first of which has timestamp `boundary`."""
    at_boundary, later = [], 0
    for chunk in staging.chunks(["row", "timestamp"]):
        free = split_of_row[chunk["row"]] == UNASSIGNED
        after = chunk["row"][free & (chunk["timestamp"] > boundary)]
        split_of_row[after] = split
        later += len(after)
        at_boundary.append(chunk["row"][free & (chunk["timestamp"] == boundary)])
    rows = np.concatenate(at_boundary)
    rows.sort()
    split_of_row[rows[len(rows) - (number - later) :]] = split


def _unassigned_rows(
    staging: Staging, split_of_row: np.ndarray, group: tuple[int, int], names: list[str]
) -> dict[str, np.ndarray]:
    columns = staging.rows_of_users(group, names)
    unassigned = split_of_row[columns["row"]] == UNASSIGNED
    return columns if unassigned.all() else {name: column[unassigned] for name, column in columns.items()}


def _sizes_and_positions(user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For rows ordered by user: (number of rows of the user, position of the row among them, from 0)."""
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
