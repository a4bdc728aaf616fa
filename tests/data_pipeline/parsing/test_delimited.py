"""Delimited text is read as pandas and the csv module read it; errors name the first bad row."""

import csv
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.config import DataConfig
from data_pipeline.sources.open_source import open_source
from support.reading import read, read_data, refusal, write

HEADER = "user_id,item_id,rating,timestamp\n"
WEIGHTED = "user_id,item_id,rating,weight\n"
PLAIN = HEADER + "1,10,3,100\n2,20,4.5,200\n"


def test_ml_100k_is_read_as_pandas_reads_it(ml_100k):
    table, _ = read_data(ml_100k / "u.data")
    names = ["user_id", "item_id", "rating", "timestamp"]
    expected = pd.read_csv(ml_100k / "u.data", sep="\t", names=names)
    assert len(expected) == 100_000
    assert table.schema.types == [pa.int64(), pa.int64(), pa.float32(), pa.int64()]
    pd.testing.assert_frame_equal(table.to_pandas(), expected.astype({"rating": np.float32}))


TIME_RULE = "must be a finite number of seconds, or a date or time as 2024-05-01T10:00:00Z"


@pytest.mark.parametrize(
    "same",
    [
        PLAIN.rstrip("\n"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN,
        "\n\n" + PLAIN.replace("\n", "\n\n"),
        '"user_id","item_id","rating","timestamp"\n"1","10","3","100"\n"2","20","4.5","200"\n',
        PLAIN.replace("user_id,item_id", " UserId ,MOVIE"),
        'index,title,user_id,item_id,rating,timestamp,index\n0,a,1,10,3,100,0\n1,"b,\nb",2,20,4.5,200,1\n',
        "timestamp,rating,item_id,user_id\n100,3,10,1\n200,4.5,20,2\n",
        'user_id,item_id,rating,timestamp,"a\nnote"\n1,10,3,100,b\n2,20,4.5,200,c\n',
        HEADER + "1,10, 3.0 ,100.9\n2,20,45e-1,2e2\n",
    ],
    ids=[
        "no final line end",
        "CRLF",
        "CR",
        "byte order mark",
        "empty lines",
        "quoted",
        "other header names",
        "more columns, one of them twice",
        "other order",
        "a header of two lines",
        "numbers written otherwise",
    ],
)
def test_these_files_hold_the_same_ratings(tmp_path, same):
    expected = {"user_id": [1, 2], "item_id": [10, 20], "rating": [3.0, 4.5], "timestamp": [100, 200]}
    assert read(tmp_path, same).to_pydict() == expected


@pytest.mark.parametrize(
    "content", ["1\t10\t3\t100\n2\t20\t4.5\t200", "\n1\t10\t3\t100\r\n\r\n2\t20\t4.5\t200\r\n"]
)
def test_tab_separated_files_hold_the_same_ratings(tmp_path, content):
    expected = {"user_id": [1, 2], "item_id": [10, 20], "rating": [3.0, 4.5], "timestamp": [100, 200]}
    assert read(tmp_path, content, "u.data").to_pydict() == expected


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.tsv"])
def test_a_weight_column_is_read(tmp_path, name):
    content = WEIGHTED + "1,10,3,0\n2,20,4, 2.5\n3,20,4,1e3\n"
    table = read(tmp_path, content.replace(",", "\t") if name.endswith("tsv") else content, name)
    assert table["weight"].to_pylist() == [0.0, 2.5, 1000.0]


def test_tab_separated_files_have_no_quotes(tmp_path):
    table = read(tmp_path, '"a\t10\t3\t100\nb"\t"20"\t4\t200\n', "u.data")
    assert table["user_id"].to_pylist() == ['"a', 'b"']
    assert table["item_id"].to_pylist() == ["10", '"20"']


def test_the_suffix_decides_the_format_in_any_case(tmp_path):
    content = "user_id\titem_id\trating\n1\t2\t3\n"
    assert read(tmp_path, content, "a.TSV").to_pydict() == {"user_id": [1], "item_id": [2], "rating": [3.0]}


# All possible ids: no NUL, no surrogates, not blank.
raw_ids = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8).filter(str.strip)
numbers = st.floats(-1e30, 1e30) | st.integers(-5, 5).map(float)


