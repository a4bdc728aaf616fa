"""Lists of ids from a file: one id per line, or a column of a CSV or Parquet file."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from data_pipeline.errors import UserError, shown
from data_pipeline.parsing.column_names import COLUMN_ALIASES
from data_pipeline.parsing.ids import parse_ids, plain_array
from data_pipeline.parsing.parquet import read_parquet_table

KEYS = ("user_id", "item_id")


def read_ids(path: Path, key: str) -> dict[str, pa.Array]:
    """The ids in a file, as written: strings, or integers if all are canonical ('7', not '07').

    Parquet and files whose first line names a column hold columns; any other file has one id per line, and
    blank lines do not count.

    Args:
        key: `user_id` or `item_id`, the column that must be there.

    Returns:
        Column `key`; also the other one of `KEYS`, if the file has it. All of the same length.

    Raises:
        UserError: no such file, not text in UTF-8, no such column, or an empty id.
    """
    try:
        if path.name.lower().endswith((".parquet", ".pq")):
            table = read_parquet_table(path)
            columns = dict(zip(table.column_names, table.columns, strict=False))
        else:
            columns = _text_columns(path, key)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: ids cannot be read: {error}") from None
    names = {each: _named(list(columns), each) for each in KEYS}
    if names[key] is None:
        wanted = " or ".join(COLUMN_ALIASES[key])
        raise UserError(f"{path}: needs a column named {wanted}, got {shown(list(columns))}")
    return {each: _typed(columns[name], f"{path}: {each}") for each, name in names.items() if name}


def _text_columns(path: Path, key: str) -> dict[str, pa.Array]:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        lines = file.read().splitlines()
    lines = [line for line in lines if line.strip()]
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    header = next(csv.reader(lines[:1], delimiter=delimiter), [])
    if not any(_named(header, each) for each in KEYS):
        if len(header) > 1:
            return {name: pa.array([], pa.string()) for name in header}
        return {key: pa.array(lines, pa.string())}
    rows = list(csv.reader(lines[1:], delimiter=delimiter))
    for row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}: each row must have {len(header)} fields, got {shown(row)}")
    return {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(header)}


def _named(names: Sequence[str], key: str) -> str | None:
    normalized = [name.strip().lower() for name in names]
    for alias in COLUMN_ALIASES[key]:
        if alias.lower() in normalized:
            return names[normalized.index(alias.lower())]
    return None


def _typed(column: pa.Array | pa.ChunkedArray, what: str) -> pa.Array:
    if isinstance(column, pa.ChunkedArray) and not column.num_chunks:
        column = pa.array([], column.type)
    try:
        values, bad = parse_ids(plain_array(column))
    except TypeError as error:
        raise UserError(f"{what} cannot be of the type {error}") from None
    if bad is not None:
        raise UserError(f"{what} must not be empty, got an empty id in row {int(bad.argmax()) + 1}")
    return values
