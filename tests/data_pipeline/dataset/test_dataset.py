"""The prepared dataset: readable without our code, rows in random order, identified by its fingerprint."""

import hashlib
import json

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from conftest import ACCENTED_TITLE
from data_pipeline.config import DataConfig
from data_pipeline.dataset import arrow_file
from data_pipeline.dataset.columns import SEGMENT_ROWS
from data_pipeline.dataset.manifest import FORMAT_VERSION
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.prepare import staging
from data_pipeline.prepare import write as writing
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.prepare.stored_order import order_keys
from data_pipeline.sources.in_memory import source_of_table
from data_pipeline.sources.open_source import open_source

NAMES = ["user_id", "item_id", "rating", "timestamp"]


def prepare(source, out, config=None):
    config = config or DataConfig(validation_fraction=0.1)
    return prepare_dataset(open_source(source, config), config, out)


def rows_of(dataset, split):
    """One split's rows with raw ids, as pandas reads the files, in stored order."""
    part = pd.read_feather(dataset.path / f"{split}.arrow")
    if split == "train":
        for side in ("user", "item"):
            ids = pd.read_feather(dataset.path / f"{side}s.arrow")[f"{side}_id"]
            part[f"{side}_id"] = ids.iloc[part[f"{side}_index"] - 1].to_numpy()
    return part


@pytest.fixture
def prepared(tiny_ratings, tmp_path):
    return prepare(tiny_ratings, tmp_path / "prepared")


@pytest.fixture
def source_rows(tiny_ratings):
    return pd.read_csv(tiny_ratings / "u.data", sep="\t", names=NAMES)


def test_a_dataset_shows_its_folder_and_not_its_whole_manifest(prepared):
    assert repr(prepared) == f"PreparedDataset(path={prepared.path!r})"


def test_the_splits_together_hold_all_source_rows(source_rows, prepared):
    parts = pd.concat([rows_of(prepared, split) for split in SPLITS])
    assert len(source_rows) == 600
    expected = source_rows.astype({"rating": np.float32}).sort_values(NAMES, ignore_index=True)
    pd.testing.assert_frame_equal(parts[NAMES].sort_values(NAMES, ignore_index=True), expected)


@pytest.mark.parametrize("split", SPLITS)
def test_pandas_polars_and_duckdb_read_the_same(prepared, split):
    path = prepared.path / f"{split}.arrow"
    expected = prepared.table(split).to_pandas()
    assert len(expected) == prepared.num_rows(split) > 0
    pd.testing.assert_frame_equal(pd.read_feather(path), expected)
    pd.testing.assert_frame_equal(pl.read_ipc(path).to_pandas(), expected)
    assert pl.scan_ipc(path).select(pl.len()).collect().item() == len(expected)
    rows = pa.ipc.open_file(str(path)).read_all()
    found = duckdb.from_arrow(rows).aggregate("count(*), sum(rating), max(user_index)").fetchall()
    assert found == [(len(expected), expected["rating"].sum(), expected["user_index"].max())]


def test_the_readme_join_of_train_and_users_works_in_duckdb(prepared):
    train = pa.ipc.open_file(str(prepared.path / "train.arrow")).read_all()
    users = pa.ipc.open_file(str(prepared.path / "users.arrow")).read_all()
    users = users.append_column("user_index", pa.array(range(1, len(users) + 1)))
    joined = duckdb.sql("select user_id, count(*) as n from train join users using (user_index) group by all")
    counts = joined.df().set_index("user_id")["n"].sort_index()
    expected = rows_of(prepared, "train")["user_id"].value_counts().sort_index()
    assert counts.to_dict() == expected.to_dict()
    assert len(train) == counts.sum()


def test_rows_are_stored_by_their_keys_for_any_order_of_the_source(source_rows, prepared):
    keys = order_keys(np.arange(600), 42)
    key_of = dict(zip(map(tuple, source_rows[NAMES].to_numpy().tolist()), keys.tolist(), strict=True))
    for split in SPLITS:
        found = [key_of[tuple(row)] for row in rows_of(prepared, split)[NAMES].to_numpy(int).tolist()]
        assert found == sorted(found)


def test_the_stored_order_is_random():
    # Neighbours are uncorrelated, and each tenth of the positions has a fair share of each tenth of the rows.
    place = np.argsort(order_keys(np.arange(200_000), 42))
    assert abs(np.corrcoef(place[1:], place[:-1])[0, 1]) < 0.01
    counts = np.histogram2d(np.arange(200_000), place, bins=10)[0]
    assert abs(counts - 2000).max() < 5 * np.sqrt(2000)
    assert len(set(order_keys(np.arange(200_000), 42).tolist())) == 200_000
    assert (order_keys(np.arange(1000), 42) != order_keys(np.arange(1000), 43)).all()


