"""Converts raw columns of ratings to typed ones and finds the rows that break a rule."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import shown
from data_pipeline.parsing.ids import TypedColumn, exact_limit, nulls, parse_ids, plain_array

_RULES = {
    "user_id": "must not be empty",
    "item_id": "must not be empty",
    "rating": "must be a finite number",
    "timestamp": "must be a finite number of seconds, or a date or time as 2024-05-01T10:00:00Z",
    "weight": "must be a finite number of at least 0",
}
# Training computes in float32, where 1e39 is infinite.
_FLOAT_LIMIT = float(np.finfo(np.float32).max)
_LEAST_FLOAT = float(np.nextafter(0, 1))
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]+")
# The unambiguous part of ISO 8601; times without a zone are UTC.
_ISO_TIME = (
    r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?)?"
)
_A_TIME = re.compile(_ISO_TIME)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def typed_batch(columns: Mapping[str, pa.Array]) -> tuple[pa.RecordBatch, np.ndarray | None]:
    """Converts raw columns, strings or other types, to (batch of good rows, mask of bad rows).

    The mask is None if all rows are good. Without a rating column every row is a rating of 1.

    Raises:
        TypeError: a column has a type that cannot hold its values.
    """
    arrays, bad = {}, None
    for name, column in columns.items():
        try:
            arrays[name], faults = _CONVERTERS[name](plain_array(column))
        except TypeError as error:
            raise TypeError(f"{name} cannot be of the type {error}") from None
        if faults is not None:
            bad = faults if bad is None else bad | faults
    if "rating" not in arrays:
        arrays["rating"] = pa.array(np.ones(len(arrays["user_id"]), np.float32))
        arrays = {name: arrays[name] for name in _RULES if name in arrays}
    if bad is not None:
        good = pa.array(~bad)
        arrays = {name: array.filter(good) for name, array in arrays.items()}
        for name in ("user_id", "item_id"):
            # Without the bad rows, all ids may be integers.
            arrays[name], _ = parse_ids(arrays[name])
    return pa.RecordBatch.from_pydict(arrays), bad


def row_fault(columns: Mapping[str, pa.Array]) -> str | None:
    """Rule and value for a bad row, given as columns of length 1; None for a good row."""
    for name, column in columns.items():
        plain = plain_array(column)
        if _CONVERTERS[name](plain)[1] is not None:
            value = plain[0].as_py()
            rule = _RULES[name]
            if name in ("user_id", "item_id") and isinstance(value, float) and not math.isnan(value):
                rule = (
                    f"must be whole and below {exact_limit(plain.type)} where it is a floating-point number"
                )
            return f"{name} {rule}, got {shown(value)}"
    return None


def numbers(column: pa.Array) -> np.ndarray:
    """float64 values; NaN where there is no number."""
    if pa.types.is_string(column.type):
        text = pc.utf8_trim_whitespace(column)
        try:
            values = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            values = np.array([_number(each) for each in text.to_pylist()], np.float64)
    elif _is_number(column.type):
        values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    else:
        raise TypeError(str(column.type))
    return values


def _ratings(column: pa.Array) -> TypedColumn:
    return _floats(numbers(column), above=-_FLOAT_LIMIT)


def _weights(column: pa.Array) -> TypedColumn:
    return _floats(numbers(column), above=-_LEAST_FLOAT)


def _seconds(column: pa.Array) -> TypedColumn:
    kind = column.type
    if pa.types.is_date(kind):
        column = pc.cast(column, pa.timestamp("s"), safe=False)
        kind = column.type
    if pa.types.is_timestamp(kind):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        bad = nulls(column)
        units = pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy()
        return pa.array(units // per_second if per_second > 1 else units), bad
    if pa.types.is_integer(kind) and kind != pa.uint64():
        bad = nulls(column)
        return pc.cast(column if bad is None else pc.fill_null(column, 0), pa.int64()), bad
    if pa.types.is_string(kind):
        text = pc.utf8_trim_whitespace(column)
        if (
            len(text)
            and _A_TIME.fullmatch(text[0].as_py() or "")
            and (times := _iso_seconds(text)) is not None
        ):
            return times, None
        values = numbers(text)
        if np.all(np.abs(values) < 2.0**63):
            try:
                return pc.cast(text, pa.int64()), None  # exact, unlike floats beyond 2^53
            except pa.ArrowInvalid:
                pass
        exact = [_whole_seconds(each, value) for each, value in zip(text.to_pylist(), values, strict=True)]
        return _integers(exact)
    values = numbers(column)
    return _integers([math.floor(value) if abs(value) < 2.0**63 else None for value in values.tolist()])


_CONVERTERS: dict[str, Callable[[pa.Array], TypedColumn]] = {
    "user_id": parse_ids,
    "item_id": parse_ids,
    "rating": _ratings,
    "timestamp": _seconds,
    "weight": _weights,
}


def _number(text: str | None) -> float:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else math.nan


def _whole_seconds(text: str | None, value: float) -> int | None:
    if text is not None and _A_TIME.fullmatch(text):
        try:
            time = datetime.fromisoformat(text)
        except ValueError:  # 2024-02-30
            return None
        return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(seconds=1)
    if text is None or not abs(value) < math.inf:
        return None
    seconds = int(text) if _INTEGER.fullmatch(text) else math.floor(value)
    return seconds if -(2**63) <= seconds < 2**63 else None


def _iso_seconds(text: pa.Array) -> pa.Array | None:
    """ISO times to whole seconds, rounded down; None unless all are times, all with or all without a zone."""
    if not len(text) or not _A_TIME.fullmatch(text[0].as_py() or ""):
        return None
    if not pc.all(pc.match_substring_regex(text, f"^(?:{_ISO_TIME})$"), skip_nulls=False).as_py():
        return None
    for zone in (None, "UTC"):
        try:
            units = pc.cast(pc.cast(text, pa.timestamp("us", zone)), pa.int64()).to_numpy()
        except pa.ArrowInvalid:
            continue
        return pa.array(units // 10**6)
    return None


def _integers(values: list[int | None]) -> TypedColumn:
    bad = np.array([value is None for value in values], bool)
    return pa.array([value or 0 for value in values], pa.int64()), bad if bad.any() else None


def _floats(values: np.ndarray, *, above: float) -> TypedColumn:
    # Comparisons with NaN are false, and min and max of an array with NaN are NaN.
    if not len(values) or (above < values.min() and values.max() < _FLOAT_LIMIT):
        return pa.array(values.astype(np.float32)), None
    good = (above < values) & (values < _FLOAT_LIMIT)
    return pa.array(np.where(good, values, 0).astype(np.float32)), ~good


def _is_number(kind: pa.DataType) -> bool:
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(check(kind) for check in checks)