@given(rows=st.lists(st.tuples(raw_ids, raw_ids, numbers), min_size=1, max_size=20))
def test_any_output_of_the_csv_module_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "ratings.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("user_id", "item_id", "rating"), *rows])
    table, _ = read_data(path)
    users, items, ratings = zip(*rows, strict=True)
    assert [str(user) for user in table["user_id"].to_pylist()] == list(users)
    assert [str(item) for item in table["item_id"].to_pylist()] == list(items)
    assert table["rating"].to_pylist() == np.float32(ratings).tolist()


def test_quoted_line_ends_are_read_at_any_size(tmp_path):
    rows = "".join(f'{i},{i % 7},3,"a title\nof two lines {i}"\n' for i in range(60_000))
    table = read(tmp_path, "user_id,item_id,rating,title\n" + rows)
    assert len(rows) > 1 << 20, "smaller than a block of Arrow's reader"
    assert table["user_id"].to_pylist() == list(range(60_000))


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (["7", "-7", "0"], [7, -7, 0]),
        (["7", "07"], ["7", "07"]),
        (["7", "7.0"], ["7", "7.0"]),
        (["7", " 7"], ["7", " 7"]),
        (["7", "+7", "-0"], ["7", "+7", "-0"]),
        (["7", "Anna Karenina"], ["7", "Anna Karenina"]),
        (["9223372036854775807"], [2**63 - 1]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["NA", "null", "nan"], ["NA", "null", "nan"]),
        (["0x10", "16"], ["0x10", "16"]),
    ],
)
def test_ids_are_integers_only_if_all_are_in_canonical_form(tmp_path, written, read_as):
    content = "user_id,item_id,rating\n" + "".join(f"{each},1,3\n" for each in written)
    assert read(tmp_path, content)["user_id"].to_pylist() == read_as


