"""A DataFrame is read as its CSV would be, for all column types."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.parsing.frame import ids_as_text
from data_pipeline.sources.open_source import open_source
from support.reading import read_data


def frame_table(frame, **settings):
    return read_data(frame, **settings)[0]


FLOAT_RULE = "must be whole and below 9007199254740992 where it is a floating-point number"
FRAME = pd.DataFrame({"user_id": [3, 1, 3], "item_id": [10, 20, 30], "rating": [1.0, 2.5, 5.0]})


@pytest.mark.parametrize(
    "column_type", ["int8", "int64", "uint64", "Int64", "float64", "object", "category", "int64[pyarrow]"]
)
def test_a_frame_with_integer_ids_of_any_type_gives_integers(column_type):
    table = frame_table(FRAME.astype({"user_id": column_type}))
    assert table.to_pydict() == FRAME.to_dict("list")
    assert table["user_id"].type == pa.int64()


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "double[pyarrow]"])
def test_large_whole_floats_become_exact_integers(dtype):
    large = 2**24 - 1 if dtype == "float32" else 10**15 + 1
    table = frame_table(FRAME.assign(user_id=pd.Series([large, 3, -large], dtype=dtype)))
    assert table["user_id"].to_pylist() == [large, 3, -large]
    assert table["user_id"].type == pa.int64()


@pytest.mark.parametrize("column_type", ["object", "str", "string", "category", "string[pyarrow]"])
def test_a_frame_with_string_ids_of_any_type_gives_strings(column_type):
    frame = FRAME.assign(user_id=pd.Series(["c", "a b", "c"], dtype=column_type))
    assert frame_table(frame)["user_id"].to_pylist() == ["c", "a b", "c"]


@pytest.mark.parametrize("ids", [[3, "Anna", 3], ["Anna", 3, 3], [2**70, 1, 1], [2**63, 1, 1]])
def test_a_frame_with_ids_beyond_int64_gives_strings(ids):
    frame = FRAME.assign(user_id=pd.Series(ids, dtype=object))
    assert frame_table(frame)["user_id"].to_pylist() == [str(each) for each in ids]


def test_a_frame_and_its_csv_hold_the_same_ratings(tmp_path):
    frame = FRAME.assign(timestamp=[5, 6, 7], weight=[0, 0.25, 3], note=["a", None, "c"])
    frame.to_csv(tmp_path / "ratings.csv", index=False)
    assert frame_table(frame).equals(read_data(tmp_path / "ratings.csv")[0])


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("rating", [1.0, np.nan, 5.0], "frame: row 1: rating must be a finite number, got None"),
        ("rating", [1.0, 2.0, np.inf], "frame: row 2: rating must be a finite number, got inf"),
        ("rating", ["1", "good", "5"], "frame: row 1: rating must be a finite number, got 'good'"),
        ("user_id", [1.0, np.nan, 3.0], "frame: row 1: user_id must not be empty, got None"),
        ("user_id", [1.0, 2.5, 3.0], f"frame: row 1: user_id {FLOAT_RULE}, got 2.5"),
        ("user_id", [1.0, 2.0, 2.0**53], f"frame: row 2: user_id {FLOAT_RULE}, got 9007199254740992.0"),
        ("item_id", [-np.inf, 2, 3], f"frame: row 0: item_id {FLOAT_RULE}, got -inf"),
        ("user_id", ["a", "b", None], "frame: row 2: user_id must not be empty, got None"),
        ("user_id", [7, None, "b"], "frame: row 1: user_id must not be empty, got None"),
        ("weight", [1, -1, 0], "frame: row 1: weight must be a finite number of at least 0, got -1"),
        ("item_id", ["a", " ", "b"], "frame: row 1: item_id must not be empty, got ' '"),
    ],
)
def test_the_error_of_a_frame_names_row_rule_and_value(column, values, expected):
    with pytest.raises(UserError) as caught:
        frame_table(FRAME.assign(**{column: values}))
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("frame", "rule"),
    [
        (FRAME.iloc[:0], "a ratings file needs rows, got none"),
        (FRAME.drop(columns="rating"), "the header needs a column named rating, or give columns="),
        (FRAME.set_axis(["user_id", "user_id", "rating"], axis=1), "the header must name user_id once, got"),
    ],
)
def test_a_frame_with_wrong_columns_is_refused(frame, rule):
    with pytest.raises(UserError, match=re.escape(rule)):
        frame_table(frame)


def test_changing_any_value_or_the_order_changes_the_fingerprint():
    fingerprint = open_source(FRAME, DataConfig()).fingerprint
    assert open_source(FRAME.copy(), DataConfig()).fingerprint == fingerprint
    others = [
        FRAME.replace({"rating": {2.5: 3.0}}),
        FRAME.iloc[::-1],
        FRAME.astype({"user_id": str}).assign(user_id="x"),
    ]
    assert all(open_source(other, DataConfig()).fingerprint != fingerprint for other in others)


def test_ids_to_predict_are_read_like_those_of_ratings():
    assert ids_as_text(pd.Series([5.0, np.nan, 1e15 + 1])).to_pylist() == ["5", None, "1000000000000001"]
    assert ids_as_text(pd.Series([5.0, 2.5])).to_pylist() == ["5", "2.5"]
