"""The rows of a text file with their line numbers: slow, for a header and for naming a bad row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.errors import UserError


@dataclass(frozen=True)
class Line:
    """One row of a file as it is written.

    Attributes:
        number, last_number: its lines, from 1; more than one where a quoted field holds line ends.
    """

    number: int
    last_number: int
    fields: list[str]
    text: str

    @property
    def shown(self) -> str:
        """The text as one line of an error message."""
        return repr(self.text if len(self.text) <= 200 else self.text[:200] + "…")


def tab_separated_lines(path: Path) -> Iterator[Line]:
    """The rows of a file such as u.data, without empty lines."""
    for number, line in enumerate(_text_lines(path), start=1):
        text = line.rstrip("\r\n")
        if text:
            yield Line(number, number, text.split("\t"), text)


def csv_lines(path: Path, delimiter: str) -> Iterator[Line]:
    """The rows of a CSV, its header included, without empty lines.

    Raises:
        UserError: while iterating, for a line that is not CSV.
    """
    read: list[str] = []  # since the last row

    def remembered() -> Iterator[str]:
        for line in _text_lines(path):
            read.append(line)
            yield line

    reader = csv.reader(remembered(), delimiter=delimiter)
    try:
        for fields in reader:
            if fields:
                first = reader.line_num - len(read) + 1
                yield Line(first, reader.line_num, fields, "".join(read).rstrip("\r\n"))
            read.clear()
    except csv.Error as error:
        first = reader.line_num - len(read) + 1
        raise UserError(f"{path}:{first}: not readable as CSV: {error}") from error


def _text_lines(path: Path) -> Iterator[str]:
    """The lines with their ends, which may be any of \\n, \\r\\n and \\r."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.encode()
            except UnicodeEncodeError:
                content = line.rstrip("\r\n").encode(errors="surrogateescape")
                rule = "a ratings file is UTF-8 text"
                raise UserError(f"{path}:{number}: {rule}, got {repr(content[:200])[1:]}") from None
            yield line
