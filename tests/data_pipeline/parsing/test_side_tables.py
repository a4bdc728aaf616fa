"""Side tables: numbers, lists and categories as in the file; ids joined to those of the ratings."""

import uuid

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.sources.open_source import open_source
from support.reading import write

RATINGS = "user_id,item_id,rating\n1,a,3\n2,b,4\n"
ITEMS = """item_id,title,genres,year,price,code,colour,empty
a,"Heat, or | so",Action|Crime,1995,1.5,07030,red,
b,1984,Drama,1956,,10001,,
"""


def items_of(folder, content, name="items.csv", **settings):
    path = write(folder, content, name)
    source = open_source(write(folder, RATINGS), DataConfig(items=str(path), **settings))
    assert source.users is None
    return source.items


def items_refusal(folder, content, name="items.csv"):
    with pytest.raises(UserError) as caught:
        items_of(folder, content, name)
    return str(caught.value).replace(f"{folder}/", "")


EXPECTED = {
    "item_id": ["a", "b"],
    "title": ["Heat, or | so", "1984"],
    "genres": [["Action", "Crime"], ["Drama"]],
    "year": [1995, 1956],
    "price": [1.5, None],
    "code": ["07030", "10001"],
    "colour": ["red", None],
    "empty": [None, None],
}


@pytest.mark.parametrize("name", ["items.csv", "items.tsv"])
def test_columns_are_numbers_lists_categories_or_the_title(tmp_path, name):
    content = (
        ITEMS if name == "items.csv" else ITEMS.replace('"Heat, or | so"', "Heat_ or | so").replace(",", "\t")
    )
    items = items_of(tmp_path, content.replace("_ or", ", or"), name)
    assert items.to_pydict() == EXPECTED
    kinds = ["string", "string", "list<", "int64", "double", "string", "string", "string"]
    assert all(str(kind).startswith(wanted) for kind, wanted in zip(items.schema.types, kinds, strict=True))


def test_a_parquet_table_keeps_its_types(tmp_path):
    frame = pd.DataFrame(
        {
            "item": [1, 2],
            "tags": [["x", "y"], []],
            "genres": ["a|b", "c"],
            "zip": ["07030", "10001"],
            "size": pd.array([1, None], "Int8"),
            "new": [True, False],
            "kind": pd.Categorical(["u", "v"]),
        }
    )
    frame.to_parquet(tmp_path / "items.parquet")
    source = open_source(write(tmp_path, RATINGS), DataConfig(items=str(tmp_path / "items.parquet")))
    assert source.items.to_pydict() == {
        "item_id": [1, 2],
        "tags": [["x", "y"], []],
        "genres": [["a", "b"], ["c"]],
        "zip": ["07030", "10001"],
        "size": [1, None],
        "new": [1, 0],
        "kind": ["u", "v"],
    }


@pytest.mark.parametrize("key", ["item_id", "itemId", "movie", "id", "asin"])
def test_the_id_column_is_found_by_usual_or_given_names(tmp_path, key):
    write(tmp_path, RATINGS.replace("item_id", "asin"))
    path = write(tmp_path, f"{key},size\na,1\nb,2\n", "items.csv")
    source = open_source(tmp_path / "ratings.csv", DataConfig(items=str(path), columns="item=asin"))
    assert source.items.to_pydict() == {"item_id": ["a", "b"], "size": [1, 2]}


def test_separate_user_and_item_files_are_read_and_change_the_fingerprint(tmp_path):
    users = write(tmp_path, "user_id,age\n1,20\n2,30\n", "users.csv")
    config = DataConfig(users=str(users))
    source = open_source(write(tmp_path, RATINGS), config)
    assert source.users.to_pydict() == {"user_id": [1, 2], "age": [20, 30]}
    assert source.items is None
    was = source.fingerprint
    write(tmp_path, "user_id,age\n1,20\n2,31\n", "users.csv")
    assert open_source(tmp_path / "ratings.csv", config).fingerprint != was
    frame = pd.read_csv(tmp_path / "ratings.csv")
    assert open_source(frame, config).users.num_rows == 2


def test_a_given_table_replaces_that_of_the_folder(tiny_ratings, tmp_path):
    path = write(tmp_path, "item_id,size\n1,5\n", "items.csv")
    source = open_source(tiny_ratings, DataConfig(items=str(path)))
    assert source.items.to_pydict() == {"item_id": [1], "size": [5]}
    assert source.users.num_rows == 30


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("item_id,size\na,1\n\nb,2\na,3\n", "items.csv:5: item_id must be unique, got 'a' again"),
        ("item_id,size\n1,1\n1,3\n", "items.csv:3: item_id must be unique, got 1 again"),
        ("item_id,size\na,1\n ,3\n", "items.csv:3: item_id must not be empty"),
        ("item_id,size\na,1\nb\n", "items.csv:3: a row has 2 columns, got 1: 'b'"),
        (
            "item_id,size\na,1\nb\xe9,2\n".encode("latin-1"),
            "items.csv:3: a ratings file is UTF-8 text, got 'b\\xe9,2'",
        ),
        (
            "size,weight\n1,2\n",
            "items.csv: the table needs a column named item_id or itemid or item or movie_id or",
        ),
        ("item_id,size,size\na,1,2\n", "items.csv:1: the header must name 'size' once"),
        ("item_id,size\n", "items.csv: a table of side features needs rows, got none"),
        ("", "items.csv: a ratings file needs rows, got an empty file"),
        ('item_id,size\na,"1\n', "items.csv:2: a quoted field must end, got 'a,\"1'"),
    ],
)
def test_an_invalid_table_is_refused(tmp_path, content, expected):
    assert items_refusal(tmp_path, content).startswith(expected)


def test_a_large_table_is_read_in_blocks_and_its_repeated_id_found(tmp_path, monkeypatch):
    monkeypatch.setattr("data_pipeline.parsing.blocks.BLOCK_BYTES", 1000)
    rows = "".join(f"i{row},{row}\n" for row in range(5000))
    items = items_of(tmp_path, "item_id,size\n" + rows)
    assert items["size"].to_pylist() == list(range(5000))
    assert items_refusal(tmp_path, f"item_id,size\n{rows}i4321,1\n").startswith(
        "items.csv:5002: item_id must be unique"
    )


def test_a_parquet_table_is_joined_to_ratings_by_uuids(tmp_path):
    raw = pa.array([uuid.UUID(int=number).bytes for number in (7, 8)], pa.uuid())
    ratings = pa.table({"user_id": raw, "item_id": [1, 2], "rating": [3.0, 4.0]})
    parquet.write_table(ratings, tmp_path / "ratings.parquet")
    parquet.write_table(pa.table({"user_id": raw, "age": [30, 40]}), tmp_path / "users.parquet")
    config = DataConfig(users=str(tmp_path / "users.parquet"))
    source = open_source(tmp_path / "ratings.parquet", config)
    (batch,) = source.batches(ReadReport())
    expected = [str(uuid.UUID(int=number)) for number in (7, 8)]
    assert source.users["user_id"].to_pylist() == batch["user_id"].to_pylist() == expected


def test_two_title_columns_are_refused(tmp_path):
    assert "once" in items_refusal(tmp_path, "item_id,title,Title\na,x,y\n")
