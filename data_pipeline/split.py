"""Cuts rows into train, validation and test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data_pipeline.errors import UserError


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts. No row stands in two of them; `validation` may be empty."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def random_split(num_rows: int, *, test_fraction: float, validation_fraction: float, seed: int) -> Split:
    """Random split, row for row (and in the order of) scikit-learn's `train_test_split(random_state=seed)`.

    Validation is cut from train by the same rule, never from test.

    >>> split = random_split(10, test_fraction=0.2, validation_fraction=0.0, seed=42)
    >>> split.test.tolist(), split.train.tolist()
    ([8, 1], [5, 0, 7, 2, 9, 4, 3, 6])
    """
    if not 0 < test_fraction < 1:
        raise UserError(f"data.test_fraction must be above 0 and below 1, got {test_fraction}")
    rest, test = _two_way(np.arange(num_rows), fraction=test_fraction, seed=seed)
    if not len(rest):
        raise UserError(
            f"a split needs at least one row for train and one for test, got {num_rows} rating(s) "
            f"with data.test_fraction {test_fraction}"
        )
    return cut_validation(rest, test, validation_fraction=validation_fraction, seed=seed)


def cut_validation(train: np.ndarray, test: np.ndarray, *, validation_fraction: float, seed: int) -> Split:
    """Moves a random fraction of the training rows to validation."""
    if not 0 <= validation_fraction < 1:
        raise UserError(f"data.validation_fraction must be at least 0 and below 1, got {validation_fraction}")
    validation = train[:0]
    if validation_fraction:
        train, validation = _two_way(train, fraction=validation_fraction, seed=seed)
        if not len(train):
            raise UserError(f"data.validation_fraction {validation_fraction} leaves no row to train on")
    return Split(train=train, validation=validation, test=test)


def _two_way(rows: np.ndarray, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rest, cut) as scikit-learn's ShuffleSplit: the first ceil(fraction x n) of a permutation are cut."""
    num_cut = math.ceil(fraction * len(rows))
    order = np.random.RandomState(seed).permutation(len(rows))
    return rows[order[num_cut:]], rows[order[:num_cut]]
