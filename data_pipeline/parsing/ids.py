"""Converts id columns of any type to int64 or string."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# The values of a column, and a mask of the invalid ones (None if all are valid), which have arbitrary values.
TypedColumn = tuple[pa.Array, np.ndarray | None]

# Byte -> its two hexadecimal digits.
_HEX = np.frombuffer(bytes(range(256)).hex().encode(), np.uint8).reshape(256, 2)
_DIGITS = re.compile(r"0|-?[1-9][0-9]*")


def parse_ids(column: pa.Array) -> TypedColumn:
    """int64 if every id is an integer in canonical form ('7', not '07' or ' 7'), else strings.

    Floating-point ids, which pandas makes of integers in columns with missing values, must be whole and small
    enough to be exact; they become integers.

    >>> parse_ids(pa.array(["7", "-8"]))[0].to_pylist(), parse_ids(pa.array(["7", "08"]))[0].to_pylist()
    ([7, -8], ['7', '08'])
    """
    kind = column.type
    if pa.types.is_integer(kind):
        bad = nulls(column)
        values = column if bad is None else pc.fill_null(column, 0)
        if kind != pa.uint64() or not len(values) or pc.max(values).as_py() < 2**63:
            return pc.cast(values, pa.int64()), bad
        return pc.cast(values, pa.string()), bad
    if pa.types.is_floating(kind):
        return _whole_numbers(column)
    if not pa.types.is_string(kind):
        column = _as_text(column)
    text, bad = pc.fill_null(column, ""), nulls(column)
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


def plain_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array without chunks, dictionaries, extension types, large strings and string views."""
    if isinstance(column, pa.ChunkedArray):
        chunks = column.chunks
        column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
    if isinstance(column, pa.ExtensionArray):
        column = _uuids(column.storage) if "uuid" in str(column.type) else column.storage
    if pa.types.is_dictionary(column.type):
        column = plain_array(column.dictionary_decode())
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = pc.cast(column, pa.string())
    if pa.types.is_null(column.type):
        column = pc.cast(column, pa.string())
    return column


def nulls(column: pa.Array) -> np.ndarray | None:
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None


def _whole_numbers(column: pa.Array) -> TypedColumn:
    values = pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False)
    good = np.abs(values) < exact_limit(column.type)  # false for NaN
    good &= values == np.floor(values)
    return pa.array(np.where(good, values, 0).astype(np.int64)), None if good.all() else ~good


def exact_limit(kind: pa.DataType) -> int:
    """The bound below which a floating-point type represents all whole numbers exactly."""
    return 2 ** (np.finfo(kind.to_pandas_dtype()).nmant + 1)


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
    """UUIDs from 16 bytes to the usual 36 characters."""
    num_ids = len(column)
    raw = np.frombuffer(column.buffers()[1], np.uint8, 16 * num_ids, 16 * column.offset)
    text = np.full((num_ids, 36), ord("-"), np.uint8)
    text[:, [place for place in range(36) if place not in (8, 13, 18, 23)]] = _HEX[raw].reshape(num_ids, 32)
    ends = np.arange(0, 36 * (num_ids + 1), 36, dtype=np.int32)
    strings = pa.Array.from_buffers(pa.string(), num_ids, [None, pa.py_buffer(ends), pa.py_buffer(text)])
    return pc.if_else(column.is_valid(), strings, None)


def _first_bytes(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(lengths, first bytes) of strings without nulls; the first byte of an empty string is undefined."""
    _, offset_buffer, data = text.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, len(text) + 1, 4 * text.offset)
    content = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    return np.diff(offsets), content[np.minimum(offsets[:-1], len(content) - 1)]


def _blank(text: pa.Array) -> np.ndarray | None:
    """Mask of empty or blank strings, None if there is none; trims only if a first byte allows for one."""
    if not len(text):
        return None
    lengths, first = _first_bytes(text)
    if not np.any((lengths == 0) | (first <= 32) | (first >= 128)):
        return None
    blank = pc.equal(pc.utf8_trim_whitespace(text), "").to_numpy(zero_copy_only=False)
    return blank if blank.any() else None


def _as_integers(text: pa.Array) -> pa.Array | None:
    """int64, or None if a string is not an integer in canonical form."""
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
