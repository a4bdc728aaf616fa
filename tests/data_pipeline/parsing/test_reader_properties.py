"""Property tests: any rows, split into blocks of any size, are read as the csv module reads them."""

import csv
import io
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.parsing import blocks
from support.odd_files import FORMATS, IDS, NUMBERS
from support.reader_fuzz import compare
from support.reading import write
from support.slow_reader import expect

any_text = st.text(st.characters(codec="utf-8"), max_size=6)
ids = (
    st.sampled_from(["1", "2", "30"])
    | st.integers().map(str)
    | st.uuids().map(str)
    | st.sampled_from(IDS)
    | any_text
)
numbers = (
    st.floats(allow_nan=True).map(str)
    | st.integers(-(2**65), 2**65).map(str)
    | st.sampled_from(["1", "4.5"])
    | st.sampled_from(NUMBERS)
)
dates = st.datetimes(datetime(900, 1, 1), datetime(3100, 1, 1))
times = st.tuples(
    dates.map(lambda time: str(time.date()))
    | dates.map(lambda time: time.isoformat(" "))
    | dates.map(lambda time: time.isoformat(timespec="minutes"))
    | dates.map(lambda time: time.isoformat(timespec="milliseconds"))
    | st.sampled_from(["2024-02-30", "2024-13-01", "2024-05-01T24:00", "2024-05-01 10:00:60", "2024-5-1"]),
    st.sampled_from(["", "", "Z", "+02:00", "-0330", "+24:00", " ", "x"]),
).map("".join)
rows = st.lists(st.tuples(ids, ids, numbers, numbers | times), max_size=12)
good_times = dates.map(lambda time: time.replace(year=max(1000, time.year % 3000)).isoformat())
good_ids = st.integers(-(2**63), 2**63 - 1).map(str)
good_rows = st.lists(st.tuples(good_ids, good_ids, st.sampled_from(["1", "-4.5"]), good_ids), min_size=1)
timed_rows = st.tuples(st.lists(st.tuples(good_ids, good_times), min_size=1), st.sampled_from(["", "Z"])).map(
    lambda drawn: [(row_id, row_id, "3", time + drawn[1]) for row_id, time in drawn[0]]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("properties")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@given(
    rows=rows | good_rows | timed_rows,
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    block_bytes=st.integers(1, 200),
    last_line_end=st.booleans(),
)
@settings(max_examples=150)
def test_rows_equal_those_of_the_csv_module(
    folder, name, rows, line_end, quoting, block_bytes, last_line_end
):
    delimiter, quotes, has_header = FORMATS[name]
    if quotes:
        sink = io.StringIO(newline="")
        writer = csv.writer(sink, delimiter=delimiter or ",", lineterminator=line_end, quoting=quoting)
        writer.writerows([["user_id", "item_id", "rating", "timestamp"], *rows])
        text = sink.getvalue()
    else:
        text = "".join(delimiter.join(row) + line_end for row in rows)
    content = text.encode() if last_line_end else text.encode().removesuffix(line_end.encode())
    expected = expect(content, delimiter=delimiter, quotes=quotes, has_header=has_header)
    expected.refused |= not content
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        chosen = {"u.data": "ml-100k", "ratings.dat": "ml-1m"}.get(name, "auto")
        compare(write(folder, content, name), expected, {"format": chosen})


@pytest.mark.slow
@given(st.lists(st.one_of(ids, good_ids), min_size=1, max_size=30), st.integers(1, 100))
def test_the_type_of_ids_does_not_depend_on_the_block_size(folder, column, block_bytes):
    sink = io.StringIO(newline="")
    csv.writer(sink).writerows([["user_id", "item_id", "rating"], *([each, "1", "3"] for each in column)])
    content = sink.getvalue().encode()
    expected = expect(content, delimiter=",", quotes=True, has_header=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        compare(write(folder, content, "ids.csv"), expected, {})
