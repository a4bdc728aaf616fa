"""Ratings as read: one row a rating, ids raw, nothing indexed yet."""

from __future__ import annotations

import hashlib
import itertools
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from data_pipeline.errors import UserError
from data_pipeline.lines import Line, csv_lines, tab_separated_lines
from data_pipeline.values import first_bad_row, row_fault, typed

if TYPE_CHECKING:
    import pandas as pd

# Accepted header names, lower case, best first.
COLUMN_ALIASES = {
    "user_id": ("user_id", "userid", "user"),
    "item_id": ("item_id", "itemid", "item", "movie_id", "movieid", "movie"),
    "rating": ("rating",),
    "timestamp": ("timestamp", "time"),
    "weight": ("weight",),
}
REQUIRED_COLUMNS = ("user_id", "item_id", "rating")
ML_100K_COLUMNS = ("user_id", "item_id", "rating", "timestamp")


@dataclass(frozen=True)
class Ratings:
    """Raw ratings and what is known of their users and items.

    Attributes:
        table: columns `user_id`, `item_id` (int64 or string), `rating` (float64, finite) and, where the
            source has them, `timestamp` (int64, seconds) and `weight` (float64, finite, at least 0: how much
            the row counts in training).
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
        UserError: names file, line number and the line's text of the first row with a wrong number of
            columns, else of the first with a bad value.
    """
    has_header = path.suffix.lower() in (".csv", ".tsv")
    table = _read_csv_with_header(path) if has_header else read_ml_100k_table(path)
    return Ratings(table=table, name=path.stem, fingerprint=fingerprint_of_files([path]))


def ratings_from_frame(frame: pd.DataFrame, *, name: str = "frame") -> Ratings:
    """Takes the ratings of a pandas DataFrame with columns named as in a CSV (`COLUMN_ALIASES`)."""
    columns = _match_columns([str(column) for column in frame.columns], source=name)
    text = pa.table({column: ids_as_text(frame.iloc[:, position]) for column, position in columns.items()})
    table = typed(text)
    if table is None:
        row = first_bad_row(text)
        raise UserError(f"{name}: row {row}: {row_fault(text.slice(row, 1))}")
    if not len(table):
        raise UserError(f"{name}: a ratings table needs rows, got none")
    digest = hashlib.sha256()
    for column in table.column_names:
        digest.update(column.encode())
        digest.update(repr(table[column].to_pylist()).encode())
    return Ratings(table=table, name=name, fingerprint=digest.hexdigest())


def ids_as_text(column: pd.Series) -> pa.Array:
    """Ids or other values as a CSV of the frame would hold them; null where one is missing."""
    try:
        return pc.cast(pa.array(column, from_pandas=True), pa.string())
    except (pa.ArrowException, OverflowError):  # ids of mixed types, or of none that Arrow has
        return pa.array(column.map(str, na_action="ignore"), pa.string(), from_pandas=True)


def read_ml_100k_table(path: Path) -> pa.Table:
    """Reads ML-100K's format: no header; user id, item id, rating, timestamp separated by tabs."""
    _require_text(path)
    try:
        text = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=list(ML_100K_COLUMNS)),
            parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(ML_100K_COLUMNS, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        _raise_unreadable(path, tab_separated_lines(path), num_columns=len(ML_100K_COLUMNS), cause=error)
    return _typed_file(path, text, tab_separated_lines(path))


def _read_csv_with_header(path: Path) -> pa.Table:
    _require_text(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = csv_lines(path, delimiter)
    header = next(lines, None)
    if header is None:
        raise UserError(f"{path}: a CSV needs a header line, got empty lines")
    columns = _match_columns(header.fields, source=f"{path}:{header.number}")
    try:
        text = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(
                column_names=_unique_names(header.fields, columns), skip_rows=header.last_number
            ),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        _raise_unreadable(path, lines, num_columns=len(header.fields), cause=error)
    return _typed_file(path, text, lines)


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
            if lowered.count(lowered[position]) > 1:
                raise UserError(f"{source}: the header must name {lowered[position]} once, got {header}")
            columns[column] = position
        elif column in REQUIRED_COLUMNS:
            raise UserError(f"{source}: the header needs a column named {' or '.join(aliases)}, got {header}")
    return columns


def _require_text(path: Path) -> None:
    """Catches what no line-wise message would explain: an empty or a binary file."""
    if not path.stat().st_size:
        raise UserError(f"{path}: a ratings file needs rows, got an empty file")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position = content.find(b"\0")
        if position >= 0:
            line = content[:position].count(b"\n") + 1
            raise UserError(f"{path}:{line}: a ratings file is text, got a NUL byte")


def _typed_file(path: Path, text: pa.Table, lines: Iterator[Line]) -> pa.Table:
    """`_typed`, with an error that names file, line and the line's text.

    Args:
        lines: the file's lines that hold a row, read only when a row is bad.
    """
    if not len(text):
        raise UserError(f"{path}: a ratings file needs rows, got none")
    table = typed(text)
    if table is None:
        row = first_bad_row(text)
        line = next(itertools.islice(lines, row, None))
        raise UserError(f"{path}:{line.number}: {row_fault(text.slice(row, 1))}: {line.shown}")
    return table


def _raise_unreadable(path: Path, lines: Iterator[Line], *, num_columns: int, cause: Exception) -> NoReturn:
    """Re-reads line by line what the fast reader refused, to name the first line with another shape."""
    line = None
    for line in lines:
        if len(line.fields) != num_columns:
            rule = f"a row has {num_columns} columns, got {len(line.fields)}"
            raise UserError(f"{path}:{line.number}: {rule}: {line.shown}") from cause
    if line is None:
        raise UserError(f"{path}: a ratings file needs rows, got none") from cause
    raise UserError(f"{path}: not readable as ratings: {str(cause).splitlines()[0]}") from cause


def fingerprint_of_files(paths: list[Path]) -> str:
    """SHA-256 over the names and bytes of the files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
