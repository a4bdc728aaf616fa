"""Any number of files, compression and header give the same ratings; column names; dropping bad rows."""

import gzip
import re
import tracemalloc

import pandas as pd
import pyarrow as pa
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.parsing import blocks
from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.sources.open_source import open_source
from support.reading import read, read_data, refusal, write

CSV = "user_id,item_id,rating,timestamp\n1,10,3,100\n2,20,4.5,200\n3,10,1,300\n"
ROWS = {
    "user_id": [1, 2, 3],
    "item_id": [10, 20, 10],
    "rating": [3.0, 4.5, 1.0],
    "timestamp": [100, 200, 300],
}


def zstd(content):
    return pa.Codec("zstd").compress(content, asbytes=True)


def parts_of(text, num_parts=3):
    """Distributes the rows over a number of files, each with the header."""
    header, *rows = text.splitlines(keepends=True)
    return [header + "".join(rows[part::num_parts]) for part in range(num_parts)]


NO_HEADER = CSV.split("\n", 1)[1]
SAME_RATINGS = {  # case: (file name, content)
    "csv": ("r.csv", CSV.encode()),
    "capital-suffix": ("r.CSV", CSV.encode()),
    "gzip": ("r.csv.gz", gzip.compress(CSV.encode())),
    "two-gzip-members": ("r.csv.gz", gzip.compress(CSV[:40].encode()) + gzip.compress(CSV[40:].encode())),
    "zstd": ("r.csv.zst", zstd(CSV.encode())),
    "gzip-without-suffix": ("r.csv", gzip.compress(CSV.encode())),
    "tsv": ("r.tsv", CSV.replace(",", "\t").encode()),
    "tsv-zstd": ("r.tsv.zst", zstd(CSV.replace(",", "\t").encode())),
    "semicolons": ("r.csv", CSV.replace(",", ";").encode()),
    "bars": ("r.csv", CSV.replace(",", "|").encode()),
    "tabs-in-csv": ("r.csv", CSV.replace(",", "\t").encode()),
    "gzip-bom-crlf": ("r.csv.gz", gzip.compress(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())),
    "ml-100k": ("u.data", NO_HEADER.replace(",", "\t").encode()),
    "ml-100k-gzip": ("u.data.gz", gzip.compress(NO_HEADER.replace(",", "\t").encode())),
    "ml-1m": ("ratings.dat", NO_HEADER.replace(",", "::").encode()),
    "ml-1m-of-any-name": ("anything", NO_HEADER.replace(",", "::").encode()),
}


# Explicit test ids: gzip content includes the time, so ids made of it would differ between xdist workers.
@pytest.mark.parametrize(("name", "content"), SAME_RATINGS.values(), ids=SAME_RATINGS)
def test_these_files_hold_the_same_ratings(tmp_path, name, content):
    table, report = read_data(write(tmp_path, content, name))
    assert table.to_pydict() == ROWS
    assert report == ReadReport(total_bytes=len(content), bytes_read=len(content), rows=3)


def test_a_parquet_file_is_detected_by_its_first_bytes(tmp_path):
    pd.DataFrame(ROWS).to_parquet(tmp_path / "anything")
    assert read_data(tmp_path / "anything")[0].to_pydict() == ROWS


@pytest.mark.parametrize("wanted", [".", "part-*.csv*", "**/part-*"])
def test_many_files_are_concatenated_in_the_order_of_their_names(tmp_path, wanted):
    one, two, three = parts_of(CSV)
    write(tmp_path / "data", two, "part-2.csv")
    write(tmp_path / "data", gzip.compress(one.encode()), "part-1.csv.gz")
    write(tmp_path / "data", zstd(three.encode()), "part-3.csv.zst")
    for name in ("_SUCCESS", ".part-1.csv.crc", "README.md"):
        write(tmp_path / "data", "no ratings", name)
    source = open_source(f"{tmp_path}/data/{wanted}", DataConfig())
    assert [path.name for path in source.files] == ["part-1.csv.gz", "part-2.csv", "part-3.csv.zst"]
    assert source.described.endswith(": 3 files")
    assert source.name == "data"
    assert read_data(f"{tmp_path}/data/{wanted}")[0].to_pydict() == ROWS


def test_files_without_a_suffix_are_read_in_the_given_format(tmp_path):
    for number, part in enumerate(parts_of(CSV)):
        write(tmp_path / "data", part, f"part-{number}")
    assert read_data(tmp_path / "data", format="csv")[0].to_pydict() == ROWS


def test_files_of_different_formats_or_columns_are_refused(tmp_path):
    write(tmp_path / "data", CSV, "a.csv")
    write(tmp_path / "data", CSV.replace(",", "\t"), "b.tsv")
    with pytest.raises(
        UserError, match=r"all files must have the same format, got .*a.csv \(csv\) and .*b.tsv \(tsv\)"
    ):
        read_data(tmp_path / "data")
    (tmp_path / "data/b.tsv").unlink()
    write(tmp_path / "data", "user_id,item_id,rating\n1,2,3\n", "b.csv")
    with pytest.raises(
        UserError, match=r"must have the same columns, got .*'timestamp'\] in .*a.csv and .* in .*b.csv"
    ):
        read_data(tmp_path / "data")