def test_whole_timestamps_stay_exact_past_float_precision(tmp_path):
    nanoseconds = 2**60 + 1
    assert read(tmp_path, f"{HEADER}1,2,3,{nanoseconds}\n")["timestamp"].to_pylist() == [nanoseconds]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "ratings.csv: a ratings file needs rows, got an empty file"),
        (HEADER, "ratings.csv: a ratings file needs rows, got none"),
        (HEADER.strip(), "ratings.csv: a ratings file needs rows, got none"),
        (HEADER + "\n\n", "ratings.csv: a ratings file needs rows, got none"),
        (HEADER + "1,2,3\n", "ratings.csv:2: a row has 4 columns, got 3: '1,2,3'"),
        (HEADER + "1,2,3,4,5\n", "ratings.csv:2: a row has 4 columns, got 5: '1,2,3,4,5'"),
        (HEADER + "1,2,3,4\n   \n", "ratings.csv:3: a row has 4 columns, got 1: '   '"),
        (HEADER + "1,2,good,4\n", "ratings.csv:2: rating must be a finite number, got 'good': '1,2,good,4'"),
        (HEADER + "1,2,,4\n", "ratings.csv:2: rating must be a finite number, got '': '1,2,,4'"),
        (HEADER + "1,2,NaN,4\n", "ratings.csv:2: rating must be a finite number, got 'NaN': '1,2,NaN,4'"),
        (HEADER + "1,2,-inf,4\n", "ratings.csv:2: rating must be a finite number, got '-inf': '1,2,-inf,4'"),
        (HEADER + "1,2,1e39,4\n", "ratings.csv:2: rating must be a finite number, got '1e39': '1,2,1e39,4'"),
        (HEADER + ",2,3,4\n", "ratings.csv:2: user_id must not be empty, got '': ',2,3,4'"),
        (HEADER + '1,"  ",3,4\n', "ratings.csv:2: item_id must not be empty, got '  ': '1,\"  \",3,4'"),
        (
            HEADER + "1,2,3,\n",
            f"ratings.csv:2: timestamp {TIME_RULE}, got '': '1,2,3,'",
        ),
        (
            HEADER + "1,2,3,9223372036854775808\n",
            f"ratings.csv:2: timestamp {TIME_RULE}, got '9223372036854775808': '1,2,3,9223372036854775808'",
        ),
        (
            WEIGHTED + "1,2,3,0\n1,2,3,-0.5\n",
            "ratings.csv:3: weight must be a finite number of at least 0, got '-0.5': '1,2,3,-0.5'",
        ),
        (
            WEIGHTED + "1,2,3,\n",
            "ratings.csv:2: weight must be a finite number of at least 0, got '': '1,2,3,'",
        ),
        (
            WEIGHTED + "1,2,3,nan\n",
            "ratings.csv:2: weight must be a finite number of at least 0, got 'nan': '1,2,3,nan'",
        ),
        (
            WEIGHTED + "1,2,3,1e39\n",
            "ratings.csv:2: weight must be a finite number of at least 0, got '1e39': '1,2,3,1e39'",
        ),
        # Line ends inside quoted fields count as lines; a row is reported by its first line.
        (
            HEADER + '"a\nb",2,3,4\n\n"c\nd",2,x,4\n',
            "ratings.csv:5: rating must be a finite number, got 'x': '\"c\\nd\",2,x,4'",
        ),
        (HEADER + '"a,2,3,4\n1,2,3,4\n', "ratings.csv:2: a quoted field must end, got '\"a,2,3,4\\n1,2,3,4'"),
        (
            "user_id,rating\n1,2\n",
            "ratings.csv:1: the header needs a column named item_id or itemid or item or movie_id or movieid "
            "or movie, or give columns=\"item=COLUMN\", got ['user_id', 'rating']",
        ),
        (
            "user_id,rating,item_id,Rating\n1,2,3,4\n",
            "ratings.csv:1: the header must name rating once, got ['user_id', 'rating', 'item_id', 'Rating']",
        ),
        (HEADER + "1,2,3,4\n\0,2,3,4\n", "ratings.csv:3: a ratings file is text, got a NUL byte"),
        (
            HEADER.encode() + b"1,2,3,4\nAnn\xe9,2,3,4\n",
            "ratings.csv:3: a ratings file is UTF-8 text, got 'Ann\\xe9,2,3,4'",
        ),
        (
            HEADER + "a" * 150_000 + ",2,x,4\n",
            f"ratings.csv:2: rating must be a finite number, got 'x': '{'a' * 200}…'",
        ),
    ],
)
def test_the_error_names_file_line_rule_and_text(tmp_path, content, expected):
    assert refusal(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1\t2\t3\t4\n1\t2\t3\n", "u.data:2: a row has 4 columns, got 3: '1\\t2\\t3'"),
        ("1\t2\t3\t4\n\n1\t2\tx\t4\n", "u.data:3: rating must be a finite number, got 'x': '1\\t2\\tx\\t4'"),
        ("1\t2\t3\t4\n\t\t\t\n", "u.data:2: user_id must not be empty, got '': '\\t\\t\\t'"),
        ("1\t2\t3\t4\n  \n", "u.data:2: a row has 4 columns, got 1: '  '"),
        ("user_id,item_id,rating\n", "u.data:1: a row has 4 columns, got 1: 'user_id,item_id,rating'"),
        (b"1\t2\t3\t4\n\xff\t2\t3\t4\n", "u.data:2: a ratings file is UTF-8 text, got '\\xff\\t2\\t3\\t4'"),
    ],
)
def test_the_error_of_a_tab_separated_file_names_file_line_rule_and_text(tmp_path, content, expected):
    assert refusal(tmp_path, content, "u.data") == expected


