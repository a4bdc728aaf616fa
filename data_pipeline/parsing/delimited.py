"""Ratings in delimited text: CSV, TSV, ML-100K's tabs, the `::` of ML-1M and ML-10M."""

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
from data_pipeline.parsing.ids import ids
from data_pipeline.parsing.lines import Dialect, Line
from data_pipeline.parsing.text_file import ArrowText, TextFile, read_header
from data_pipeline.parsing.values import row_fault, typed

_TYPES = {
    "user_id": pa.int64(),
    "item_id": pa.int64(),
    "rating": pa.float64(),
    "timestamp": pa.int64(),
    "weight": pa.float64(),
}
_IDS = ("user_id", "item_id")
_INTEGERS = frozenset({*_IDS, "timestamp"})
# Bytes that are looked at together, so that they stay in a core's cache.
_CHECK_BYTES = 1 << 18


@dataclass(frozen=True)
class DelimitedRatings:
    """One file of ratings, opened: its columns are known, no row is read.

    Attributes:
        text_columns: columns of integers that were seen to hold something else. Whether they are read as text
            does not change what is read, only how fast.
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
        """What is to be done to read the file, part by part."""
        return (partial(self.parse, block) for block in self.file.blocks())

    def parse(self, block: TextBlock) -> Chunk:
        """The good rows of a block: by Arrow where that is exact, else by our own reader of lines."""
        text = self.file.for_arrow(block)
        if text is not None:
            batch = self._direct(text)
            if batch is not None:
                return Chunk(batch, raw_bytes=block.raw_bytes)
        columns = self.file.arrow_columns(text, self.file.as_text()) if text is not None else None
        if columns is not None:
            batch, faults = typed(columns)
            bad = [] if faults is None else np.flatnonzero(faults).tolist()
        else:
            columns, good, bad = self.file.line_columns(block)
            batch, faults = typed(columns)
            if faults is not None:
                bad = sorted(bad + [good[row] for row in np.flatnonzero(faults)])
        return Chunk(
            batch, len(bad), block.raw_bytes, lambda n: self.file.name_rows(block, bad[:n], self._fault)
        )

    def _direct(self, text: ArrowText) -> pa.RecordBatch | None:
        """Numbers read as numbers; None where that may not be what is written."""
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
        elif integers - as_text and not _writes_integers_plainly(text):
            self.text_columns.update(integers)
            columns = self._arrow_columns(text, as_text=as_text | integers)
        if columns is None:
            return None
        batch, faults = typed(columns)
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
    """What ids of a column of strings are read as."""
    return ids(column.combine_chunks())[0].type


def _are_integers(column: pa.ChunkedArray) -> bool:
    try:
        pc.cast(column, pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def open_delimited(
    path: Path, dialect: Dialect, choice: ColumnNames, *, names: Sequence[str] | None = None
) -> DelimitedRatings:
    """Finds the columns of a file of ratings.

    Args:
        names: the columns of a file without a header line.

    Raises:
        UserError: the file is empty or a column is missing.
    """
    if names is not None:
        if not path.stat().st_size:
            raise UserError(f"{path}: a ratings file needs rows, got an empty file")
        if choice.positional:
            columns = choice.positions(len(names), source=str(path))
        else:
            columns = choice.match(names, source=str(path))
        return DelimitedRatings(TextFile(path, dialect, columns, len(names)))
    header = read_header(path, dialect)
    source = f"{path}:{header.number}"
    if choice.positional:
        columns = choice.positions(len(header.names), source=source)
        return DelimitedRatings(TextFile(path, dialect, columns, len(header.names)))
    columns = choice.match(header.names, source=source)
    return DelimitedRatings(TextFile(path, dialect, columns, len(header.names), header.end))


def _writes_integers_plainly(text: ArrowText) -> bool:
    """False where a field may be an integer that is not written as one: ' 7', +7, 07, 0x7 or -0.

    Arrow reads all of these as integers, but as ids they are other strings than '7'.
    """
    content = text.content
    if b" " in content or b"+" in content or (b"-" in content and b"-0" in content):
        return False
    # Arrow also trims tabs, which a field of tab-separated text holds only in quotes.
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
