"""Writes files for tests and reads all of their ratings."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.sources.open_source import open_source


def write(folder, content, name="ratings.csv"):
    """Writes a new file; returns its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def one_table(batches: list[pa.RecordBatch]) -> pa.Table:
    """Concatenates batches; an id column becomes string if any batch has it as string."""
    schema = batches[0].schema
    for batch in batches:
        for position, column in enumerate(batch.schema):
            if column.name in ("user_id", "item_id") and pa.types.is_string(column.type):
                schema = schema.set(position, column)
    return pa.Table.from_batches(
        [
            pa.RecordBatch.from_arrays(
                [pc.cast(column, field.type) for column, field in zip(batch.columns, schema, strict=True)],
                schema=schema,
            )
            for batch in batches
        ]
    )


def table_of(source) -> pa.Table:
    """All ratings of a source in one table."""
    return one_table(list(source.batches(ReadReport())))


def read_data(data, **settings) -> tuple[pa.Table, ReadReport]:
    """(all ratings of DATA, the report)."""
    report = ReadReport()
    table = one_table(list(open_source(data, DataConfig(**settings)).batches(report)))
    assert len(table) == report.rows
    assert table.num_columns == len(set(table.column_names))
    assert all(column.null_count == 0 for column in table.columns)
    return table, report


def read(folder, content, name="ratings.csv", **settings) -> pa.Table:
    """Writes a file with this content and reads its ratings."""
    return read_data(write(folder, content, name), **settings)[0]


def refusal(folder, content, name="ratings.csv", **settings) -> str:
    """The error message for a file with this content, without the folder name."""
    with pytest.raises(UserError) as caught:
        read(folder, content, name, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")