def test_neither_batches_nor_threads_change_a_byte(tiny_ratings, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "RUN_ROWS", 50)
    monkeypatch.setattr(staging, "CHUNK_ROWS", 30)
    monkeypatch.setattr(staging, "MIN_GROUP_ROWS", 100)
    monkeypatch.setattr(writing, "BUCKET_GROUP_ROWS", 70)
    monkeypatch.setattr(writing, "NUM_THREADS", 1)
    monkeypatch.setattr(staging, "NUM_THREADS", 1)
    again = prepare(tiny_ratings, tmp_path / "again")
    for file in prepared.path.iterdir():
        assert (again.path / file.name).read_bytes() == file.read_bytes()


def test_record_batches_have_equal_length(tiny_ratings, tmp_path, monkeypatch):
    assert SEGMENT_ROWS == 2**20
    monkeypatch.setattr(arrow_file, "SEGMENT_ROWS", 100)
    dataset = prepare(tiny_ratings, tmp_path / "prepared")
    lengths = {s: [len(b) for b in dataset.table(s).to_batches()] for s in SPLITS}
    assert lengths == {"train": [100] * 4 + [32], "validation": [48], "test": [100, 20]}
    assert len(dataset.columns("train")) == 432
    whole = prepare(tiny_ratings, tmp_path / "whole")
    monkeypatch.undo()
    assert dataset.table("train").equals(whole.table("train"))


def test_index_i_is_row_i_minus_1_of_the_users_and_items(prepared):
    for side in ("user", "item"):
        ids = pd.read_feather(prepared.path / f"{side}s.arrow")[f"{side}_id"]
        assert ids.is_monotonic_increasing
        for split in ("validation", "test"):
            part = pd.read_feather(prepared.path / f"{split}.arrow")
            known = part[part[f"{side}_index"] > 0]
            assert known[f"{side}_id"].tolist() == ids.iloc[known[f"{side}_index"] - 1].tolist()
            assert not part[part[f"{side}_index"] == 0][f"{side}_id"].isin(ids).any()


def test_ids_that_only_test_rows_have_are_unknown_and_counted(tmp_path):
    frame = pd.DataFrame({"user_id": [1, 2] * 50, "item_id": range(100), "rating": [3.0, 4.0] * 50})
    dataset = prepare(frame, tmp_path / "prepared", DataConfig(validation_fraction=0.0))
    assert set(dataset.columns("test").item_index.tolist()) == {0}
    assert set(dataset.columns("test").user_index.tolist()) == {1, 2}
    assert sorted(dataset.columns("train").item_index.tolist()) == list(range(1, 81))
    cold = {"users": 0, "items": 20, "rows_of_cold_users": 0, "rows_of_cold_items": 20, "rows": 20}
    assert dataset.manifest["cold"]["test"] == cold
    assert dataset.manifest["sparsity"] == 1 - 80 / (2 * 80)


def test_every_row_keeps_its_weight_and_its_time(tmp_path):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "user_id": rng.integers(0, 20, 200),
            "item_id": range(200),
            "rating": rng.integers(1, 6, 200),
            "timestamp": rng.integers(0, 2**40, 200),
            "weight": (rng.exponential(size=200) * (rng.random(200) < 0.8)).astype(np.float32),
        }
    )
    dataset = prepare(frame, tmp_path / "prepared")
    by_item = frame.set_index("item_id")
    seen = 0
    for split in SPLITS:
        rows = rows_of(dataset, split)
        assert dataset.columns(split).weight.dtype == np.float32
        assert rows["weight"].tolist() == by_item["weight"][rows["item_id"]].tolist()
        assert rows["timestamp"].tolist() == by_item["timestamp"][rows["item_id"]].tolist()
        seen += len(rows)
    assert seen == 200


def test_a_mean_of_repeated_ratings_is_stored(tmp_path):
    frame = pd.DataFrame({"user_id": [*range(40), 3, 3], "item_id": 1, "rating": [4.0] * 40 + [1.0, 2.0]})
    dataset = prepare(frame, tmp_path / "prepared", DataConfig(duplicates="mean"))
    rows = pd.concat([rows_of(dataset, split) for split in SPLITS]).set_index("user_id")["rating"]
    assert rows[3] == np.float32((4 + 1 + 2) / 3)
    assert (rows.drop(3) == 4).all()
    assert (dataset.manifest["rows"], dataset.manifest["dropped_duplicates"]) == (40, 2)


def test_without_a_weight_column_there_are_no_weights(prepared):
    assert all(prepared.columns(split).weight is None for split in SPLITS)
    assert "weight" not in prepared.table("train").column_names


def test_columns_are_views_of_the_mapped_file(prepared):
    before = pa.total_allocated_bytes()
    columns = prepared.columns("train")
    arrays = [columns.user_index, columns.item_index, columns.rating]
    assert [a.dtype for a in arrays] == [np.int32, np.int32, np.float32]
    assert not any(a.flags.owndata or a.flags.writeable for a in arrays)
    assert pa.total_allocated_bytes() == before