def test_one_file_with_string_ids_makes_all_ids_strings(tmp_path):
    write(tmp_path / "data", "user,item,rating\n1,2,3\n", "a.csv")
    write(tmp_path / "data", "user,item,rating\n07,2,3\n", "b.csv")
    table, _ = read_data(tmp_path / "data")
    assert table["user_id"].to_pylist() == ["1", "07"]
    assert table["item_id"].to_pylist() == [2, 2]


def test_the_fingerprint_covers_all_files_and_their_names(tmp_path):
    def fingerprint():
        return open_source(tmp_path / "data", DataConfig()).fingerprint

    for number, part in enumerate(parts_of(CSV)):
        write(tmp_path / "data", part, f"{number}.csv")
    was = fingerprint()
    assert fingerprint() == was
    write(tmp_path / "data", parts_of(CSV)[2].replace("300", "301"), "2.csv")
    assert fingerprint() != was
    write(tmp_path / "data", parts_of(CSV)[2], "2.csv")
    assert fingerprint() == was
    (tmp_path / "data/2.csv").rename(tmp_path / "data/3.csv")
    assert fingerprint() != was


OTHER_NAMES = "when,Who,what is it,stars,how much\n100,1,10,3,1\n200,2,20,4.5,0\n300,3,10,1,2.5\n"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("user=Who,item=what is it,rating=stars", {"timestamp": None, "weight": None}),
        ("user = who , item_id=WHAT IS IT,rating=stars,timestamp=when", {"weight": None}),
        ("user=Who,item=what is it,rating=stars,timestamp=when,weight=how much", {"weight": [1.0, 0.0, 2.5]}),
        ("user=Who,item=what is it,rating=none", {"rating": [1.0] * 3, "timestamp": None, "weight": None}),
    ],
)
def test_columns_are_read_by_their_given_names(tmp_path, columns, expected):
    table = read(tmp_path, OTHER_NAMES, columns=columns)
    wanted = {name: column for name, column in (ROWS | expected).items() if column is not None}
    assert table.to_pydict() == wanted
    frame = pd.read_csv(tmp_path / "ratings.csv")
    assert read_data(frame, columns=columns)[0].to_pydict() == wanted


def test_columns_by_position_mean_that_there_is_no_header_line(tmp_path):
    rows = OTHER_NAMES.split("\n", 1)[1]
    table = read(tmp_path, rows, columns="timestamp=1,user=2,item=3,rating=4")
    assert table.to_pydict() == ROWS
    assert read(tmp_path, rows, columns="user=2,item=3,rating=none").num_rows == 3
    swapped = read(tmp_path, "10\t1\t3\t100\n", "u.data", columns="user=2,item=1,rating=3,timestamp=4")
    assert swapped.to_pydict() == {"user_id": [1], "item_id": [10], "rating": [3.0], "timestamp": [100]}


def test_a_rating_column_that_is_left_out_is_not_read(tmp_path):
    assert (
        read(tmp_path, CSV.replace("4.5", "good"), columns="rating=none")["rating"].to_pylist() == [1.0] * 3
    )
    dat = read(tmp_path, "1::2::x::y\n", "ratings.dat", columns="rating=none,timestamp=none")
    assert dat.to_pydict() == {"user_id": [1], "item_id": [2], "rating": [1.0]}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            "user",
            "data.columns takes user=COLUMN, item=COLUMN, rating=COLUMN, timestamp=COLUMN, weight=COL",
        ),
        ("person=a", "data.columns takes user=COLUMN, item=COLUMN, "),
        ("user=a,user_id=b", "data.columns must name user_id once, got 'user=a,user_id=b'"),
        ("user=none", "data.columns: user and item cannot be none, got 'user=none'"),
        (
            "user=who",
            "ratings.csv:1: the header needs the column 'who' that data.columns names, got ['user_id', ",
        ),
        ("user=item_id", "ratings.csv:1: user_id and item_id must be different columns, got one"),
        ("user=1,item=2", "ratings.csv:1: data.columns with positions needs rating=POSITION, got none"),
        ("user=1,item=2,rating=5", "ratings.csv:1: the position of rating must be within 1 and 4, got 5"),
        ("user=1,item=1,rating=3", "ratings.csv:1: user_id and item_id must be different columns, got one"),
    ],
)
def test_impossible_columns_are_refused(tmp_path, columns, expected):
    assert refusal(tmp_path, CSV, columns=columns).startswith(expected)


def test_a_missing_rating_column_is_refused_with_a_hint_at_implicit_ratings(tmp_path):
    message = refusal(tmp_path, "user,item\n1,2\n")
    hint = "or give columns=\"rating=COLUMN\" (rating=none: every row is a rating of 1), got ['user', 'item']"
    assert message == f"ratings.csv:1: the header needs a column named rating, {hint}"