@pytest.mark.parametrize("bad", [b"1,2,x,4\n", b"1,2\n", b"\xe9,2,3,4\n", b"\0,2,3,4\n"])
def test_a_bad_row_in_a_late_block_is_reported_by_its_line_number(tmp_path, bad):
    content = HEADER.encode() + b"1,2,3,4\n" * 200_000 + bad + b"1,2,3,4\n" * 10
    assert refusal(tmp_path, content).startswith("ratings.csv:200002: ")


A_NUMBER = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?")
fields = st.sampled_from(
    [
        "7",
        "3.5",
        ".5",
        "5.",
        "+1",
        "-2",
        "1e3",
        " 4 ",
        "",
        " ",
        "x",
        "nan",
        "inf",
        "1_0",
        "0x1",
        "٣",
        "1e99",
        "3,",
    ]
)


@given(st.lists(st.tuples(fields, fields, fields, fields), min_size=1, max_size=6))
def test_the_first_bad_row_agrees_with_a_row_by_row_check(tmp_path_factory, rows):
    def is_good(user, item, rating, timestamp):
        numbers_in_range = all(
            A_NUMBER.fullmatch(n.strip()) and abs(float(n)) < 1e38 for n in (rating, timestamp)
        )
        return bool(user.strip() and item.strip() and numbers_in_range)

    folder = tmp_path_factory.mktemp("rows")
    content = "".join("\t".join(row) + "\n" for row in rows)
    first_bad = next((number for number, row in enumerate(rows, start=1) if not is_good(*row)), None)
    if first_bad is None:
        assert len(read(folder, content, "u.data")) == len(rows)
    else:
        assert refusal(folder, content, "u.data").startswith(f"u.data:{first_bad}: ")


@pytest.mark.parametrize("name", ["u.data", "ratings.csv"])
@pytest.mark.parametrize("without_nul", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_are_refused_in_one_line(tmp_path, name, without_nul, seed):
    content = np.random.default_rng(seed).bytes(4000)
    message = refusal(tmp_path, content.replace(b"\0", b"\xff") if without_nul else content, name)
    assert "\n" not in message
    assert re.match(rf"{name}:[0-9]+: a ratings file is (UTF-8 )?text, got ", message)


def test_changing_any_byte_changes_the_fingerprint(tmp_path):
    def fingerprint(content):
        return open_source(write(tmp_path, content), DataConfig()).fingerprint

    assert fingerprint(PLAIN) == fingerprint(PLAIN)
    assert fingerprint(PLAIN) != fingerprint(PLAIN.replace("200", "201"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-05-01", 1714521600),
        ("2024-05-01T10:00:00Z", 1714557600),
        ("2024-05-01 10:00:00", 1714557600),
        ("2024-05-01T10:00", 1714557600),
        ("2024-05-01T10:00:00.999999999Z", 1714557600),
        ("2024-05-01 10:00:00+02:00", 1714550400),
        ("1969-12-31 23:59:59.5", -1),
        ("1009-01-01", -30326227200),
    ],
)
@pytest.mark.parametrize("others", ["", "1,3,3,5\n", "1,3,3,2024-05-02\n"])
def test_dates_and_times_become_utc_seconds(tmp_path, text, seconds, others):
    table = read(tmp_path, f"{HEADER}1,2,3,{text}\n{others}")
    assert table["timestamp"].to_pylist()[0] == seconds


def test_times_are_parsed_as_pandas_parses_them(tmp_path):
    draw = np.random.default_rng(1)
    seconds = draw.integers(-(9 * 10**9), 9 * 10**9, 5000)
    times = pd.Series(pd.to_datetime(seconds, unit="s"))
    frame = pd.DataFrame({"user_id": range(5000), "item_id": 1, "rating": 3, "timestamp": times})
    frame.to_csv(tmp_path / "times.csv", index=False)
    table, _ = read_data(tmp_path / "times.csv")
    assert table["timestamp"].to_pylist() == seconds.tolist()
    assert table["user_id"].type == pa.int64()
