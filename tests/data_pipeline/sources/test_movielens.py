"""Each MovieLens folder is read as pandas reads its files, including side tables."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from conftest import ACCENTED_TITLE
from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.sources.open_source import open_source
from support.reading import read_data, table_of, write


def opened(folder, **settings):
    return open_source(folder, DataConfig(**settings))


def test_titles_and_users_of_ml_100k_equal_those_that_pandas_reads(ml_100k):
    ratings = opened(ml_100k)
    items = pd.read_csv(ml_100k / "u.item", sep="|", encoding="latin-1", header=None, keep_default_na=False)
    assert len(items) == 1682
    assert ratings.items["item_id"].to_pylist() == items[0].tolist()
    assert ratings.items["title"].to_pylist() == items[1].tolist()
    assert ratings.items["release_date"].to_pylist() == [date or None for date in items[2]]
    genres = pd.read_csv(ml_100k / "u.genre", sep="|", header=None)[0].tolist()
    flags = items[list(range(5, 24))].to_numpy()
    expected = [[g for g, flag in zip(genres, row, strict=True) if flag] for row in flags]
    assert ratings.items["genres"].to_pylist() == expected
    users = pd.read_csv(ml_100k / "u.user", sep="|", header=None)
    assert ratings.users.num_rows == len(users) == 943
    for position, name in enumerate(["user_id", "age", "gender", "occupation", "zip_code"]):
        assert ratings.users[name].to_pylist() == users[position].tolist()


def test_accented_titles_are_read_as_latin_1(tiny_ratings):
    ratings = opened(tiny_ratings)
    assert ratings.items["title"][0].as_py() == ACCENTED_TITLE
    assert ratings.items["genres"].to_pylist() == [["Western"]] * 40


def test_a_title_may_contain_a_next_line_character(tiny_ratings):
    items = (tiny_ratings / "u.item").read_bytes()
    (tiny_ratings / "u.item").write_bytes(items.replace(b"Film 2 ", b"Film\x85 2 "))
    assert opened(tiny_ratings).items["title"][1].as_py() == "Film\x85 2 (1990)"


@pytest.mark.parametrize("name", ["u.item", "u.user"])
def test_the_side_tables_may_be_missing(tiny_ratings, name):
    whole = opened(tiny_ratings)
    fingerprint, table = whole.fingerprint, table_of(whole)
    (tiny_ratings / name).unlink()
    ratings = opened(tiny_ratings)
    assert (ratings.items is None) == (name == "u.item")
    assert (ratings.users is None) == (name == "u.user")
    assert table_of(ratings).equals(table)
    assert ratings.fingerprint != fingerprint


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("u.item", "41|short", "u.item:41: a row has 24 columns, got 2: '41|short'"),
        ("u.item", "41" + "|x" * 23, "u.item: unknown must be a whole number, got 'x'"),
        ("u.item", "7" + "|x" * 4 + "|1" * 19, "u.item:41: item_id must be unique, got 7 again"),
        ("u.user", "31|old|F|writer|1", "u.user: age must be a whole number, got 'old'"),
        ("u.user", "|3|F|writer|1", "u.user:31: user_id must not be empty"),
    ],
)
def test_a_bad_row_of_a_side_table_is_reported(tiny_ratings, name, line, expected):
    with (tiny_ratings / name).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError) as caught:
        opened(tiny_ratings)
    assert str(caught.value).startswith(f"{tiny_ratings}/{expected}")


# One row of each special case: an accent, a quote, a delimiter in a title, no genre.
ML_1M = {
    "ratings.dat": "1::10::5::978300760\n1::20::3::978302109\n2::10::4::978301968\n",
    "movies.dat": '10::Mis\xe9rables, Les (1995)::Drama|Musical\n20::GoldenEye: "007" (1995)::Action\n',
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072-1\n",
}
ML_CSV = {
    "ratings.csv": "userId,movieId,rating,timestamp\r\n1,10,4.5,964982703\r\n1,20,0.5,964\r\n2,10,5.0,3\r\n",
    "movies.csv": "movieId,title,genres\r\n"
    '10,"Mis\xe9rables, Les (1995)",Drama|Musical\r\n20,"A ""B"" (1995)",(no genres listed)\r\n',
    "links.csv": "movieId,imdbId,tmdbId\r\n10,1,2\r\n20,1,\r\n",
    "README.txt": "free",
}


def write_folder(folder, files, encoding):
    for name, text in files.items():
        write(folder, text.encode(encoding), name)
    return folder


def as_pandas(folder, name, names=None):
    return pd.read_csv(folder / name, sep="::", names=names, engine="python", encoding="latin-1")


def test_ml_1m_is_read_as_pandas_reads_it(tmp_path):
    folder = write_folder(tmp_path / "ml-1m", ML_1M, "latin-1")
    names = ["user_id", "item_id", "rating", "timestamp"]
    expected = as_pandas(folder, "ratings.dat", names).astype({"rating": np.float32})
    table, report = read_data(folder)
    pd.testing.assert_frame_equal(table.to_pandas(), expected)
    assert report.bytes_read == report.total_bytes == (folder / "ratings.dat").stat().st_size
    source = opened(folder)
    assert source.name == "ml-1m"
    movies = as_pandas(folder, "movies.dat", ["item_id", "title", "genres"])
    assert source.items.to_pydict() == {
        "item_id": movies["item_id"].tolist(),
        "title": movies["title"].tolist(),
        "genres": [genres.split("|") for genres in movies["genres"]],
    }
    assert source.users.to_pydict() == {
        "user_id": [1, 2],
        "gender": ["F", "M"],
        "age": [1, 56],
        "occupation": ["10", "16"],
        "zip_code": ["48067", "70072-1"],
    }


def test_ml_10m_is_read_like_ml_1m_in_utf_8_without_users(tmp_path):
    files = {name: text for name, text in ML_1M.items() if name != "users.dat"}
    files["ratings.dat"] = files["ratings.dat"].replace("::5::", "::0.5::")
    source = opened(write_folder(tmp_path, files, "utf-8"))
    assert source.items["title"].to_pylist() == ["Mis\xe9rables, Les (1995)", 'GoldenEye: "007" (1995)']
    assert source.users is None
    assert table_of(source)["rating"].to_pylist() == [0.5, 3, 4]


def test_ml_latest_is_read_as_pandas_reads_it(tmp_path):
    folder = write_folder(tmp_path / "ml-latest-small", ML_CSV, "utf-8")
    expected = pd.read_csv(folder / "ratings.csv").astype({"rating": np.float32})
    table, _ = read_data(folder)
    assert table.column_names == ["user_id", "item_id", "rating", "timestamp"]
    pd.testing.assert_frame_equal(table.to_pandas(), expected.set_axis(table.column_names, axis=1))
    movies = pd.read_csv(folder / "movies.csv")
    assert opened(folder).items.to_pydict() == {
        "item_id": movies["movieId"].tolist(),
        "title": movies["title"].tolist(),
        "genres": [["Drama", "Musical"], []],
    }


@pytest.mark.parametrize(
    ("files", "format_name"), [(ML_1M, "ml-1m"), (ML_1M, "ml-10m"), (ML_CSV, "ml-csv"), (ML_CSV, "csv")]
)
def test_the_format_can_be_given(tmp_path, files, format_name):
    folder = write_folder(tmp_path, files, "latin-1" if format_name == "ml-1m" else "utf-8")
    (name,) = (name for name in files if name.startswith("ratings"))
    by_file = read_data(folder / name, format=format_name)[0]
    assert by_file.equals(read_data(folder / name)[0])
    if format_name != "csv":
        assert by_file.equals(read_data(folder, format=format_name)[0])


def test_a_format_that_the_folder_does_not_have_is_refused(tmp_path):
    folder = write_folder(tmp_path, ML_1M, "latin-1")
    with pytest.raises(UserError, match=r"data.format ml-csv needs the file .*ratings.csv, which is missing"):
        opened(folder, format="ml-csv")


def test_a_predefined_pair_gives_training_and_test_ratings(ml_100k):
    source = opened(ml_100k, split="u1")
    names = ["user_id", "item_id", "rating", "timestamp"]
    for part, name in ((source, "u1.base"), (source.test, "u1.test")):
        expected = pd.read_csv(ml_100k / name, sep="\t", names=names).astype({"rating": np.float32})
        pd.testing.assert_frame_equal(table_of(part).to_pandas(), expected)
    assert source.name == "ml-100k-u1"
    assert source.fingerprint == source.test.fingerprint != opened(ml_100k).fingerprint
    assert source.items.num_rows == 1682


def test_the_pair_of_ml_10m_is_read_in_its_format(tmp_path):
    rows = ML_1M["ratings.dat"].splitlines(keepends=True)
    write_folder(tmp_path, {"r1.train": "".join(rows[:2]), "r1.test": rows[2]}, "utf-8")
    source = opened(tmp_path, split="r1")
    assert table_of(source)["item_id"].to_pylist() == [10, 20]
    assert table_of(source.test)["user_id"].to_pylist() == [2]


def test_side_tables_have_ids_of_type_int64(tmp_path):
    source = opened(write_folder(tmp_path, ML_1M, "latin-1"))
    assert (source.users["user_id"].type, source.items["item_id"].type) == (pa.int64(), pa.int64())
