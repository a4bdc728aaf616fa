"""Columns as a source has them to columns of ratings, and which rows break which rule."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import shown

# A column's values and which of them break its rule (None: none does). Where one does, the value is any.
Typed = tuple[pa.Array, np.ndarray | None]

_RULES = {
    "user_id": "must not be empty",
    "item_id": "must not be empty",
    "rating": "must be a finite number",
    "timestamp": "must be a finite number of seconds",
    "weight": "must be a finite number of at least 0",
}
# Training computes with 32 bits, where 1e39 is infinite.
_FLOAT_LIMIT = float(np.finfo(np.float32).max)
_LEAST_FLOAT = float(np.nextafter(0, 1))
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]+")
# A byte -> its two characters.
_HEX = np.frombuffer(bytes(range(256)).hex().encode(), np.uint8).reshape(256, 2)
_DIGITS = re.compile(r"0|-?[1-9][0-9]*")


def typed(columns: Mapping[str, pa.Array]) -> tuple[pa.RecordBatch, np.ndarray | None]:
    """Columns of text or of any type that means the same, as a batch of ratings; and a mask of bad rows.

    Without a rating column every row is a rating of 1. Where the mask is not None the batch has only the good
    rows.

    Raises:
        TypeError: a column has a type that cannot mean this.
    """
    arrays, bad = {}, None
    for name, column in columns.items():
        try:
            arrays[name], faults = _CONVERTERS[name](_plain(column))
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
            # That all ids are integers may be true of the good rows alone.
            arrays[name], _ = ids(arrays[name])
    return pa.RecordBatch.from_pydict(arrays), bad


def row_fault(columns: Mapping[str, pa.Array]) -> str | None:
    """The rule that one row, in columns of length 1, breaks, and the value; None where it breaks none."""
    for name, column in columns.items():
        if _CONVERTERS[name](_plain(column))[1] is not None:
            return f"{name} {_RULES[name]}, got {shown(_plain(column)[0].as_py())}"
    return None


def ids(column: pa.Array) -> Typed:
    """int64 where every id is written as an integer is ('7', not '07' or ' 7'), else strings.

    >>> ids(pa.array(["7", "-8"]))[0].to_pylist(), ids(pa.array(["7", "08"]))[0].to_pylist()
    ([7, -8], ['7', '08'])
    """
    kind = column.type
    if pa.types.is_integer(kind):
        bad = _nulls(column)
        values = column if bad is None else pc.fill_null(column, 0)
        if kind != pa.uint64() or not len(values) or pc.max(values).as_py() < 2**63:
            return pc.cast(values, pa.int64()), bad
        return pc.cast(values, pa.string()), bad
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_finite(column), column, None)
    if not pa.types.is_string(kind):
        column = _as_text(column)
    text, bad = pc.fill_null(column, ""), _nulls(column)
    blank = _blank(text)
    bad = blank if bad is None else bad if blank is None else bad | blank
    good = text if bad is None else text.filter(pa.array(~bad))
    integers = _as_integers(good)
    if integers is None:
        return text, bad
    if bad is None:
        return integers, bad
    values = np.zeros(len(text), np.int64)
    values[~bad] = integers.to_numpy()
    return pa.array(values), bad


def numbers(column: pa.Array) -> np.ndarray:
    """float64 values, NaN where there is none."""
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


def _ratings(column: pa.Array) -> Typed:
    return _floats(numbers(column), above=-_FLOAT_LIMIT)


def _weights(column: pa.Array) -> Typed:
    return _floats(numbers(column), above=-_LEAST_FLOAT)


def _seconds(column: pa.Array) -> Typed:
    kind = column.type
    if pa.types.is_date(kind):
        column = pc.cast(column, pa.timestamp("s"), safe=False)
        kind = column.type
    if pa.types.is_timestamp(kind):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        bad = _nulls(column)
        units = pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy()
        return pa.array(units // per_second if per_second > 1 else units), bad
    if pa.types.is_integer(kind) and kind != pa.uint64():
        bad = _nulls(column)
        return pc.cast(column if bad is None else pc.fill_null(column, 0), pa.int64()), bad
    if pa.types.is_string(kind):
        text = pc.utf8_trim_whitespace(column)
        values = numbers(text)
        if np.all(np.abs(values) < 2.0**63):
            try:
                return pc.cast(text, pa.int64()), None  # exact, which floats are not past 2^53
            except pa.ArrowInvalid:
                pass
        exact = [_whole_seconds(each, value) for each, value in zip(text.to_pylist(), values, strict=True)]
        return _integers(exact)
    values = numbers(column)
    return _integers([math.floor(value) if abs(value) < 2.0**63 else None for value in values.tolist()])


_CONVERTERS: dict[str, Callable[[pa.Array], Typed]] = {
    "user_id": ids,
    "item_id": ids,
    "rating": _ratings,
    "timestamp": _seconds,
    "weight": _weights,
}


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array without the types that only store differently."""
    if isinstance(column, pa.ChunkedArray):
        chunks = column.chunks
        column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
    if isinstance(column, pa.ExtensionArray):
        column = _uuids(column.storage) if "uuid" in str(column.type) else column.storage
    if pa.types.is_dictionary(column.type):
        column = _plain(column.dictionary_decode())
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = pc.cast(column, pa.string())
    if pa.types.is_null(column.type):
        column = pc.cast(column, pa.string())
    return column


