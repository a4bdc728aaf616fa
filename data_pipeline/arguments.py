"""Arguments of public functions: their types, checked before anything happens."""

from __future__ import annotations

import numbers
from collections.abc import Iterable

from data_pipeline.errors import UserError, shown


def require_whole(value: object, name: str, *, or_none: bool = False) -> None:
    """Raises UserError unless the value is a whole number; True and 3.0 are none.

    >>> require_whole("2", "seeds")
    Traceback (most recent call last):
    data_pipeline.errors.UserError: seeds must be a whole number, got '2'
    """
    if not _is_number(value, numbers.Integral) and not (or_none and value is None):
        raise UserError(f"{name} must be a whole number{' or None' if or_none else ''}, got {shown(value)}")


def require_number(value: object, name: str, *, or_none: bool = False) -> None:
    """Raises UserError unless the value is a number, and not NaN."""
    is_number = _is_number(value, numbers.Real) and value == value
    if not is_number and not (or_none and value is None):
        raise UserError(f"{name} must be a number{' or None' if or_none else ''}, got {shown(value)}")


def require_whole_numbers(values: object, name: str) -> list[int]:
    """The values as a list; UserError unless they are whole numbers.

    >>> require_whole_numbers((1, 2), "replicas")
    [1, 2]
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise UserError(f"{name} must be a list of whole numbers, got {shown(values)}")
    found = list(values)
    for value in found:
        if not _is_number(value, numbers.Integral):
            raise UserError(f"{name} must be a list of whole numbers, got {shown(found)}")
    return [int(value) for value in found]


def _is_number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
