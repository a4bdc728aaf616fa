"""Columns of a delimited text file: by Arrow's reader, or line by line where that refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from data_pipeline.errors import UserError
from data_pipeline.parsing import blocks
from data_pipeline.parsing.blocks import BYTE_ORDER_MARK, TextBlock, first_line, line_number
from data_pipeline.parsing.lines import Dialect, Line, end_of_last_row, split_lines


@dataclass(frozen=True)
class Header:
    """A file's first row.

    Attributes:
        number: its line, from 1.
        end: where the next row begins.
    """

    names: list[str]
    number: int
    end: int


@dataclass(frozen=True)
class ArrowText:
    """A block as Arrow's reader takes it: UTF-8, one byte between fields."""

    content: bytes | bytearray
    delimiter: str


@dataclass(frozen=True)
class TextFile:
    """A file whose columns are known and of which no row is read.

    Attributes:
        columns: name -> position of the columns that are wanted.
        num_columns: of every row.
        start: where the rows begin.
    """

    path: Path
    dialect: Dialect
    columns: dict[str, int]
    num_columns: int
    start: int = 0

    def blocks(self) -> Iterator[TextBlock]:
        return blocks.read_blocks(self.path, self.dialect, start=self.start, block_bytes=blocks.BLOCK_BYTES)

    def for_arrow(self, block: TextBlock) -> ArrowText | None:
        """The block, or None where Arrow would not see the rows that are there."""
        content, delimiter = block.content, self.dialect.delimiter
        # Arrow takes a byte order mark off every block; ours of the file is off already.
        if not content or b"\0" in content or content.startswith(BYTE_ORDER_MARK):
            return None
        if self._has_open_quote(block):
            return None
        if self.dialect.encoding != "utf-8":
            content = content.decode(self.dialect.encoding).encode()
        if len(delimiter) > 1:
            # Tabs that are there already would be taken for delimiters.
            if b"\t" in content:
                return None
            content, delimiter = content.replace(delimiter.encode(), b"\t"), "\t"
        return ArrowText(content, delimiter)

    def arrow_columns(self, text: ArrowText, types: Mapping[str, pa.DataType]) -> dict[str, pa.Array] | None:
        """The columns as these types; None where a field is of another one or a row has another width."""
        names = [f"column_{position}" for position in range(self.num_columns)]
        for column, position in self.columns.items():
            names[position] = f"wanted_{column}"
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(text.content),
                read_options=pa_csv.ReadOptions(
                    column_names=names, use_threads=False, block_size=len(text.content) + 1
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=text.delimiter,
                    quote_char='"' if self.dialect.quotes else False,
                    newlines_in_values=True,
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types={f"wanted_{column}": types[column] for column in self.columns},
                    include_columns=[f"wanted_{column}" for column in self.columns],
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        return {column: table[f"wanted_{column}"] for column in self.columns}

    def as_text(self) -> dict[str, pa.DataType]:
        """Types for `arrow_columns`: all columns as they are written."""
        return dict.fromkeys(self.columns, pa.string())

    def line_columns(self, block: TextBlock) -> tuple[dict[str, pa.Array], list[int], list[int]]:
        """(columns of the rows that have the right form, which these are, which have not), counted from 0.

        Raises:
            UserError: an open quote; what follows it cannot be told apart as rows.
        """
        rows, good, bad = [], [], []
        for ordinal, line in enumerate(split_lines(block.content, self.dialect)):
            if line.is_open:
                number = line_number(self.path, block.offset) + line.number - 1
                raise UserError(f"{self.path}:{number}: a quoted field must end, got {line.shown}")
            row = self.row(line)
            if isinstance(row, str):
                bad.append(ordinal)
            else:
                rows.append(row)
                good.append(ordinal)
        columns = {c: pa.array([row[i] for row in rows], pa.string()) for i, c in enumerate(self.columns)}
        return columns, good, bad

    def text_columns(self, block: TextBlock) -> dict[str, pa.Array]:
        """The columns as they are written.

        Raises:
            UserError: names the first row that has not the right form.
        """
        text = self.for_arrow(block)
        columns = self.arrow_columns(text, self.as_text()) if text is not None else None
        if columns is None:
            columns, _, bad = self.line_columns(block)
            if bad:
                raise UserError(self.name_rows(block, bad[:1], lambda line: str(self.row(line)))[0])
        return columns

    def row(self, line: Line) -> list[str] | str:
        """The wanted fields, or the fault of a row that has not the right form."""
        if b"\0" in line.content:
            return "a ratings file is text, got a NUL byte"
        try:
            if len(line.raw_fields) == self.num_columns:
                encoding = self.dialect.encoding
                return [line.raw_fields[position].decode(encoding) for position in self.columns.values()]
            line.content.decode(self.dialect.encoding)
        except UnicodeDecodeError:
            return f"a ratings file is UTF-8 text, got {line.shown_bytes}"
        return f"a row has {self.num_columns} columns, got {len(line.raw_fields)}: {line.shown}"

    def name_rows(self, block: TextBlock, ordinals: Sequence[int], fault: Callable[[Line], str]) -> list[str]:
        """`file:line: fault` of some rows of a block, counted from 0."""
        first, wanted = line_number(self.path, block.offset), set(ordinals)
        lines = islice(split_lines(block.content, self.dialect), max(wanted) + 1)
        return [
            f"{self.path}:{first + line.number - 1}: {fault(line)}"
            for ordinal, line in enumerate(lines)
            if ordinal in wanted
        ]

    def _has_open_quote(self, block: TextBlock) -> bool:
        if not (block.is_last and self.dialect.quotes and b'"' in block.content):
            return False
        return end_of_last_row(block.content + b"\n", self.dialect) <= len(block.content)


def read_header(path: Path, dialect: Dialect) -> Header:
    """The names in the first row.

    Raises:
        UserError: there is none, or it is no text.
    """
    if not path.stat().st_size:
        raise UserError(f"{path}: a ratings file needs rows, got an empty file")
    line = first_line(path, dialect)
    if line is None:
        raise UserError(f"{path}: a CSV needs a header line, got empty lines")
    where = f"{path}:{line.number}"
    if line.is_open:
        raise UserError(f"{where}: a quoted field must end, got {line.shown}")
    try:
        names = line.fields
    except UnicodeDecodeError:
        raise UserError(f"{where}: a ratings file is UTF-8 text, got {line.shown_bytes}") from None
    if b"\0" in line.content:
        raise UserError(f"{where}: a ratings file is text, got a NUL byte")
    return Header(names, line.number, line.end)
