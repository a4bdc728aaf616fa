"""Ratings from delimited text: CSV, TSV, ML-100K's tabs, the `::` of ML-1M and ML-10M."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import UserError
from data_pipeline.parsing.blocks import TextBlock
from data_pipeline.parsing.chunks import Chunk
from data_pipeline.parsing.column_names import ColumnNames
from data_pipeline.parsing.ids import parse_ids
from data_pipeline.parsing.lines import Dialect, Line
from data_pipeline.parsing.text_file import ArrowText, TextFile, read_header
from data_pipeline.parsing.values import row_fault, typed_batch

_TYPES = {
    "user_id": pa.int64(),
    "item_id": pa.int64(),
    "rating": pa.float64(),
    "timestamp": pa.int64(),
    "weight": pa.float64(),
}
_IDS = ("user_id", "item_id")
_INTEGERS = frozenset({*_IDS, "timestamp"})
# Bytes scanned at once, so that temporary arrays stay in a core's cache.
_CHECK_BYTES = 1 << 18


@dataclass(frozen=True)
class DelimitedRatings:
    """One opened file of ratings: its columns are known, its rows are not read yet.

    Attributes:
        text_columns: integer columns in which other values were seen. They are parsed as text from then on,
            which changes only the speed, not the result.
    """

    file: TextFile
    text_columns: set[str] = field(default_factory=set)

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def columns(self) -> dict[str, int]:
        return self.file.columns

    def tasks(self) -> Iterator[Callable[[], Chunk]]:
        """One parsing task per block of the file."""
        return (partial(self.parse, block) for block in self.file.blocks())

    def parse(self, block: TextBlock) -> Chunk:
        """Parses a block, with Arrow where the result is exact, else with our own line reader."""
        text = self.file.for_arrow(block)
        if text is not None:
            batch = self._parse_numbers(text)
            if batch is not None:
                return Chunk(batch, raw_bytes=block.raw_bytes)
        columns = self.file.arrow_columns(text, self.file.string_types()) if text is not None else None
        if columns is not None:
            batch, faults = typed_batch(columns)
            bad = [] if faults is None else np.flatnonzero(faults).tolist()
        else:
            columns, good, bad = self.file.line_columns(block)
            batch, faults = typed_batch(columns)
            if faults is not None:
                bad = sorted(bad + [good[row] for row in np.flatnonzero(faults)])
        return Chunk(
            batch, len(bad), block.raw_bytes, lambda n: self.file.describe_rows(block, bad[:n], self._fault)
        )

    def _parse_numbers(self, text: ArrowText) -> pa.RecordBatch | None:
        """Lets Arrow parse numbers directly; None where the result might differ from what is written."""
        as_text = frozenset(self.text_columns)
        integers = _INTEGERS & self.columns.keys()
        columns = self._arrow_columns(text, as_text=as_text)
        if columns is None:
            columns = self._arrow_columns(text, as_text=as_text | integers)
            if columns is not None:
                strings = {name for name in _IDS if pa.types.is_string(ids_type(columns[name]))}
                if "timestamp" in columns and not _are_integers(columns["timestamp"]):
                    strings.add("timestamp")
                self.text_columns.update(strings or integers)
        elif integers - as_text and not _integers_are_canonical(text):
            self.text_columns.update(integers)
            columns = self._arrow_columns(text, as_text=as_text | integers)
        if columns is None:
            return None
        batch, faults = typed_batch(columns)
        return batch if faults is None else None

    def _arrow_columns(self, text: ArrowText, *, as_text: frozenset[str]) -> dict[str, pa.Array] | None:
        types = {name: pa.string() if name in as_text else _TYPES[name] for name in self.columns}
        return self.file.arrow_columns(text, types)

    def _fault(self, line: Line) -> str:
        row = self.file.row(line)
        if isinstance(row, str):
            return row
        text = {column: pa.array([field]) for column, field in zip(self.columns, row, strict=True)}
        return f"{row_fault(text)}: {line.shown}"


def ids_type(column: pa.Array | pa.ChunkedArray) -> pa.DataType:
    """The type (int64 or string) of the ids that a string column holds."""
    return parse_ids(column.combine_chunks())[0].type


def _are_integers(column: pa.ChunkedArray) -> bool:
    try:
        pc.cast(column, pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def open_delimited(
    path: Path, dialect: Dialect, column_names: ColumnNames, *, names: Sequence[str] | None = None
) -> DelimitedRatings:
    """Opens a file of ratings and finds its columns.

    Args:
        names: the columns, for a format without a header line.

    Raises:
        UserError: the file is empty, or a column is missing.
    """
    if names is not None:
        if not path.stat().st_size:
            raise UserError(f"{path}: a ratings file needs rows, got an empty file")
        if column_names.positional:
            columns = column_names.positions(len(names), source=str(path))
        else:
            columns = column_names.match(names, source=str(path))
        return DelimitedRatings(TextFile(path, dialect, columns, len(names)))
    header = read_header(path, dialect)
    source = f"{path}:{header.number}"
    if column_names.positional:
        columns = column_names.positions(len(header.names), source=source)
        return DelimitedRatings(TextFile(path, dialect, columns, len(header.names)))
    columns = column_names.match(header.names, source=source)
    return DelimitedRatings(TextFile(path, dialect, columns, len(header.names), header.end))


def _integers_are_canonical(text: ArrowText) -> bool:
    """False if a field may be an integer in non-canonical form: ' 7', +7, 07, 0x7 or -0.

    Arrow parses all of these as integers, but as ids they are strings different from '7'.
    """
    content = text.content
    if b" " in content or b"+" in content or (b"-" in content and b"-0" in content):
        return False
    # Arrow also trims tabs; in tab-separated text only a quoted field can contain one.
    if (b'"' if text.delimiter == "\t" else b"\t") in content:
        return False
    codes = np.frombuffer(content, np.uint8)
    separators = np.frombuffer(text.delimiter.encode() + b'\r\n"', np.uint8)
    if codes[0] == ord("0") and len(codes) > 1 and codes[1] >= ord("0"):
        return False
    for start in range(0, len(codes) - 2, _CHECK_BYTES):
        piece = codes[start : start + _CHECK_BYTES + 2]
        before = piece[:-2] < ord("0")
        if separators[0] >= ord("0"):
            before |= piece[:-2] == separators[0]
        leading = before & (piece[1:-1] == ord("0")) & (piece[2:] >= ord("0"))
        if leading.any() and np.isin(piece[:-2][leading], separators).any():
            return False
    return True
