"""Reading whatever a test wrote, whole."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.sources.open_source import open_source


def write(folder, content, name="ratings.csv"):
    """The path of a new file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def one_table(batches: list[pa.RecordBatch]) -> pa.Table:
    """The batches below each other; ids that one of them has as strings are strings."""
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
    """All ratings of a source; ids that one of its batches has as strings are strings."""
    return one_table(list(source.batches(ReadReport())))


def read_data(data, **settings) -> tuple[pa.Table, ReadReport]:
    """All of DATA's ratings, and the report."""
    report = ReadReport()
    table = one_table(list(open_source(data, DataConfig(**settings)).batches(report)))
    assert len(table) == report.rows
    assert table.num_columns == len(set(table.column_names))
    assert all(column.null_count == 0 for column in table.columns)
    return table, report


def read(folder, content, name="ratings.csv", **settings) -> pa.Table:
    """The ratings in a file of this content."""
    return read_data(write(folder, content, name), **settings)[0]


def refusal(folder, content, name="ratings.csv", **settings) -> str:
    """The error's text without the file's folder."""
    with pytest.raises(UserError) as caught:
        read(folder, content, name, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")
