"""The rows of delimited text, one by one: slow, for a header, for bad rows, and for small files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

# A line of an error message shows so many characters of a row.
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Dialect:
    r"""How rows are written. Lines end with \n, \r\n or \r; empty ones are no rows.

    Attributes:
        delimiter: between fields, `,` or `::`.
        quotes: whether a field may stand in double quotes, which then are doubled inside and may hold
            delimiters and line ends.
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
    """One row as it is written.

    Attributes:
        number: its first line, from 1, in what it was read from.
        start, end: where its bytes are; the end is behind the line end.
        content: its bytes without the line end.
        is_open: a quoted field that began here has no end.
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
        """Raises UnicodeDecodeError where they are not of the encoding."""
        return [field.decode(self.encoding) for field in self.raw_fields]

    @property
    def shown(self) -> str:
        """The text as one line of an error message."""
        text = self.content[: 4 * _SHOWN_CHARACTERS + 4].decode(self.encoding, errors="backslashreplace")
        return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")

    @property
    def shown_bytes(self) -> str:
        """The same for what is not of the encoding."""
        return repr(self.content[:_SHOWN_CHARACTERS])[1:]


def split_lines(content: bytes | bytearray, dialect: Dialect) -> Iterator[Line]:
    """The rows of whole lines, the last of which may lack its line end."""
    content = bytes(content)
    return _quoted_lines(content, dialect) if dialect.quotes else _plain_lines(content, dialect)


def end_of_last_row(content: bytes | bytearray, dialect: Dialect) -> int:
    """Where the last row that surely ends in the content ends, behind its line end; 0 where none does."""
    if dialect.quotes and b'"' in content:
        return _rows_pattern(dialect.delimiter).match(content).end()  # type: ignore[union-attr]
    end = content.rfind(b"\n") + 1
    # What comes after a last \r may be the \n that belongs to it.
    return end or content.rfind(b"\r", 0, max(len(content) - 1, 0)) + 1


def count_line_ends(content: bytes) -> int:
    r"""Line ends of all three kinds; a \r at the very end counts."""
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


# A field is in quotes if it begins with one, as Arrow's reader and Python's csv module have it: what follows
# the closing quote belongs to it as it is.
def _field(delimiter: str) -> tuple[bytes, bytes]:
    return rb'"([^"]*+(?:""[^"]*+)*+)"|(?!")', rb"[^" + re.escape(delimiter.encode()) + rb"\r\n]*+"


@cache
def _field_pattern(delimiter: str) -> re.Pattern[bytes]:
    quoted, plain = _field(delimiter)
    separator = re.escape(delimiter.encode())
    return re.compile(rb"(?:" + quoted + rb")(" + plain + rb")(" + separator + rb"|\r\n|\r|\n|\Z)")


@cache
def _rows_pattern(delimiter: str) -> re.Pattern[bytes]:
    """As many whole rows as there are; possessive, so that it never goes back."""
    quoted, plain = _field(delimiter)
    field = rb"(?:" + quoted.replace(b'"([', b'"(?:[', 1) + rb")" + plain
    separator = re.escape(delimiter.encode())
    return re.compile(rb"(?:(?:" + field + separator + rb")*+" + field + rb"(?:\r\n|\n|\r(?!\Z)))*+")
