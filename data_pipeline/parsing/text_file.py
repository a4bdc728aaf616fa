"""Columns of a delimited text file, parsed by Arrow or, where Arrow refuses, line by line."""

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
    """The first row of a file.

    Attributes:
        number: its line number, from 1.
        end: byte offset of the next row.
    """

    names: list[str]
    number: int
    end: int


@dataclass(frozen=True)
class ArrowText:
    """A block in the form that Arrow's CSV reader needs: UTF-8, a one-byte delimiter."""

    content: bytes | bytearray
    delimiter: str


@dataclass(frozen=True)
class TextFile:
    """An opened text file: its columns are known, its rows are not read yet.

    Attributes:
        columns: name -> position, for the columns to read.
        num_columns: the number of fields that every row must have.
        start: byte offset of the first row.
    """

    path: Path
    dialect: Dialect
    columns: dict[str, int]
    num_columns: int
    start: int = 0

    def blocks(self) -> Iterator[TextBlock]:
        return blocks.read_blocks(self.path, self.dialect, start=self.start, block_bytes=blocks.BLOCK_BYTES)

    def for_arrow(self, block: TextBlock) -> ArrowText | None:
        """Converts a block for Arrow; None if Arrow would split it into other rows."""
        content, delimiter = block.content, self.dialect.delimiter
        # Arrow would strip a byte order mark from any block, but after the start of the file it is text.
        if not content or b"\0" in content or content.startswith(BYTE_ORDER_MARK):
            return None
        if self._has_open_quote(block):
            return None
        if self.dialect.encoding != "utf-8":
            content = content.decode(self.dialect.encoding).encode()
        if len(delimiter) > 1:
            # Tabs in the text would be mistaken for delimiters.
            if b"\t" in content:
                return None
            content, delimiter = content.replace(delimiter.encode(), b"\t"), "\t"
        return ArrowText(content, delimiter)

    def arrow_columns(self, text: ArrowText, types: Mapping[str, pa.DataType]) -> dict[str, pa.Array] | None:
        """Parses the columns to the given types; None if a field or the number of fields does not fit."""
        names = [f"column_{position}" for position in range(self.num_columns)]
        for column, position in self.columns.items():
            names[position] = f"selected_{column}"
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
                    column_types={f"selected_{column}": types[column] for column in self.columns},
                    include_columns=[f"selected_{column}" for column in self.columns],
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        return {column: table[f"selected_{column}"] for column in self.columns}

    def string_types(self) -> dict[str, pa.DataType]:
        """Types for `arrow_columns` that read all columns as strings."""
        return dict.fromkeys(self.columns, pa.string())

    def line_columns(self, block: TextBlock) -> tuple[dict[str, pa.Array], list[int], list[int]]:
        """Parses line by line: (columns of the well-formed rows, their row numbers, malformed rows' numbers).

        Row numbers count from 0 within the block.

        Raises:
            UserError: an unclosed quote, since the rows after it cannot be separated.
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
        """The columns as strings, as written.

        Raises:
            UserError: describes the first malformed row.
        """
        text = self.for_arrow(block)
        columns = self.arrow_columns(text, self.string_types()) if text is not None else None
        if columns is None:
            columns, _, bad = self.line_columns(block)
            if bad:
                raise UserError(self.describe_rows(block, bad[:1], lambda line: str(self.row(line)))[0])
        return columns

    def row(self, line: Line) -> list[str] | str:
        """The selected fields, or an error text for a malformed row."""
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

    def describe_rows(
        self, block: TextBlock, ordinals: Sequence[int], fault: Callable[[Line], str]
    ) -> list[str]:
        """`file:line: fault` for some rows of a block; row numbers count from 0."""
        first, selected = line_number(self.path, block.offset), set(ordinals)
        lines = islice(split_lines(block.content, self.dialect), max(selected) + 1)
        return [
            f"{self.path}:{first + line.number - 1}: {fault(line)}"
            for ordinal, line in enumerate(lines)
            if ordinal in selected
        ]

    def _has_open_quote(self, block: TextBlock) -> bool:
        if not (block.is_last and self.dialect.quotes and b'"' in block.content):
            return False
        return end_of_last_row(block.content + b"\n", self.dialect) <= len(block.content)


def read_header(path: Path, dialect: Dialect) -> Header:
    """Reads the header: the names in the first row.

    Raises:
        UserError: there is no row, or it is not text.
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
