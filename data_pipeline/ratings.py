"""Ratings as read: one row a rating, ids raw, nothing indexed yet."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from data_pipeline.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# Accepted header names, lower case, best first.
COLUMN_ALIASES = {
    "user_id": ("user_id", "userid", "user"),
    "item_id": ("item_id", "itemid", "item", "movie_id", "movieid", "movie"),
    "rating": ("rating",),
    "timestamp": ("timestamp", "time"),
}
REQUIRED_COLUMNS = ("user_id", "item_id", "rating")
ML_100K_COLUMNS = ("user_id", "item_id", "rating", "timestamp")


@dataclass(frozen=True)
class Ratings:
    """Raw ratings and what is known of their users and items.

    Attributes:
        table: columns `user_id`, `item_id` (int64 or string), `rating` (float64, finite) and, where the
            source has one, `timestamp` (int64, seconds).
        name: short name of the source, used for default folder names.
        fingerprint: SHA-256 of the source's bytes.
        users: side table keyed by `user_id`, or None.
        items: side table keyed by `item_id` (with `title`), or None.
        rmse_floor: the lowest RMSE any model can reach, known for generated ratings only.
    """

    table: pa.Table
    name: str
    fingerprint: str
    users: pa.Table | None = None
    items: pa.Table | None = None
    rmse_floor: float | None = None

    def __len__(self) -> int:
        return self.table.num_rows


def read_ratings_file(path: Path) -> Ratings:
    """Reads one ratings file: CSV/TSV with a header (`.csv`, `.tsv`), else ML-100K's headerless tabs.

    Raises:
        UserError: names the file, the line number and the line's text for the first bad row.
    """
    table = _read_csv_with_header(path) if path.suffix in (".csv", ".tsv") else read_ml_100k_table(path)
    return Ratings(table=table, name=path.stem, fingerprint=fingerprint_of_files([path]))


def ratings_from_frame(frame: pd.DataFrame, *, name: str = "frame") -> Ratings:
    """Takes the ratings of a pandas DataFrame with columns such as user_id, item_id, rating, timestamp."""
    columns = _match_columns([str(column) for column in frame.columns], source=name)
    text = pa.table(
        {
            column: pc.cast(pa.array(frame.iloc[:, position], from_pandas=True), pa.string())
            for column, position in columns.items()
        }
    )
    table = _typed(text)
    if table is None:
        for row, values in enumerate(zip(*(text[c].to_pylist() for c in text.column_names), strict=True)):
            fault = _row_fault(dict(zip(text.column_names, values, strict=True)))
            if fault:
                raise UserError(f"{name}: row {row}: {fault}")
        raise AssertionError("a frame that cannot be typed has a bad row")
    if not len(table):
        raise UserError(f"{name}: a ratings table needs rows, got none")
    digest = hashlib.sha256()
    for column in table.column_names:
        digest.update(column.encode())
        digest.update(repr(table[column].to_pylist()).encode())
    return Ratings(table=table, name=name, fingerprint=digest.hexdigest())


def read_ml_100k_table(path: Path) -> pa.Table:
    """Reads ML-100K's format: no header; user id, item id, rating, timestamp separated by tabs."""
    _require_text(path)
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=list(ML_100K_COLUMNS)),
            parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(ML_100K_COLUMNS, pa.string()), strings_can_be_null=False
            ),
        )
        typed = _typed(table)
    except pa.ArrowInvalid as error:
        _raise_first_bad_line(path, _ml_100k_rows(path), ML_100K_COLUMNS, cause=error)
    if typed is None:
        _raise_first_bad_line(path, _ml_100k_rows(path), ML_100K_COLUMNS)
    return typed


def _read_csv_with_header(path: Path) -> pa.Table:
    _require_text(path)
    delimiter = "\t" if path.suffix == ".tsv" else ","
    rows = _csv_rows(path, delimiter)
    header_line, header, _ = next(rows, (1, [], ""))
    if not header:
        raise UserError(f"{path}:{header_line}: a CSV needs a header line, got an empty one")
    columns = _match_columns(header, source=f"{path}:{header_line}")
    names = _unique_names(header, columns)
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=names, skip_rows=header_line),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )
        typed = _typed(table)
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            raise UserError(f"{path}: a ratings file needs rows below its header, got none") from error
        _raise_first_bad_line(path, rows, names, cause=error)
    if typed is None:
        _raise_first_bad_line(path, rows, names)
    return typed


