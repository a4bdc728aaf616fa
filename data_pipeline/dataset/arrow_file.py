"""Writes an Arrow IPC file with record batches of equal length and computes its checksum on the way."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipeline.dataset.columns import SEGMENT_ROWS


class ArrowFile:
    """Buffers rows and writes them in record batches of exactly `SEGMENT_ROWS` rows; the last may be shorter.

    Args:
        path: must not exist.
        schema: the columns and their types.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._sink = _HashingFile(path)
        self._file = pa.PythonFile(self._sink, mode="w")
        self._schema = schema
        self._writer = pa.ipc.new_file(self._file, schema)
        self._buffered: list[pa.RecordBatch] = []
        self._num_buffered = 0
        self.num_rows = 0

    def write(self, columns: dict[str, np.ndarray | pa.Array]) -> None:
        """Appends rows, given column by column."""
        arrays = [pa.array(columns[field.name], field.type) for field in self._schema]
        self._buffered.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._num_buffered += len(arrays[0])
        self.num_rows += len(arrays[0])
        while self._num_buffered >= SEGMENT_ROWS:
            self._write_batch(SEGMENT_ROWS)

    def finish(self) -> dict[str, int | str]:
        """Writes the remaining rows and closes the file; returns its size and SHA-256."""
        if self._num_buffered:
            self._write_batch(self._num_buffered)
        self._writer.close()
        self._file.close()
        self._sink.close()
        return {"bytes": self._sink.num_bytes, "sha256": self._sink.digest.hexdigest()}

    def close(self) -> None:
        """Closes the file without completing it; does nothing after `finish`."""
        self._sink.close()

    def _write_batch(self, num_rows: int) -> None:
        table = pa.Table.from_batches(self._buffered, self._schema)
        self._writer.write_batch(table.slice(0, num_rows).combine_chunks().to_batches()[0])
        self._buffered = table.slice(num_rows).to_batches()
        self._num_buffered -= num_rows


def write_table(path: Path, table: pa.Table) -> dict[str, int | str]:
    """Writes an in-memory table; returns the file's size and SHA-256."""
    file = ArrowFile(path, table.schema)
    try:
        file.write({name: table[name].combine_chunks() for name in table.column_names})
        return file.finish()
    finally:
        file.close()


class _HashingFile:
    """A file object for PyArrow that hashes what it writes. Hashing and writing both release the GIL."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self.digest = hashlib.sha256()
        self.num_bytes = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]
        self.num_bytes += len(content)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._file.close()
