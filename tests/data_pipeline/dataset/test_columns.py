"""`Columns` returns the values of the file for any segmentation and reads only the requested rows."""

import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.dataset.columns import Columns
from data_pipeline.errors import UserError


def table_of(num_rows, *, with_weight):
    rng = np.random.default_rng(num_rows)
    columns = {
        "user_id": pa.array([f"user {row}" for row in range(num_rows)]),
        "user_index": rng.integers(0, 99, num_rows, dtype=np.int32),
        "rating": rng.random(num_rows, dtype=np.float32),
        "item_index": rng.integers(0, 99, num_rows, dtype=np.int32),
    }
    if with_weight:
        columns["weight"] = rng.random(num_rows, dtype=np.float32)
    return pa.table(columns)


def write(path, table, segment_rows):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=segment_rows)


@settings(max_examples=30)
@given(st.integers(0, 60), st.integers(1, 25), st.booleans(), st.data())
def test_any_slice_of_any_column_equals_that_of_the_table(
    tmp_path_factory, num_rows, segment_rows, with_weight, data
):
    table = table_of(num_rows, with_weight=with_weight)
    path = tmp_path_factory.mktemp("columns") / "train.arrow"
    write(path, table, segment_rows)
    columns = Columns.open(path)
    assert len(columns) == num_rows
    assert [len(s) for s in columns.segments if len(s)] == [
        min(segment_rows, num_rows - begin) for begin in range(0, num_rows, segment_rows)
    ]
    first = data.draw(st.integers(0, num_rows))
    last = data.draw(st.integers(first, num_rows))
    in_memory = Columns.from_arrays(
        **{name: table[name].to_numpy() for name in table.column_names if name != "user_id"}
    )
    for name in ("user_index", "item_index", "rating", *(["weight"] if with_weight else [])):
        expected = table[name].to_numpy()
        for read_from in (columns, in_memory):
            piece = np.full(last - first, -1, expected.dtype)
            read_from.read(name, first, piece)
            np.testing.assert_array_equal(piece, expected[first:last])
            whole = getattr(read_from, name)
            assert whole.dtype == expected.dtype
            np.testing.assert_array_equal(whole, expected)
    assert (columns.weight is not None) == (with_weight and num_rows > 0)


def test_one_segment_is_a_view_of_the_file(tmp_path):
    write(tmp_path / "train.arrow", table_of(1000, with_weight=True), 1000)
    before = pa.total_allocated_bytes()
    columns = Columns.open(tmp_path / "train.arrow")
    arrays = [columns.user_index, columns.item_index, columns.rating, columns.weight]
    assert not any(a.flags.owndata or a.flags.writeable for a in arrays)
    assert pa.total_allocated_bytes() == before


def test_a_read_that_the_system_answers_in_parts_is_completed(tmp_path, monkeypatch):
    # Linux does this for reads beyond 2 GB.
    table = table_of(1000, with_weight=False)
    write(tmp_path / "train.arrow", table, 300)
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:100]], offset))
    out = np.empty(900, np.float32)
    Columns.open(tmp_path / "train.arrow").read("rating", 50, out)
    np.testing.assert_array_equal(out, table["rating"].to_numpy()[50:950])


def test_a_file_truncated_after_opening_raises_an_exception_not_a_signal(tmp_path):
    path = tmp_path / "train.arrow"
    write(path, table_of(100_000, with_weight=False), 100_000)
    columns = Columns.open(path)
    with path.open("r+b") as file:
        file.truncate(4096)
    with pytest.raises(OSError, match=r"train\.arrow: ended at byte"):
        columns.read("rating", 99_000, np.empty(1000, np.float32))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([1.0, 2.0]), "rating must be float32, got float64"),
        (pa.array([1, None], pa.float32()), "must have no nulls"),
    ],
)
def test_columns_that_cannot_be_mapped_are_an_error_in_one_line(tmp_path, values, message):
    indices = np.array([1, 2], np.int32)
    table = pa.table({"user_index": indices, "item_index": indices, "rating": values})
    write(tmp_path / "train.arrow", table, 10)
    with pytest.raises(UserError, match=message) as error:
        Columns.open(tmp_path / "train.arrow")
    assert "\n" not in str(error.value)


def test_a_missing_column_is_an_error_that_names_the_present_ones(tmp_path):
    write(tmp_path / "train.arrow", table_of(10, with_weight=False).drop_columns("rating"), 10)
    with pytest.raises(
        UserError, match="must have the columns item_index, rating, user_index, got user_id, "
    ):
        Columns.open(tmp_path / "train.arrow")


@pytest.mark.parametrize("segment_rows", [20, 7])
def test_an_index_out_of_range_is_refused_also_after_only(tmp_path, segment_rows):
    table = table_of(20, with_weight=False)
    write(tmp_path / "train.arrow", table, segment_rows)
    most = max(table["item_index"].to_pylist())
    known = {"user_index": 99, "item_index": most}
    columns = Columns.open(tmp_path / "train.arrow", num_indices=known)
    for some in (columns, columns.only("item_index")):
        with pytest.raises(UserError, match=f"item_index must be within 0 and {most - 1}, got {most}"):
            _ = some.item_index
