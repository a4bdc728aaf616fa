"""Appending ratings keeps indices and splits, resolves duplicates and replaces the dataset atomically."""

import contextlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import train_test_split

from data_pipeline.config import DataConfig
from data_pipeline.dataset.check import check_dataset
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.errors import UserError
from data_pipeline.prepare import append as append_module
from data_pipeline.prepare.append import append_ratings
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from launch.main import main
from support import runs

PAIR = ["user_id", "item_id"]


def ratings(users, items, num_rows, seed):
    """Ratings of distinct pairs of these users and items."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(len(users) * len(items))[:num_rows]
    return pd.DataFrame(
        {
            "user_id": np.array(users)[cells // len(items)],
            "item_id": np.array(items)[cells % len(items)],
            "rating": rng.integers(1, 6, num_rows).astype(np.float32),
            "timestamp": rng.integers(0, 10**6, num_rows),
        }
    )


OLD = ratings(range(100, 140), range(30), 600, seed=1)
NEW = ratings([*range(200, 210), *range(50, 60)], [*range(10, 50)], 300, seed=2)


def prepare(frame, out, **settings):
    config = DataConfig(**settings)
    return prepare_dataset(open_source(frame, config), config, out)


def append(frame, path):
    return append_ratings(open_source(frame, DataConfig()), path)


def rows_of(dataset, split):
    batches = [dataset.with_raw_ids(batch).to_pandas() for batch in dataset.table(split).to_batches()]
    return pd.concat(batches).astype({"rating": np.float32}).sort_values(PAIR, ignore_index=True)


def test_existing_rows_keep_their_split_and_existing_ids_their_index(tmp_path):
    old = prepare(OLD, tmp_path / "data")
    before = {split: rows_of(old, split) for split in SPLITS}
    users, items = old.user_vocabulary.ids.to_pylist(), old.item_vocabulary.ids.to_pylist()
    dataset = append(NEW, old.path)
    check_dataset(old.path)
    train, test = train_test_split(np.arange(len(NEW)), test_size=0.2, random_state=42)
    train, validation = train_test_split(train, test_size=0.05, random_state=42)
    for split, rows in zip(SPLITS, (train, validation, test), strict=True):
        expected = pd.concat([before[split], NEW.iloc[rows]]).sort_values(PAIR, ignore_index=True)
        pd.testing.assert_frame_equal(rows_of(dataset, split)[expected.columns], expected)
    new_users = dataset.user_vocabulary.ids.to_pylist()
    assert new_users[: len(users)] == users
    assert new_users[len(users) :] == sorted(set(NEW["user_id"].iloc[train]) - set(users))
    new_items = dataset.item_vocabulary.ids.to_pylist()
    assert new_items[: len(items)] == items
    assert new_items[len(items) :] == sorted(set(NEW["item_id"].iloc[train]) - set(items))
    assert dataset.manifest["appended"][0]["rows_read"] == 300
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("rule", ["keep-last", "keep-first", "mean"])
def test_a_new_rating_of_a_known_pair_takes_the_split_of_the_existing_one(tmp_path, rule):
    old = prepare(OLD, tmp_path / "data", duplicates=rule)
    before = pd.concat([rows_of(old, split).assign(split=split) for split in SPLITS]).set_index(PAIR)
    again = OLD.iloc[:200].assign(rating=lambda rows: 6 - rows["rating"], timestamp=2 * 10**6)
    dataset = append(again, old.path)
    after = pd.concat([rows_of(dataset, split).assign(split=split) for split in SPLITS]).set_index(PAIR)
    assert len(after) == 600
    assert after["split"].to_dict() == before["split"].to_dict()
    changed = again.set_index(PAIR)["rating"]
    expected = before["rating"].copy()
    if rule == "keep-last":
        expected[changed.index] = changed
    if rule == "mean":
        expected[changed.index] = 3.0
    assert after["rating"].to_dict() == expected.to_dict()
    assert dataset.manifest["dropped_duplicates"] == 200


def test_with_duplicates_error_a_known_pair_is_refused_and_nothing_changes(tmp_path):
    old = prepare(OLD, tmp_path / "data", duplicates="error")
    with pytest.raises(UserError, match="a user may rate an item only once, got 2 ratings"):
        append(OLD.iloc[:1], old.path)
    assert check_dataset(old.path).fingerprint == old.fingerprint
    assert not list(tmp_path.glob(".*"))


def test_string_ids_make_all_ids_strings_with_the_same_indices(tmp_path):
    old = prepare(OLD, tmp_path / "data")
    users = [str(each) for each in old.user_vocabulary.ids.to_pylist()]
    dataset = append(NEW.assign(user_id="new " + NEW["user_id"].astype(str)), old.path)
    check_dataset(old.path)
    assert dataset.user_vocabulary.ids.to_pylist()[: len(users)] == users
    assert dataset.num_rows("train") > old.num_rows("train")


def test_an_id_that_only_test_rows_had_gets_an_index_once_it_is_trained_on(tmp_path):
    frame = OLD.assign(item_id=[*range(1000, 1600)])
    old = prepare(frame, tmp_path / "data", validation_fraction=0.0)
    cold, num_old = rows_of(old, "test")["item_id"].tolist(), len(old.item_vocabulary.ids)
    new = pd.DataFrame({"user_id": range(40), "item_id": cold[:1] * 40, "rating": 3.0, "timestamp": 5})
    dataset = append(new, old.path)
    check_dataset(old.path)
    assert dataset.item_vocabulary.ids.to_pylist()[num_old:] == cold[:1]


@pytest.mark.parametrize("split", ["random", "time"])
def test_appending_only_known_ratings_changes_no_row(tmp_path, split):
    old = prepare(OLD, tmp_path / "data", split=split)
    before = {part: rows_of(old, part) for part in SPLITS}
    new = append(OLD, tmp_path / "data")
    for part in SPLITS:
        pd.testing.assert_frame_equal(rows_of(new, part), before[part])


def test_several_appends_and_side_tables(tmp_path):
    for name, items in (("one", range(30)), ("two", range(10, 50))):
        pd.DataFrame({"item_id": items, "title": [f"{name} {i}" for i in items]}).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    config = DataConfig(items=str(tmp_path / "one.csv"))
    prepare_dataset(open_source(OLD, config), config, tmp_path / "data")
    append_ratings(open_source(NEW, DataConfig(items=str(tmp_path / "two.csv"))), tmp_path / "data")
    dataset = append(ratings(range(300, 320), range(30), 100, seed=3), tmp_path / "data")
    check_dataset(tmp_path / "data")
    assert len(dataset.manifest["appended"]) == 2
    assert sum(dataset.manifest["splits"].values()) == 1000
    titles = dict(zip(dataset.items["item_id"].to_pylist(), dataset.items["title"].to_pylist(), strict=True))
    assert titles[12] == "one 12"
    assert titles[45] == "two 45"


def test_side_features_are_kept_for_later_ids_and_fill_nulls(tmp_path):
    table = {"item_id": [*range(30), 45], "title": ["", *(f"one {i}" for i in range(1, 30)), "one 45"]}
    frame = pd.DataFrame(table | {"tags": ["a|b"] * 31, "year": [None] * 10 + [1990] * 21})
    frame.loc[:9, "tags"] = ""
    pq.write_table(pa.Table.from_pandas(frame.replace({"title": {"": None}})), tmp_path / "one.parquet")
    frame = pd.DataFrame({"item_id": range(48), "title": [f"two {i}" for i in range(48)], "year": 2000.5})
    frame.to_csv(tmp_path / "two.csv", index=False)
    config = DataConfig(items=str(tmp_path / "one.parquet"))
    prepare_dataset(open_source(OLD, config), config, tmp_path / "data")
    first = append(NEW, tmp_path / "data")
    check_dataset(first.path)
    items = first.items.to_pandas().set_index("item_id")
    assert items.loc[45, "title"] == "one 45"
    assert items["title"].isna().sum() == 1 + len(set(range(30, 50)) - {45})
    more = ratings(range(100, 140), range(30), 5, seed=3)
    config = DataConfig(items=str(tmp_path / "two.csv"))
    second = append_ratings(open_source(more, config), tmp_path / "data")
    check_dataset(second.path)
    items = second.items.to_pandas().set_index("item_id")
    assert items["title"].dropna().to_dict() == {
        item: f"{'one' if item in range(1, 30) or item == 45 else 'two'} {item}" for item in range(48)
    }
    assert items["year"][5] == 2000.5
    assert items["year"][12] == 1990
    assert list(items["tags"][12]) == ["a", "b"]


@pytest.mark.parametrize("split", ["random", "per-user", "leave-last-out", "time", "k-fold"])
def test_a_single_new_row_is_a_training_row(tmp_path, split):
    old = prepare(OLD, tmp_path / "data", split=split)
    dataset = append(NEW.iloc[:1], old.path)
    assert dataset.manifest["splits"] == {
        **old.manifest["splits"],
        "train": old.manifest["splits"]["train"] + 1,
    }


@pytest.mark.parametrize("split", ["per-user", "leave-last-out", "time", "k-fold"])
def test_every_split_rule_supports_append(tmp_path, split):
    old = prepare(OLD, tmp_path / "data", split=split)
    before = rows_of(old, "test")
    dataset = append(NEW, old.path)
    check_dataset(old.path)
    after = rows_of(dataset, "test")
    assert len(after) > len(before)
    assert before.merge(after, on=PAIR).shape[0] == len(before)


def test_the_k_core_drops_new_rows_only(tmp_path):
    old = prepare(OLD, tmp_path / "data", min_user_ratings=5)
    few = pd.DataFrame({"user_id": [900, 100, 100], "item_id": [1, 200, 201], "rating": 3.0, "timestamp": 1})
    dataset = append(few, old.path)
    assert dataset.manifest["rows"] == old.manifest["rows"] + 2
    assert dataset.manifest["dropped_rare"] == old.manifest["dropped_rare"] + 1


def test_ratings_that_do_not_fit_are_refused(tmp_path, capsys):
    old = prepare(OLD, tmp_path / "data")
    with pytest.raises(UserError, match=r"must have the dataset's columns .* timestamp\), got user_id"):
        append(NEW.drop(columns="timestamp"), old.path)
    with pytest.raises(UserError, match=r"has a manifest\.json, none found"):
        append(NEW, tmp_path / "nowhere")
    NEW.to_csv(tmp_path / "new.csv", index=False)
    for arguments, message in [
        (["--set", "data.test_fraction=0.3"], "its split is fixed: 'data.test_fraction=0.3' has no effect"),
        (["--out", str(tmp_path / "out")], "give one of --out, --append and --check, got several"),
    ]:
        with pytest.raises(SystemExit) as caught:
            main(["prepare", str(tmp_path / "new.csv"), "--append", str(old.path), *arguments])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
    assert check_dataset(old.path).fingerprint == old.fingerprint


def test_an_append_that_fails_changes_nothing(tmp_path, monkeypatch):
    old = prepare(OLD, tmp_path / "data")

    def fail(*_args, **_kwargs):
        raise RuntimeError("planted")

    monkeypatch.setattr(append_module, "write_manifest", fail)
    with pytest.raises(RuntimeError, match="planted"):
        append(NEW, old.path)
    assert check_dataset(old.path).fingerprint == old.fingerprint
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.system
def test_an_append_killed_at_any_moment_leaves_the_old_dataset_or_the_new(tmp_path):
    old = prepare(ratings(range(3000), range(100), 200_000, seed=4), tmp_path / "data")
    ratings(range(3000, 4000), range(100), 50_000, seed=5).to_csv(tmp_path / "new.csv", index=False)
    command = [sys.executable, "-m", "launch.main", "prepare", str(tmp_path / "new.csv")]
    command += ["--append", str(old.path)]
    shutil.copytree(old.path, tmp_path / "copy")
    timed = [*command[:-1], str(tmp_path / "copy")]
    _, work_secs = runs.killed_within(timed, tmp_path / ".copy.partial", float("inf"))
    assert check_dataset(tmp_path / "copy").manifest["rows"] == 250_000
    draw = np.random.default_rng(6)
    left = 0
    for _ in range(8):
        runs.killed_within(command, tmp_path / ".data.partial", work_secs * draw.uniform(0, 1))
        left += (tmp_path / ".data.partial").exists()
        # If the new rows are in already, appending them again does not change the size.
        assert check_dataset(old.path).manifest["rows"] in (200_000, 250_000)
    assert left >= 2
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert check_dataset(old.path).manifest["rows"] == 250_000
    assert not list(tmp_path.glob(".*"))


def test_dropped_rows_of_an_append_are_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    OLD.assign(rating=OLD["rating"].astype(str).where(OLD.index != 7, "bad")).to_csv("old.csv", index=False)
    NEW.assign(rating=NEW["rating"].astype(str).where(NEW.index != 20, "worse")).to_csv(
        "new.csv", index=False
    )
    main(["prepare", "old.csv", "--out", "data", "--bad-rows", "drop"])
    capsys.readouterr()
    main(["prepare", "new.csv", "--append", "data", "--bad-rows", "drop"])
    lines = capsys.readouterr().out.splitlines()
    begin = lines.index("dropped: 2 bad rows")
    assert lines[begin + 1].startswith("  old.csv:9: ")
    assert lines[begin + 2] == "dropped of 299 appended ratings: 1 bad rows"
    assert lines[begin + 3].startswith("  new.csv:22: rating must be a finite number, got 'worse'")
    main(["prepare", "new.csv", "--append", "data", "--bad-rows", "drop", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["first_dropped"] == [lines[begin + 1].strip()]
    assert [new["first_dropped"] for new in result["appended"]] == [[lines[begin + 3].strip()]] * 2
    assert result["appended"][1]["dropped_duplicates"] == 299


def test_rows_that_another_process_appended_meanwhile_are_kept(tmp_path, monkeypatch):
    prepare(OLD, tmp_path / "data")
    locked = append_module.replaced_folder

    @contextlib.contextmanager
    def after_another(path):
        monkeypatch.setattr(append_module, "replaced_folder", locked)
        append(NEW, path)  # as if another process had held the lock until now
        with locked(path) as folder:
            yield folder

    monkeypatch.setattr(append_module, "replaced_folder", after_another)
    dataset = append(ratings(range(300, 320), range(30), 100, seed=3), tmp_path / "data")
    assert dataset.manifest["rows"] == 1000
    assert [new["rows_read"] for new in dataset.manifest["appended"]] == [300, 100]
