"""Writes a table to a file in pieces; the file appears when it is complete."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from data_pipeline.errors import UserError, shown
from data_pipeline.files import replaced_file

FORMATS = ".parquet, .csv, .csv.gz, .jsonl or .jsonl.gz"

Write = Callable[[pa.Table], None]


def table_format(path: Path) -> str:
    """The format that a path's suffix names: `parquet`, `csv` or `jsonl`, without `.gz`.

    Raises:
        UserError: another suffix, no such folder, or `path` is a folder.
    """
    name = path.name.lower()
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind not in ("parquet", "csv", "jsonl") or name.endswith(".parquet.gz") or "." not in name:
        raise UserError(f"the output file must end in {FORMATS}, got {shown(path.name)}")
    if not path.parent.is_dir():
        raise UserError(f"the output's folder must exist, got {path.parent}")
    if path.is_dir():
        raise UserError(f"the output must be a file, got the folder {path}")
    return kind


@contextlib.contextmanager
def table_file(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Yields a function that appends a table of `schema`; `path` is replaced when the block ends.

    If the block raises, or the process is killed, `path` is as it was.

    Raises:
        UserError: as `table_format`.
        OSError: the file cannot be written, such as on a full disk; it names `path`.
    """
    kind = table_format(path)
    try:
        with replaced_file(path) as partial, contextlib.ExitStack() as stack:
            file: Any = stack.enter_context(partial.open("wb"))
            if path.name.lower().endswith(".gz"):
                # Without name and time in the header: the same table gives the same bytes.
                packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
                file = stack.enter_context(packed)
            if kind == "parquet":
                yield stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd")).write_table
            elif kind == "csv":
                yield stack.enter_context(pa.csv.CSVWriter(file, schema)).write_table
            else:
                yield lambda table: _write_json_lines(file, table)
    except OSError as error:
        # Arrow's errors name no file.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _write_json_lines(file: BinaryIO, table: pa.Table) -> None:
    for row in table.to_pylist():
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
