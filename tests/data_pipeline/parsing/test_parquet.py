"""Parquet: columns of all types; bad rows reported by row number; damaged files refused."""

import datetime
import decimal
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.errors import UserError
from support.reading import read_data

UUIDS = [uuid.UUID(int=7), uuid.UUID(int=2**127), uuid.UUID(int=7)]


def write_parquet(folder, name="r.parquet", row_group_size=2, **columns):
    table = pa.table({"user": [1, 2, 3], "item": [10, 20, 10], "rating": [3.0, 4.5, 1.0]} | columns)
    pq.write_table(table, folder / name, row_group_size=row_group_size)
    return folder / name


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, 2, 3], pa.int8()), [1, 2, 3]),
        (pa.array([1, 2, 3], pa.uint64()), [1, 2, 3]),
        (pa.array([1, 2, 2**64 - 1], pa.uint64()), ["1", "2", str(2**64 - 1)]),
        (pa.array([1.0, 2.0, 3.0]), [1, 2, 3]),
        (pa.array(["7", "8", "7"]), [7, 8, 7]),
        (pa.array(["7", "08", "7"]), ["7", "08", "7"]),
        (pa.array(["a", "b", "a"], pa.large_string()), ["a", "b", "a"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([5, 6, 5]).dictionary_encode(), [5, 6, 5]),
        (pa.array([b"a", b"b", b"a"]), ["a", "b", "a"]),
        (pa.array([each.bytes for each in UUIDS], pa.binary(16)), [str(each) for each in UUIDS]),
        (pa.array([each.bytes for each in UUIDS], pa.uuid()), [str(each) for each in UUIDS]),
        (
            pa.array([b"x" * 16, *(each.bytes for each in UUIDS)], pa.uuid())[1:],
            [str(each) for each in UUIDS],
        ),
        (pa.array([str(each) for each in UUIDS]), [str(each) for each in UUIDS]),
        (
            pa.array([datetime.date(2020, 1, day) for day in (1, 2, 3)]),
            ["2020-01-01", "2020-01-02", "2020-01-03"],
        ),
    ],
)
def test_ids_of_any_type_are_integers_or_strings(tmp_path, column, expected):
    table, _ = read_data(write_parquet(tmp_path, user=column, row_group_size=10))
    assert table["user_id"].to_pylist() == expected
    assert table["item_id"].type == pa.int64()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, -10, 100], pa.int8()),
        pa.array([1, -10, 100], pa.float32()),
        pa.array(["1", "-10", "1e2"]),
        pa.array([decimal.Decimal(1), decimal.Decimal(-10), decimal.Decimal(100)]),
    ],
)
def test_ratings_of_any_type_are_numbers(tmp_path, column):
    table, _ = read_data(write_parquet(tmp_path, rating=column))
    assert table["rating"].to_pylist() == [1.0, -10.0, 100.0]
    assert table["rating"].type == pa.float32()


def test_boolean_ratings_are_0_and_1(tmp_path):
    table, _ = read_data(write_parquet(tmp_path, rating=[True, False, True]))
    assert table["rating"].to_pylist() == [1.0, 0.0, 1.0]


INSTANTS = np.array(
    ["1969-12-31T23:59:58.5", "1970-01-01T00:00:07.999", "2020-02-03T04:05:06"], "datetime64[ms]"
)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Paris"])
def test_times_of_any_unit_are_whole_seconds(tmp_path, unit, zone):
    column = pa.array(INSTANTS).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone), safe=False)
    if zone is not None:
        column = pa.array(INSTANTS.astype(f"datetime64[{unit}]").astype(np.int64)).cast(
            pa.timestamp(unit, zone)
        )
    table, _ = read_data(write_parquet(tmp_path, timestamp=column))
    assert table["timestamp"].to_pylist() == np.floor(INSTANTS.astype(np.int64) / 1000).astype(int).tolist()


def test_dates_become_seconds(tmp_path):
    days = pa.array([datetime.date(1970, 1, 2), datetime.date(1969, 12, 31), datetime.date(1970, 1, 1)])
    assert read_data(write_parquet(tmp_path, timestamp=days))[0]["timestamp"].to_pylist() == [
        86400,
        -86400,
        0,
    ]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ({"user": [[1], [2], [3]]}, "user_id cannot be of the type list<"),
        ({"rating": [[1.0], [2.0], [3.0]]}, "rating cannot be of the type list<"),
        ({"rating": [datetime.date(2020, 1, 1)] * 3}, "rating cannot be of the type date32"),
        ({"timestamp": [datetime.timedelta(1)] * 3}, "timestamp cannot be of the type duration"),
    ],
)
def test_unusable_column_types_are_refused(tmp_path, column, kind):
    path = write_parquet(tmp_path, **column)
    for bad_rows in ("error", "drop"):
        with pytest.raises(UserError) as caught:
            read_data(path, bad_rows=bad_rows)
        assert str(caught.value).startswith(f"{path}: {kind}")


@pytest.mark.parametrize("rows_per_batch", [1, 2, 100])
def test_a_bad_row_is_reported_by_its_number_and_can_be_dropped(tmp_path, monkeypatch, rows_per_batch):
    monkeypatch.setattr("data_pipeline.parsing.parquet.ROWS_PER_BATCH", rows_per_batch)
    path = write_parquet(tmp_path, user=["a", "b", None], rating=[1.0, float("nan"), 2.0])
    with pytest.raises(UserError) as caught:
        read_data(path)
    assert str(caught.value) == f"{path}: row 1: rating must be a finite number, got nan"
    table, report = read_data(path, bad_rows="drop")
    assert table["user_id"].to_pylist() == ["a"]
    assert report.dropped_rows == 2
    assert report.first_dropped[1] == f"{path}: row 2: user_id must not be empty, got None"


def test_many_parquet_files_are_read_in_order(tmp_path):
    for name, user in (("b", 4), ("a", 1), ("c", 7)):
        write_parquet(tmp_path, f"{name}.parquet", user=[user, user + 1, user + 2])
    table, report = read_data(tmp_path)
    assert table["user_id"].to_pylist() == list(range(1, 10))
    assert report.bytes_read == report.total_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_columns_of_a_parquet_file_can_be_named(tmp_path):
    path = write_parquet(tmp_path, stars=[5, 4, 3], rated=[1, 2, 3])
    table, _ = read_data(path, columns="rating=stars,timestamp=rated")
    assert table["rating"].to_pylist() == [5.0, 4.0, 3.0]
    assert table["timestamp"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-5], lambda c: c[:30], lambda _: b"PAR1", lambda c: c[:9] + c[99:]]
)
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = write_parquet(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        read_data(path, bad_rows="drop")
    assert str(caught.value).startswith(f"{path}: not readable as Parquet: ")


def test_a_missing_uuid_is_a_bad_row(tmp_path):
    path = write_parquet(tmp_path, user=pa.array([UUIDS[0].bytes, None, UUIDS[1].bytes], pa.uuid()))
    table, report = read_data(path, bad_rows="drop")
    assert table["user_id"].to_pylist() == [str(each) for each in UUIDS[:2]]
    assert report.first_dropped == [f"{path}: row 1: user_id must not be empty, got None"]
