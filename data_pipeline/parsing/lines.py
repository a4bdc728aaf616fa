"""Splits delimited text into rows, one by one: slow but exact; for headers, bad rows and small files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

# Error messages show at most this many characters of a row.
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Dialect:
    r"""The syntax of a text file. Lines end with \n, \r\n or \r; empty lines are ignored.

    Attributes:
        delimiter: separates fields; one or more characters, such as `,` or `::`.
        quotes: whether fields may be in double quotes. A quoted field may contain delimiters and line ends;
            a quote inside is doubled.
        encoding: `utf-8` or `latin-1`.
    """

    delimiter: str
    quotes: bool
    encoding: str = "utf-8"


CSV = Dialect(",", quotes=True)
TSV = Dialect("\t", quotes=True)
TABS = Dialect("\t", quotes=False)  # u.data
BARS = Dialect("|", quotes=False, encoding="latin-1")  # u.item, u.user
COLONS = Dialect("::", quotes=False)  # ratings.dat


@dataclass(frozen=True)
class Line:
    """One row of text, unparsed.

    Attributes:
        number: the number of its first line, from 1, within the content it was split from.
        start, end: byte offsets of the row, including its line end.
        content: the bytes without the line end.
        is_open: a quoted field that starts in this row is never closed.
    """

    number: int
    start: int
    end: int
    content: bytes
    raw_fields: tuple[bytes, ...]
    encoding: str
    is_open: bool = False

    @cached_property
    def fields(self) -> list[str]:
        """The decoded fields; raises UnicodeDecodeError for bytes outside of the encoding."""
        return [field.decode(self.encoding) for field in self.raw_fields]

    @property
    def shown(self) -> str:
        """The row as an error message shows it, on one line."""
        text = self.content[: 4 * _SHOWN_CHARACTERS + 4].decode(self.encoding, errors="backslashreplace")
        return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")

    @property
    def shown_bytes(self) -> str:
        """Like `shown`, for a row that cannot be decoded."""
        return repr(self.content[:_SHOWN_CHARACTERS])[1:]


def split_lines(content: bytes | bytearray, dialect: Dialect) -> Iterator[Line]:
    """Splits content into rows; the last row may lack its line end."""
    content = bytes(content)
    return _quoted_lines(content, dialect) if dialect.quotes else _plain_lines(content, dialect)


def end_of_last_row(content: bytes | bytearray, dialect: Dialect) -> int:
    """The offset after the last certainly complete row, including its line end; 0 if there is none."""
    if dialect.quotes and b'"' in content:
        return _rows_pattern(dialect.delimiter).match(content).end()  # type: ignore[union-attr]
    end = content.rfind(b"\n") + 1
    # A \r at the very end may be the first half of \r\n.
    return end or content.rfind(b"\r", 0, max(len(content) - 1, 0)) + 1


def count_line_ends(content: bytes) -> int:
    r"""Counts line ends (\n, \r\n, \r); a \r at the very end counts."""
    return content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")


_LINE = re.compile(rb"([^\r\n]*+)(?:\r\n|\r|\n|\Z)")


def _plain_lines(content: bytes, dialect: Dialect) -> Iterator[Line]:
    delimiter = dialect.delimiter.encode()
    position, number = 0, 0
    while position < len(content):
        match = _LINE.match(content, position)
        assert match is not None
        number += 1
        text = match[1]
        if text:
            fields = tuple(text.split(delimiter))
            yield Line(number, position, match.end(), text, fields, dialect.encoding)
        position = match.end()


def _quoted_lines(content: bytes, dialect: Dialect) -> Iterator[Line]:
    next_field = _field_pattern(dialect.delimiter).match
    position, number = 0, 1
    while position < len(content):
        start, separator = position, dialect.delimiter.encode()
        fields: list[bytes] = []
        while separator == dialect.delimiter.encode():
            match = next_field(content, position)
            if match is None:
                rest = content[start:].rstrip(b"\r\n")
                yield Line(number, start, len(content), rest, tuple(fields), dialect.encoding, is_open=True)
                return
            quoted, plain, separator = match.groups()
            fields.append(plain if quoted is None else quoted.replace(b'""', b'"') + plain)
            position = match.end()
        text = content[start : position - len(separator)]
        if text:
            yield Line(number, start, position, text, tuple(fields), dialect.encoding)
        number += 1 + (count_line_ends(text) if b'"' in text else 0)


# As in Arrow's reader and Python's csv module, a field is quoted if it starts with a quote, and text after
# the closing quote is appended to it unchanged.
def _field(delimiter: str) -> tuple[bytes, bytes]:
    return rb'"([^"]*+(?:""[^"]*+)*+)"|(?!")', rb"[^" + re.escape(delimiter.encode()) + rb"\r\n]*+"


@cache
def _field_pattern(delimiter: str) -> re.Pattern[bytes]:
    quoted, plain = _field(delimiter)
    separator = re.escape(delimiter.encode())
    return re.compile(rb"(?:" + quoted + rb")(" + plain + rb")(" + separator + rb"|\r\n|\r|\n|\Z)")


@cache
def _rows_pattern(delimiter: str) -> re.Pattern[bytes]:
    """Matches as many whole rows as possible; possessive quantifiers prevent backtracking."""
    quoted, plain = _field(delimiter)
    field = rb"(?:" + quoted.replace(b'"([', b'"(?:[', 1) + rb")" + plain
    separator = re.escape(delimiter.encode())
    return re.compile(rb"(?:(?:" + field + separator + rb")*+" + field + rb"(?:\r\n|\n|\r(?!\Z)))*+")