BAD = "user_id,item_id,rating\n1,1,1\n,2,2\n3,3\n4,4,4\n5,5,x\n\n6,6,6\n7,7,7,7\n8,\0,8\n9,9,inf\n10,10,10\n"
BAD_LINES = [3, 4, 6, 9, 10, 11]


@pytest.mark.parametrize("block_bytes", [1, 30, 1 << 20])
def test_dropped_rows_are_counted_and_the_first_ones_described(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
    path = write(tmp_path, BAD)
    table, report = read_data(path, bad_rows="drop")
    assert table["user_id"].to_pylist() == table["rating"].to_pylist() == [1, 4, 6, 10]
    assert (report.rows, report.dropped_rows) == (4, 6)
    assert [int(re.match(rf"{path}:([0-9]+): ", text)[1]) for text in report.first_dropped] == BAD_LINES[:5]
    assert report.first_dropped[0] == f"{path}:3: user_id must not be empty, got '': ',2,2'"
    assert refusal(tmp_path, BAD) == "ratings.csv:3: user_id must not be empty, got '': ',2,2'"


def test_a_file_with_only_bad_rows_is_refused(tmp_path):
    message = refusal(tmp_path, "user_id,item_id,rating\n1,1,x\n", bad_rows="drop")
    assert message.startswith(
        "ratings.csv: a ratings file needs rows, got none, 1 dropped, the first: ratings.csv:2: "
    )


def test_an_unclosed_quote_is_refused_even_if_bad_rows_are_dropped(tmp_path):
    content = 'user_id,item_id,rating\n1,1,1\n2,"2,2\n' + "3,3,3\n" * 1000
    for bad_rows in ("error", "drop"):
        assert refusal(tmp_path, content, bad_rows=bad_rows).startswith(
            "ratings.csv:3: a quoted field must end, got '2,"
        )


def test_a_row_that_never_ends_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(blocks, "MAX_ROW_BYTES", 10_000)
    message = refusal(tmp_path, "user_id,item_id,rating\n1,1,1\n" + "x" * 50_000, bad_rows="drop")
    assert message.startswith("ratings.csv:3: a row must end within 10000 bytes, got 'xxx")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_blocks_end_at_line_ends_of_any_kind(tmp_path, monkeypatch, line_end):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 100)
    monkeypatch.setattr(blocks, "MAX_ROW_BYTES", 1000)
    rows = [f"{row},1,3" for row in range(1000)]
    table = read(tmp_path, line_end.join(["user_id,item_id,rating", *rows]))
    assert table["user_id"].to_pylist() == list(range(1000))


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_a_truncated_archive_is_refused(tmp_path, compress):
    whole = compress((CSV * 3000).encode())
    assert "not readable: Truncated compressed stream" in refusal(
        tmp_path, whole[:-9], "r.csv.gz", bad_rows="drop"
    )


def test_reading_again_starts_from_the_beginning(tmp_path):
    source = open_source(write(tmp_path, CSV), DataConfig())
    first, second = ([batch.to_pydict() for batch in source.batches(ReadReport())] for _ in range(2))
    assert first == second == [ROWS]


@pytest.mark.parametrize("block_bytes", [1, 24, 1 << 20])
def test_only_the_first_byte_order_mark_is_stripped(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
    mark = "\ufeff"
    table = read(tmp_path, f"{mark}user_id,item_id,rating\n1,1,1\n{mark}2,2,2\n")
    assert table["user_id"].to_pylist() == ["1", f"{mark}2"]


def test_an_unfinished_generator_does_not_block_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 30)
    source = open_source(write(tmp_path, CSV + "1,1,1,1\n" * 1000), DataConfig())
    for _ in range(20):
        assert next(source.batches(ReadReport())).num_rows >= 1


def test_memory_is_bounded_by_the_block_size_not_by_the_file_size(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 18)
    monkeypatch.setattr("data_pipeline.parsing.chunks._NUM_THREADS", 2)
    path = write(tmp_path, "user_id,item_id,rating\n" + "1234567,7654321,4.5\n" * 1_000_000)
    source, before, peak = open_source(path, DataConfig()), pa.total_allocated_bytes(), 0
    tracemalloc.start()
    try:
        for _ in source.batches(ReadReport()):
            peak = max(peak, pa.total_allocated_bytes() - before)
        peak += tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size == 20_000_023
    # Two threads and two blocks ahead, each as text, raw and typed columns; measured 4.3 to 4.6 MB.
    assert peak < 5_000_000


def test_the_first_error_is_reported_also_if_a_later_file_is_unreadable(tmp_path):
    write(tmp_path, CSV + "1,1,3,4\n1,2,bad,4\n", "a.csv")
    rows = "".join(f"{n},{n * 7919 % 10007},3,4\n" for n in range(100_000))
    write(tmp_path, gzip.compress((CSV + rows).encode())[:-30], "b.csv.gz")
    with pytest.raises(UserError, match=r"a\.csv:6: rating must be a finite number, got 'bad'"):
        read_data(tmp_path)
    write(tmp_path, CSV + "1,1,3,4\n", "a.csv")
    with pytest.raises(UserError, match=r"b\.csv\.gz: not readable"):
        read_data(tmp_path)