def _as_text(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return _uuids(column)
    if pa.types.is_nested(kind):
        raise TypeError(str(kind))
    try:
        return pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise TypeError(str(kind)) from None


def _uuids(column: pa.Array) -> pa.Array:
    """16 bytes an id, as the usual 36 characters."""
    num_ids = len(column)
    raw = np.frombuffer(column.buffers()[1], np.uint8, 16 * num_ids, 16 * column.offset)
    text = np.full((num_ids, 36), ord("-"), np.uint8)
    text[:, [place for place in range(36) if place not in (8, 13, 18, 23)]] = _HEX[raw].reshape(num_ids, 32)
    ends = np.arange(0, 36 * (num_ids + 1), 36, dtype=np.int32)
    strings = pa.Array.from_buffers(pa.string(), num_ids, [None, pa.py_buffer(ends), pa.py_buffer(text)])
    return pc.if_else(column.is_valid(), strings, None)


def _nulls(column: pa.Array) -> np.ndarray | None:
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None


def _first_bytes(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(lengths, first bytes) of strings without nulls; what an empty string's first byte is, is undefined."""
    _, offset_buffer, data = text.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, len(text) + 1, 4 * text.offset)
    content = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    return np.diff(offsets), content[np.minimum(offsets[:-1], len(content) - 1)]


def _blank(text: pa.Array) -> np.ndarray | None:
    """Which strings are empty or white space, None where none is; looks closely only at what may be."""
    if not len(text):
        return None
    lengths, first = _first_bytes(text)
    if not np.any((lengths == 0) | (first <= 32) | (first >= 128)):
        return None
    blank = pc.equal(pc.utf8_trim_whitespace(text), "").to_numpy(zero_copy_only=False)
    return blank if blank.any() else None


def _as_integers(text: pa.Array) -> pa.Array | None:
    """int64, or None where a string is not exactly how an integer is written."""
    if not len(text):
        return pc.cast(text, pa.int64())
    lengths, first = _first_bytes(text)
    is_digit = (first >= ord("1")) & (first <= ord("9")) | (first == ord("0")) & (lengths == 1)
    if not np.all(is_digit | (first == ord("-"))):
        return None
    try:
        integers = pc.cast(text, pa.int64())
    except pa.ArrowInvalid:
        return None
    negative = text.filter(pa.array(~is_digit))
    return integers if all(_DIGITS.fullmatch(each) for each in negative.to_pylist()) else None


def _number(text: str | None) -> float:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else math.nan


def _whole_seconds(text: str | None, value: float) -> int | None:
    if text is None or not abs(value) < math.inf:
        return None
    seconds = int(text) if _INTEGER.fullmatch(text) else math.floor(value)
    return seconds if -(2**63) <= seconds < 2**63 else None


def _integers(values: list[int | None]) -> Typed:
    bad = np.array([value is None for value in values], bool)
    return pa.array([value or 0 for value in values], pa.int64()), bad if bad.any() else None


def _floats(values: np.ndarray, *, above: float) -> Typed:
    # NaN is in no range, and is the least and the greatest of what it is among.
    if not len(values) or (above < values.min() and values.max() < _FLOAT_LIMIT):
        return pa.array(values.astype(np.float32)), None
    good = (above < values) & (values < _FLOAT_LIMIT)
    return pa.array(np.where(good, values, 0).astype(np.float32)), ~good


def _is_number(kind: pa.DataType) -> bool:
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(check(kind) for check in checks)