def _unique_names(header: list[str], columns: dict[str, int]) -> list[str]:
    """Our names for the matched columns, positional names for the rest (a header may repeat names)."""
    names = [f"column_{position}" for position in range(len(header))]
    for column, position in columns.items():
        names[position] = column
    return names


def _match_columns(header: list[str], *, source: str) -> dict[str, int]:
    """Maps our column names to positions in the header."""
    lowered = [name.strip().lower() for name in header]
    columns = {}
    for column, aliases in COLUMN_ALIASES.items():
        position = next((lowered.index(alias) for alias in aliases if alias in lowered), None)
        if position is not None:
            columns[column] = position
        elif column in REQUIRED_COLUMNS:
            raise UserError(f"{source}: the header needs a column named {' or '.join(aliases)}, got {header}")
    return columns


def _require_text(path: Path) -> None:
    """Catches what no line-wise message would explain: an empty or a binary file."""
    with path.open("rb") as file:
        head = file.read(65536)
    if not head.strip():
        raise UserError(f"{path}: a ratings file needs rows, got an empty file")
    if b"\0" in head:
        line = head[: head.index(b"\0")].count(b"\n") + 1
        raise UserError(f"{path}:{line}: a ratings file is text, got a NUL byte")


def _typed(text: pa.Table) -> pa.Table | None:
    """Casts a table of strings; None when a row breaks a rule (the caller finds it and names it)."""
    columns = {}
    for name in ("user_id", "item_id"):
        column = text[name].combine_chunks()
        if column.null_count or pc.any(pc.equal(pc.utf8_trim_whitespace(column), "")).as_py():
            return None
        columns[name] = _as_integers_if_canonical(column)
    try:
        columns["rating"] = pc.cast(pc.utf8_trim_whitespace(text["rating"]), pa.float64())
        if "timestamp" in text.column_names:
            seconds = pc.cast(pc.utf8_trim_whitespace(text["timestamp"]), pa.float64())
            columns["timestamp"] = pc.cast(pc.floor(seconds), pa.int64())
    except pa.ArrowInvalid:
        return None
    if any(column.null_count for column in columns.values()):
        return None
    if not pc.all(pc.is_finite(columns["rating"]), min_count=0).as_py():
        return None
    return pa.table(columns)


def _as_integers_if_canonical(column: pa.Array) -> pa.Array:
    """int64 where every id is written as an integer is ('7', not '07' or ' 7'), else the strings."""
    try:
        integers = pc.cast(column, pa.int64())
    except pa.ArrowInvalid:
        return column
    return integers if pc.all(pc.equal(pc.cast(integers, pa.string()), column)).as_py() else column


def _ml_100k_rows(path: Path) -> Iterator[tuple[int, list[str], str]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n").split("\t"), line.strip()


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError) as error:
                raise UserError(f"{path}:{reader.line_num + 1}: not readable as CSV: {error}") from error
            if fields:
                yield reader.line_num, fields, delimiter.join(fields)


def _raise_first_bad_line(
    path: Path,
    rows: Iterator[tuple[int, list[str], str]],
    columns: tuple[str, ...] | list[str],
    *,
    cause: Exception | None = None,
) -> NoReturn:
    """Re-reads line by line, which the fast way cannot, to name the first row that breaks a rule."""
    number = 0
    try:
        for number, fields, line in rows:
            shown = line if len(line) <= 200 else line[:200] + "…"
            if len(fields) != len(columns):
                rule = f"a row has {len(columns)} columns, got {len(fields)}"
                raise UserError(f"{path}:{number}: {rule}: {shown!r}") from cause
            fault = _row_fault(dict(zip(columns, fields, strict=True)))
            if fault:
                raise UserError(f"{path}:{number}: {fault}: {shown!r}") from cause
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number + 1}: a ratings file is UTF-8 text, got {error.reason}") from error
    raise UserError(f"{path}: not readable as ratings: {str(cause).splitlines()[0]}") from cause


def _row_fault(row: dict[str, str | None]) -> str | None:
    """The rule that one row breaks, or None."""
    for column in ("user_id", "item_id"):
        if not (row[column] or "").strip():
            return f"{column} must not be empty"
    for column in ("rating", "timestamp"):
        if column in row:
            try:
                finite = math.isfinite(float(row[column] or ""))
            except ValueError:
                finite = False
            if not finite:
                return f"{column} must be a finite number, got {row[column]!r}"
    return None


def fingerprint_of_files(paths: list[Path]) -> str:
    """SHA-256 over the names and bytes of the files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
