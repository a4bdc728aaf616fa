"""Reads tables of side features of users or items, one row per id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import UserError, shown
from data_pipeline.parsing.column_names import COLUMN_ALIASES, ColumnNames
from data_pipeline.parsing.ids import parse_ids, plain_array
from data_pipeline.parsing.lines import Dialect, Line
from data_pipeline.parsing.parquet import read_parquet_table
from data_pipeline.parsing.text_file import TextFile, read_header
from data_pipeline.parsing.values import numbers, row_fault


@dataclass(frozen=True)
class SideFile:
    """A file of side features and how to read it.

    Attributes:
        key: `user_id` or `item_id`. The file may name it as ratings do, as `data.columns` does, or `id`.
        dialect: None for Parquet.
        names: the columns, for a file without a header line.
        kinds: (column, kind) for columns whose kind is not inferred: `text`, `category`, `list` or `integer`.
        left_out: columns that are dropped.
        finish: transforms the table after reading.
    """

    path: Path
    key: str
    dialect: Dialect | None
    names: Sequence[str] | None = None
    kinds: Sequence[tuple[str, str]] = ()
    left_out: Sequence[str] = ()
    finish: Callable[[pa.Table], pa.Table] | None = None


def read_side_file(side: SideFile, column_names: ColumnNames) -> pa.Table:
    """Reads a table: ids in column `key` (int64 or string), then the features.

    Numeric columns become int64 or float64, columns with values such as `a|b` become lists of strings, all
    others become strings; empty fields become null. `title` is kept as written.

    Raises:
        UserError: a wrong number of fields, a missing or repeated id, or a missing column.
    """
    if side.dialect is None:
        raw, describe_row = _parquet_columns(side)
    else:
        raw, describe_row = _text_columns(side)
    key = _key_column(list(raw), side, column_names)
    try:
        raw_ids = _one_array(raw.pop(key))
        id_values, bad = parse_ids(raw_ids)
    except TypeError as error:
        raise UserError(f"{side.path}: {side.key} cannot be of the type {error}") from None
    if bad is not None:
        row = int(np.flatnonzero(bad)[0])
        raise UserError(f"{describe_row(row)}: {row_fault({side.key: raw_ids.slice(row, 1)})}")
    _require_unique_ids(id_values, side, describe_row)
    kinds = dict(side.kinds)
    columns = {side.key: id_values}
    for name, column in raw.items():
        if name in side.left_out:
            continue
        name = "title" if name.strip().lower() == "title" else name.strip()
        if name in columns:
            raise UserError(f"{side.path}: the header must name {shown(name)} once")
        kind = kinds.get(name, "text" if name == "title" else "")
        columns[name] = _feature(_one_array(column), kind, f"{side.path}: {name}")
    table = pa.table(columns)
    return table if side.finish is None else side.finish(table)


def _text_columns(side: SideFile) -> tuple[dict[str, pa.ChunkedArray], Callable[[int], str]]:
    assert side.dialect is not None
    start = 0
    if side.names is not None:
        names = list(side.names)
    else:
        header = read_header(side.path, side.dialect)
        names, start = header.names, header.end
        for name, times in Counter(names).items():
            if times > 1:
                raise UserError(f"{side.path}:{header.number}: the header must name {shown(name)} once")
    file = TextFile(side.path, side.dialect, {n: i for i, n in enumerate(names)}, len(names), start)
    blocks = [file.text_columns(block) for block in file.blocks()]
    if not blocks:
        raise UserError(f"{side.path}: a table of side features needs rows, got none")
    columns = {name: pa.chunked_array([c for b in blocks for c in _chunks(b[name])]) for name in names}

    def describe_row(row: int) -> str:
        for block in file.blocks():
            num_rows = len(next(iter(file.text_columns(block).values())))
            if row < num_rows:
                return file.describe_rows(block, [row], _no_text)[0].removesuffix(": ")
            row -= num_rows
        return str(side.path)

    return columns, describe_row


def _parquet_columns(side: SideFile) -> tuple[dict[str, pa.ChunkedArray], Callable[[int], str]]:
    table = read_parquet_table(side.path)
    if not len(table):
        raise UserError(f"{side.path}: a table of side features needs rows, got none")
    columns = dict(zip(table.column_names, table.columns, strict=True))
    if len(columns) < table.num_columns:
        raise UserError(
            f"{side.path}: the columns must have different names, got {shown(table.column_names)}"
        )
    return columns, lambda row: f"{side.path}: row {row}"


def _key_column(names: Sequence[str], side: SideFile, column_names: ColumnNames) -> str:
    configured = (
        []
        if column_names.positional
        else [column_names.names[side.key]]
        if side.key in column_names.names
        else []
    )
    candidates = [*configured, *COLUMN_ALIASES[side.key], "id"]
    normalized = [name.strip().lower() for name in names]
    for name in candidates:
        if normalized.count(name.lower()) == 1:
            return names[normalized.index(name.lower())]
    raise UserError(
        f"{side.path}: the table needs a column named {' or '.join(candidates)}, got {shown(list(names))}"
    )


def _require_unique_ids(id_values: pa.Array, side: SideFile, describe_row: Callable[[int], str]) -> None:
    encoded = pc.dictionary_encode(id_values)
    if len(encoded.dictionary) == len(id_values):
        return
    codes = encoded.indices.to_numpy()
    is_first = np.zeros(len(codes), bool)
    is_first[np.unique(codes, return_index=True)[1]] = True
    row = int(np.flatnonzero(~is_first)[0])
    raise UserError(
        f"{describe_row(row)}: {side.key} must be unique, got {shown(id_values[row].as_py())} again"
    )


def _feature(column: pa.Array, kind: str, source: str) -> pa.Array:
    """Converts one column to the type of its kind; infers the kind if none is given."""
    if pa.types.is_string(column.type):
        return _text_feature(column, kind, source)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return pc.cast(column, pa.list_(pa.string()))
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        if column.type == pa.uint64():
            return pc.cast(column, pa.float64(), safe=False)
        return pc.cast(column, pa.int64())
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        values = pc.cast(column, pa.float64(), safe=False)
        return pc.if_else(pc.is_finite(values), values, None)
    try:
        return pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(f"{source} cannot be a feature, got the type {column.type}") from None


def _text_feature(column: pa.Array, kind: str, source: str) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(column)
    filled = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
    if kind == "text":
        return column
    if not kind:
        kind = _infer_kind(filled)
    if kind == "category":
        return filled
    if kind == "list":
        return _split(filled)
    integers, faults = parse_ids(pc.fill_null(filled, "0"))
    if pa.types.is_integer(integers.type) and faults is None:
        return pc.if_else(filled.is_null(), None, integers)
    if kind == "integer":
        wrong = next(each for each in filled.to_pylist() if each is not None and not each.isdecimal())
        raise UserError(f"{source} must be a whole number, got {shown(wrong)}")
    return pa.array(numbers(filled), from_pandas=True)


def _infer_kind(filled: pa.Array) -> str:
    if pc.any(pc.match_substring(filled, "|")).as_py():
        return "list"
    finite = np.isfinite(numbers(filled))
    is_null = filled.is_null().to_numpy(zero_copy_only=False)
    if is_null.all() or not np.all(finite | is_null):
        return "category"
    # 07030 is a code such as a zip code, not the number 7030.
    return "category" if pc.any(pc.match_substring_regex(filled, r"^[+-]?0[0-9]")).as_py() else "number"


def _split(filled: pa.Array) -> pa.Array:
    """Splits `a|b` into [a, b]; null and MovieLens's "(no genres listed)" become []."""
    filled = pc.if_else(pc.equal(filled, "(no genres listed)"), None, filled)
    lists = pc.split_pattern(pc.fill_null(filled, ""), "|")
    return pa.array(
        [[each for each in values if each] for values in lists.to_pylist()], pa.list_(pa.string())
    )


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return plain_array(column if column.num_chunks else pa.array([], column.type))


def _chunks(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def _no_text(_: Line) -> str:
    return ""
