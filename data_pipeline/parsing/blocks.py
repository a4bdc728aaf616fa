"""Splits a text file, compressed or not, into blocks of whole rows."""

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

# A block has about 350,000 rows of user, item, rating and time. A row longer than the limit is an error, such
# as an unclosed quote, and must not fill the memory.
BLOCK_BYTES = 8 << 20
MAX_ROW_BYTES = 64 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class TextBlock:
    """Whole rows of a file, about `BLOCK_BYTES` long.

    Attributes:
        offset: byte offset in the decompressed text, not counting a byte order mark.
        raw_bytes: bytes of the (compressed) file that were read for this block.
        is_last: the file ends with this block, possibly inside a quoted field.
    """

    content: bytes | bytearray
    offset: int
    raw_bytes: int
    is_last: bool = False


def read_blocks(path: Path, dialect: Dialect, *, start: int = 0, block_bytes: int) -> Iterator[TextBlock]:
    """Yields the rows of a file from byte offset `start`; the last block may end with an open quote.

    Raises:
        UserError: while iterating: decompression fails, or a row is longer than `MAX_ROW_BYTES`.
    """
    with _opened(path) as (text, raw):
        for skipped in range(0, start, BLOCK_BYTES):
            _read(text, min(BLOCK_BYTES, start - skipped), path)
        offset, counted, rest = start, 0, b""
        while True:
            # Filled and truncated in place: copying a block costs as much as reading it.
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
    """The first row, or None in a file without rows."""
    for block in read_blocks(path, dialect, block_bytes=1 << 16):
        line = next(split_lines(block.content, dialect), None)
        if line is not None:
            before = line_number(path, block.offset) - 1
            start, end = line.start + block.offset, line.end + block.offset
            return replace(line, number=line.number + before, start=start, end=end)
    return None


def line_number(path: Path, offset: int) -> int:
    """The number, from 1, of the line at a byte offset; reads the file again up to there."""
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
    """Opens (the decompressed text after a byte order mark, the raw file)."""
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
    """Bytes that were already read, followed by the rest of a file."""

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
    """Fills the buffer as far as the text goes; returns the number of bytes."""
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
