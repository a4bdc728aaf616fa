"""A text file, compressed or not, as blocks of whole rows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pyarrow as pa

from data_pipeline.errors import UserError
from data_pipeline.parsing.lines import Dialect, Line, count_line_ends, end_of_last_row, split_lines

# About 350,000 rows of user, item, rating and time. A row longer than the limit is a mistake, such as a quote
# that is never closed, and must not fill the memory.
BLOCK_BYTES = 8 << 20
MAX_ROW_BYTES = 64 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class TextBlock:
    """Whole rows of a file, about `BLOCK_BYTES` of them.

    Attributes:
        offset: where they begin in the file's text, a byte order mark not counted.
        raw_bytes: how many bytes of the file, compressed as it is, were read for it.
        is_last: the file ends with it, maybe within a quoted field.
    """

    content: bytes | bytearray
    offset: int
    raw_bytes: int
    is_last: bool = False


def read_blocks(path: Path, dialect: Dialect, *, start: int = 0, block_bytes: int) -> Iterator[TextBlock]:
    """The file's rows from an offset on; the last block may end with an open quote.

    Raises:
        UserError: while iterating: not decompressible, or a row longer than `MAX_ROW_BYTES`.
    """
    with _opened(path) as (text, raw):
        for skipped in range(0, start, BLOCK_BYTES):
            _read(text, min(BLOCK_BYTES, start - skipped), path)
        offset, counted, rest = start, 0, b""
        while True:
            # Filled and cut in place: blocks are large, and copies of them cost as much as reading.
            content = bytearray(len(rest) + max(block_bytes, len(rest)))
            content[: len(rest)] = rest
            num_read = _read_into(text, memoryview(content)[len(rest) :], path)
            del content[len(rest) + num_read :]
            end = end_of_last_row(content, dialect) if num_read else len(content)
            rest = bytes(memoryview(content)[end:])
            if end:
                del content[end:]
                raw_bytes = raw.tell() - counted
                yield TextBlock(content, offset, raw_bytes, is_last=not num_read)
                counted += raw_bytes
            if not num_read:
                return
            offset += end
            if len(rest) > MAX_ROW_BYTES:
                line = line_number(path, offset)
                shown = repr(rest[:100])[1:]
                raise UserError(f"{path}:{line}: a row must end within {MAX_ROW_BYTES} bytes, got {shown}")


def first_line(path: Path, dialect: Dialect) -> Line | None:
    """The first row; None where there is none."""
    for block in read_blocks(path, dialect, block_bytes=1 << 16):
        line = next(split_lines(block.content, dialect), None)
        if line is not None:
            before = line_number(path, block.offset) - 1
            start, end = line.start + block.offset, line.end + block.offset
            return replace(line, number=line.number + before, start=start, end=end)
    return None


def line_number(path: Path, offset: int) -> int:
    """The number, from 1, of the line that begins at an offset; reads the file up to there again."""
    number, last = 1, b""
    with _opened(path) as (text, _):
        while offset > 0:
            content = _read(text, min(BLOCK_BYTES, offset), path)
            if not content:
                break
            offset -= len(content)
            number += count_line_ends(content) - (last + content[:1] == b"\r\n")
            last = content[-1:]
    return number


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """(the text behind a byte order mark, the file itself)."""
    with path.open("rb", buffering=0) as raw:
        head = raw.read(4)
        raw.seek(0)
        compression = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
        text: IO[bytes] = raw if compression is None else _decompressed(raw, compression)
        head = _read(text, len(BYTE_ORDER_MARK), path)
        if head != BYTE_ORDER_MARK:
            text = _Chained(head, text)  # type: ignore[assignment]
        yield text, raw


def _decompressed(raw: IO[bytes], compression: str) -> IO[bytes]:
    return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)


class _Chained(io.RawIOBase):
    """Bytes that were read already, and the rest."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        head, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        buffer[: len(head)] = head
        return len(head) + self._rest.readinto(buffer[len(head) :])  # type: ignore[attr-defined]


def _read(text: IO[bytes], num_bytes: int, path: Path) -> bytes:
    content = bytearray(num_bytes)
    return bytes(content[: _read_into(text, memoryview(content), path)])


def _read_into(text: IO[bytes], buffer: memoryview, path: Path) -> int:
    """Fills the buffer, or less at the end of the text; returns how much."""
    total = 0
    try:
        while total < len(buffer) and (num_read := text.readinto(buffer[total:])):  # type: ignore[attr-defined]
            total += num_read
        return total
    except pa.ArrowException as error:
        raise UserError(f"{path}: not readable: {error}") from error
    except OSError as error:
        if error.errno:
            raise
        raise UserError(f"{path}: not readable: {error}") from error
