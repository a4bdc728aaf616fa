"""The prepared dataset: readable without our code, whole or not there, known by its fingerprint."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from conftest import ACCENTED_TITLE
from data_pipeline import dataset as dataset_module
from data_pipeline.dataset import FORMAT_VERSION, SPLITS, open_dataset
from data_pipeline.errors import UserError
from data_pipeline.prepare import DataConfig, prepare_dataset, read_ratings
from data_pipeline.ratings import ratings_from_frame


def prepare(source, out, config=None):
    config = config or DataConfig(validation_fraction=0.1)
    return prepare_dataset(*read_ratings(source, config), config, out)


@pytest.fixture
def prepared(tiny_ratings, tmp_path):
    return prepare(tiny_ratings, tmp_path / "prepared")


def test_pandas_reads_the_columns_and_they_hold_all_source_rows(tiny_ratings, prepared):
    parts = pd.concat([pd.read_feather(prepared.path / f"{split}.arrow") for split in SPLITS])
    names = ["user_id", "item_id", "rating", "timestamp"]
    source = pd.read_csv(tiny_ratings / "u.data", sep="\t", names=names)
    assert len(source) == 600
    same = parts[names].astype({"rating": float}).sort_values(names, ignore_index=True)
    pd.testing.assert_frame_equal(
        same, source.astype({"rating": float}).sort_values(names, ignore_index=True)
    )


def test_index_i_is_row_i_minus_1_of_the_users_and_items(prepared):
    for side, key, index in (("users", "user_id", "user_index"), ("items", "item_id", "item_index")):
        ids = pd.read_feather(prepared.path / f"{side}.arrow")[key]
        assert ids.is_monotonic_increasing
        for split in SPLITS:
            part = pd.read_feather(prepared.path / f"{split}.arrow")
            known = part[part[index] > 0]
            assert known[key].tolist() == ids.iloc[known[index] - 1].tolist()
            assert not part[part[index] == 0][key].isin(ids).any()


def test_ids_that_only_test_rows_have_are_unknown(tmp_path):
    frame = pd.DataFrame({"user_id": [1, 2] * 50, "item_id": range(100), "rating": [3.0, 4.0] * 50})
    config = DataConfig(validation_fraction=0.0)
    dataset = prepare_dataset(ratings_from_frame(frame), None, config, tmp_path / "prepared")
    assert set(dataset.columns("test").item_index.tolist()) == {0}
    assert set(dataset.columns("test").user_index.tolist()) == {1, 2}
    assert sorted(dataset.columns("train").item_index.tolist()) == list(range(1, 81))


def test_every_row_keeps_its_weight_through_the_split(tmp_path):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "user_id": rng.integers(0, 20, 200),
            "item_id": range(200),
            "rating": rng.integers(1, 6, 200),
            "weight": rng.exponential(size=200) * (rng.random(200) < 0.8),
        }
    )
    dataset = prepare_dataset(
        ratings_from_frame(frame), None, DataConfig(validation_fraction=0.1), tmp_path / "prepared"
    )
    weight_of = dict(zip(frame["item_id"], frame["weight"].astype(np.float32), strict=True))
    seen = 0
    for split in SPLITS:
        weight = dataset.columns(split).weight
        assert weight.dtype == np.float32
        items = dataset.table(split)["item_id"].to_pylist()
        assert weight.tolist() == [weight_of[item] for item in items]
        seen += len(weight)
    assert seen == 200


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


def test_a_table_of_several_record_batches_is_read_whole(prepared, tmp_path):
    table = prepared.table("train")
    halves = [table.slice(0, 100), table.slice(100)]
    path = tmp_path / "halves"
    path.mkdir()
    dataset_module._write_table(path / "train.arrow", table)
    with pa.OSFile(str(path / "train.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for half in halves:
            writer.write_table(half)
    read = replace(prepared, path=path).columns("train")
    np.testing.assert_array_equal(read.rating, prepared.columns("train").rating)
    assert len(read) == prepared.num_rows("train")


def test_the_manifest_counts_and_checks_what_is_there(prepared):
    manifest = json.loads((prepared.path / "manifest.json").read_text())
    train = pd.read_feather(prepared.path / "train.arrow")
    assert (manifest["format_version"], manifest["rows"], manifest["dropped_rows"]) == (
        FORMAT_VERSION,
        600,
        0,
    )
    assert manifest["splits"] == {"train": 432, "validation": 48, "test": 120}
    assert (manifest["users"], manifest["items"]) == (train["user_id"].nunique(), train["item_id"].nunique())
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
    ratings = ratings_from_frame(pd.DataFrame({"user_id": 1, "item_id": 1, "rating": rating}))
    dataset = prepare_dataset(ratings, None, DataConfig(validation_fraction=0.0), tmp_path / "prepared")
    assert dataset.table("test")["rating"].to_pylist() == [9.5, 0.5]
    assert dataset.rating_scale == (2.0, 4.0)


def test_titles_and_people_stand_beside_their_ids(prepared):
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


def test_side_rows_are_found_for_string_ids_too(tiny_ratings, tmp_path):
    rows = (tiny_ratings / "u.data").read_text()
    (tiny_ratings / "u.data").write_text(rows + "Anna\tA\t3\t0\n" * 100)
    items = prepare(tiny_ratings, tmp_path / "prepared").items.to_pandas().set_index("item_id")
    assert items.loc["1", "title"] == ACCENTED_TITLE
    assert pd.isna(items.loc["A", "title"])


def test_the_same_ratings_prepared_twice_are_the_same_bytes(tiny_ratings, prepared, tmp_path):
    again = prepare(tiny_ratings, tmp_path / "again")
    assert again.fingerprint == prepared.fingerprint
    for file in prepared.path.iterdir():
        assert (again.path / file.name).read_bytes() == file.read_bytes()


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


@pytest.mark.parametrize("folder_exists", [False, True])
def test_a_write_that_fails_leaves_nothing_behind(tiny_ratings, tmp_path, monkeypatch, folder_exists):
    out = tmp_path / "out" / "prepared"
    (out if folder_exists else out.parent).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    write_table, written = dataset_module._write_table, []

    def write_two_tables(path, table):
        if len(written) == 2:
            raise OSError("no space left on device")
        written.append(path)
        return write_table(path, table)

    monkeypatch.setattr(dataset_module, "_write_table", write_two_tables)
    with pytest.raises(OSError, match="no space left"):
        prepare(tiny_ratings, out)
    assert len(written) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_empty_folder_is_filled_not_replaced(tiny_ratings, prepared, tmp_path, monkeypatch):
    out = tmp_path / "mounted"
    out.mkdir()
    inode = out.stat().st_ino
    monkeypatch.chdir(out)
    dataset = prepare(tiny_ratings, dataset_module.Path("."))
    assert out.stat().st_ino == inode
    assert dataset.fingerprint == prepared.fingerprint
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in prepared.path.iterdir())


def test_a_link_to_an_empty_folder_is_followed(tiny_ratings, prepared, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    assert prepare(tiny_ratings, tmp_path / "link").fingerprint == prepared.fingerprint
    assert (tmp_path / "target" / "manifest.json").is_file()


def damage_nothing_there(path):
    for file in path.iterdir():
        file.unlink()


def damage_newer_version(path):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format_version": FORMAT_VERSION + 1}))


def damage_missing_file(path):
    (path / "users.arrow").unlink()


def damage_cut_file(path):
    content = (path / "train.arrow").read_bytes()
    (path / "train.arrow").write_bytes(content[:-7])


def damage_manifest(path):
    (path / "manifest.json").write_bytes(b"\xff{")


def damage_manifest_kind(path):
    (path / "manifest.json").write_text("[1]")


def damage_manifest_keys(path):
    (path / "manifest.json").write_text(json.dumps({"format_version": FORMAT_VERSION}))


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (damage_nothing_there, "a prepared dataset has a manifest.json, none found"),
        (damage_newer_version, f"reads dataset format {FORMAT_VERSION}, got {FORMAT_VERSION + 1}"),
        (damage_missing_file, "file users.arrow is missing"),
        (damage_cut_file, "train.arrow: must have [0-9]+ bytes, got [0-9]+"),
        (damage_manifest, "not a reeltrain manifest"),
        (damage_manifest_kind, "not a reeltrain manifest"),
        (damage_manifest_keys, "not a reeltrain manifest: 'files'"),
    ],
)
def test_a_damaged_dataset_is_not_opened(prepared, damage, rule):
    damage(prepared.path)
    with pytest.raises(UserError, match=rule):
        open_dataset(prepared.path)


def test_a_file_of_the_right_size_that_is_no_arrow_file_is_named(prepared):
    file = prepared.path / "items.arrow"
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(UserError, match=r"items\.arrow: not an Arrow IPC file"):
        _ = open_dataset(prepared.path).items