def test_the_manifest_has_the_counts_and_checksums_of_the_files(prepared):
    manifest = json.loads((prepared.path / "manifest.json").read_text())
    train = pd.read_feather(prepared.path / "train.arrow")
    assert manifest["format_version"] == FORMAT_VERSION == 2
    assert (manifest["rows"], manifest["dropped_rows"], manifest["dropped_duplicates"]) == (600, 0, 0)
    assert manifest["splits"] == {"train": 432, "validation": 48, "test": 120}
    assert manifest["users"] == train["user_index"].nunique()
    assert manifest["items"] == train["item_index"].nunique()
    assert manifest["rating_scale"] == [train["rating"].min(), train["rating"].max()]
    for file in prepared.path.glob("*.arrow"):
        content = file.read_bytes()
        assert manifest["files"].pop(file.name) == {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    assert manifest["files"] == {}


def test_the_rating_scale_is_that_of_the_training_rows(tmp_path):
    rating = [4.0, 0.5, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 9.5, 4.0]
    frame = pd.DataFrame({"user_id": 1, "item_id": range(10), "rating": rating})
    dataset = prepare(frame, tmp_path / "prepared", DataConfig(validation_fraction=0.0))
    assert sorted(dataset.table("test")["rating"].to_pylist()) == [0.5, 9.5]
    assert dataset.rating_scale == (2.0, 4.0)


def test_titles_and_user_features_are_stored_with_their_ids(prepared):
    items = pd.read_feather(prepared.path / "items.arrow").set_index("item_id")
    assert items.loc[1, "title"] == ACCENTED_TITLE
    assert all(items.loc[item, "title"] == f"Film {item} (1990)" for item in items.index if item > 1)
    users = pd.read_feather(prepared.path / "users.arrow")
    assert (users["age"] == users["user_id"] + 20).all()
    indices = prepared.item_vocabulary.index(pa.array([5, 1]))
    assert prepared.titles(indices) == ["Film 5 (1990)", ACCENTED_TITLE]


def test_items_without_a_side_table_have_null_titles(tiny_ratings, tmp_path):
    dataset = prepare(tiny_ratings / "u.data", tmp_path / "prepared")
    assert dataset.titles(np.array([1, 2])) == [None, None]


def test_side_features_are_joined_to_string_ids_too(tiny_ratings, tmp_path):
    rows = (tiny_ratings / "u.data").read_text()
    strings = "".join(f"{user}\tA\t3\t0\n" for user in range(100, 200))
    (tiny_ratings / "u.data").write_text(rows + strings)
    items = prepare(tiny_ratings, tmp_path / "prepared").items.to_pandas().set_index("item_id")
    assert items.loc["1", "title"] == ACCENTED_TITLE
    assert pd.isna(items.loc["A", "title"])


@pytest.mark.parametrize(
    "config",
    [
        DataConfig(validation_fraction=0.1, split_seed=43),
        DataConfig(validation_fraction=0.1, test_fraction=0.3),
        DataConfig(validation_fraction=0.0),
    ],
)
def test_another_split_has_another_fingerprint(tiny_ratings, prepared, tmp_path, config):
    assert prepare(tiny_ratings, tmp_path / "other", config).fingerprint != prepared.fingerprint


def test_another_title_has_another_fingerprint(tiny_ratings, prepared, tmp_path):
    items = (tiny_ratings / "u.item").read_bytes()
    (tiny_ratings / "u.item").write_bytes(items.replace(b"(1990)", b"(1991)"))
    assert prepare(tiny_ratings, tmp_path / "other").fingerprint != prepared.fingerprint


def test_ids_are_strings_from_the_first_string_on(tmp_path):
    table = pa.table({"user_id": range(100), "item_id": [5] * 100, "rating": [3.0] * 100})
    texts = pa.table({"user_id": ["Anna", "7"], "item_id": [6, 6], "rating": [1.0, 2.0]})
    first = source_of_table(table, name="mixed", described="", fingerprint="1")
    second = source_of_table(texts, name="mixed", described="", fingerprint="1")

    def batches(report):
        yield from first.batches(report)
        yield from second.batches(report)

    mixed = source_of_table(table, name="mixed", described="", fingerprint="1")
    object.__setattr__(mixed, "batches", batches)
    dataset = prepare_dataset(mixed, DataConfig(validation_fraction=0.0), tmp_path / "prepared")
    rows = pd.concat([rows_of(dataset, split) for split in SPLITS])
    expected = [*((str(n), 5) for n in range(100)), ("Anna", 6), ("7", 6)]
    assert sorted(zip(rows["user_id"], rows["item_id"], strict=True)) == sorted(expected)
    assert dataset.item_vocabulary.ids.type == pa.int64()
