"""An Arrow IPC file of record batches of one length, its checksum computed while it is written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipeline.dataset.columns import SEGMENT_ROWS


class ArrowFile:
    """Writes columns as they come, in record batches of exactly `SEGMENT_ROWS` rows; the last one is shorter.

    Args:
        path: the new file.
        schema: of its columns.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._sink = _Summed(path)
        self._file = pa.PythonFile(self._sink, mode="w")
        self._schema = schema
        self._writer = pa.ipc.new_file(self._file, schema)
        self._waiting: list[pa.RecordBatch] = []
        self._num_waiting = 0
        self.num_rows = 0

    def write(self, columns: dict[str, np.ndarray | pa.Array]) -> None:
        """Takes the next rows."""
        arrays = [pa.array(columns[field.name], field.type) for field in self._schema]
        self._waiting.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._num_waiting += len(arrays[0])
        self.num_rows += len(arrays[0])
        while self._num_waiting >= SEGMENT_ROWS:
            self._write_batch(SEGMENT_ROWS)

    def finish(self) -> dict[str, int | str]:
        """Writes what is left and closes; the file's size and SHA-256."""
        if self._num_waiting:
            self._write_batch(self._num_waiting)
        self._writer.close()
        self._file.close()
        self._sink.close()
        return {"bytes": self._sink.num_bytes, "sha256": self._sink.digest.hexdigest()}

    def close(self) -> None:
        """Closes in any case, after an error too."""
        self._sink.close()

    def _write_batch(self, num_rows: int) -> None:
        whole = pa.Table.from_batches(self._waiting, self._schema)
        self._writer.write_batch(whole.slice(0, num_rows).combine_chunks().to_batches()[0])
        self._waiting = whole.slice(num_rows).to_batches()
        self._num_waiting -= num_rows


def write_table(path: Path, table: pa.Table) -> dict[str, int | str]:
    """Writes a table that is in memory; the file's size and SHA-256."""
    file = ArrowFile(path, table.schema)
    try:
        file.write({name: table[name].combine_chunks() for name in table.column_names})
        return file.finish()
    finally:
        file.close()


class _Summed:
    """What PyArrow writes to: a file that knows its own checksum. hashlib and write let other threads run."""

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
