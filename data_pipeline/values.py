"""Columns of strings to columns of values, and which row breaks which rule."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def typed(text: pa.Table) -> pa.Table | None:
    """Casts a table of strings; None when a row breaks a rule (the caller finds it and names it)."""
    columns = {name: _PARSERS[name](text[name]) for name in text.column_names}
    return pa.table(columns) if all(column is not None for column in columns.values()) else None


def first_bad_row(text: pa.Table) -> int:
    """The first row of a table that `typed` refuses, in about two more passes."""
    first, num_rows = 0, len(text)
    while num_rows > 1:
        half = num_rows // 2
        if typed(text.slice(first, half)) is None:
            num_rows = half
        else:
            first, num_rows = first + half, num_rows - half
    return first


def row_fault(row: pa.Table) -> str:
    """The rule that a table of one bad row breaks, and the value."""
    name = next(name for name in row.column_names if _PARSERS[name](row[name]) is None)
    return f"{name} {_RULES[name]}, got {row[name][0].as_py()!r}"


def _parse_ids(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """int64 where every id is written as an integer is ('7', not '07' or ' 7'), else the strings."""
    if text.null_count or pc.any(pc.equal(pc.utf8_trim_whitespace(text), "")).as_py():
        return None
    try:
        integers = pc.cast(text, pa.int64())
    except pa.ArrowInvalid:
        return text
    return integers if pc.all(pc.equal(pc.cast(integers, pa.string()), text)).as_py() else text


def _parse_ratings(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    ratings = _parse_numbers(text)
    # Training computes with 32 bits, where 1e39 is infinite.
    return ratings if ratings is not None and _all_below(ratings, float(np.finfo(np.float32).max)) else None


def _parse_seconds(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    seconds = _parse_numbers(text)
    if seconds is None or not _all_below(seconds, 2.0**63):
        return None
    try:
        return pc.cast(pc.utf8_trim_whitespace(text), pa.int64())  # exact, which floats are not past 2^53
    except pa.ArrowInvalid:
        return pc.cast(pc.floor(seconds), pa.int64(), safe=False)


def _parse_weights(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    weights = _parse_ratings(text)
    if weights is None or not pc.all(pc.greater_equal(weights, 0), min_count=0).as_py():
        return None
    return weights


def _parse_numbers(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    try:
        return None if text.null_count else pc.cast(pc.utf8_trim_whitespace(text), pa.float64())
    except pa.ArrowInvalid:
        return None


def _all_below(numbers: pa.ChunkedArray, limit: float) -> bool:
    """Whether all magnitudes are below a limit; infinity and NaN never are."""
    return pc.all(pc.less(pc.abs(numbers), limit), min_count=0).as_py()


# Each takes a column of strings and returns None when one of them breaks its rule. Whether a string does
# must not depend on the others: a bad row is found by halving.
_PARSERS = {
    "user_id": _parse_ids,
    "item_id": _parse_ids,
    "rating": _parse_ratings,
    "timestamp": _parse_seconds,
    "weight": _parse_weights,
}
_RULES = {
    "user_id": "must not be empty",
    "item_id": "must not be empty",
    "rating": "must be a finite number",
    "timestamp": "must be a finite number of seconds",
    "weight": "must be a finite number of at least 0",
}
