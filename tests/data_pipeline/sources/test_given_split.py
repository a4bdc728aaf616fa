"""Predefined train and test files: found in a folder or given by name, never mixed by accident."""

import numpy as np
import pandas as pd
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.dataset.check import check_dataset
from data_pipeline.dataset.dataset import open_dataset
from data_pipeline.errors import UserError
from data_pipeline.prepare.append import append_ratings
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from launch.main import main

PAIR = ["user_id", "item_id"]
CELLS = np.random.default_rng(1).permutation(40 * 30)[:400]
FRAME = pd.DataFrame({"user_id": CELLS // 30, "item_id": CELLS % 30, "rating": CELLS % 5 + 1.0})
TRAIN, TEST = FRAME.iloc[:300], FRAME.iloc[300:]
WRITERS = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "parquet": lambda frame, path: frame.to_parquet(path),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def pairs_of(dataset, split):
    batches = [dataset.with_raw_ids(batch).to_pandas() for batch in dataset.table(split).to_batches()]
    return sorted(map(tuple, pd.concat(batches)[PAIR].to_numpy().tolist()))


def rows_of(frame):
    return sorted(map(tuple, frame[PAIR].to_numpy().tolist()))


def prepare(data, out, **settings):
    config = DataConfig(**settings)
    return prepare_dataset(open_source(data, config), config, out)


def is_given(dataset, *, num_validation=15):
    assert pairs_of(dataset, "test") == rows_of(TEST)
    assert sorted(pairs_of(dataset, "train") + pairs_of(dataset, "validation")) == rows_of(TRAIN)
    assert dataset.num_rows("validation") == num_validation


@pytest.mark.parametrize("suffix", WRITERS)
def test_train_and_test_files_of_a_folder_are_used_as_given(folder, tmp_path, suffix):
    WRITERS[suffix](TRAIN, folder / f"train.{suffix}")
    WRITERS[suffix](TEST, folder / f"test.{suffix}")
    is_given(prepare(folder, tmp_path / "out", split="given"))
    with pytest.raises(UserError, match=rf"has train\.{suffix} and test\.{suffix}: give split=.given"):
        open_source(folder, DataConfig())
    mixed = prepare(f"{folder}/*", tmp_path / "mixed")
    assert mixed.manifest["splits"] == {"train": 304, "validation": 16, "test": 80}


@pytest.mark.parametrize("suffix", WRITERS)
def test_test_ratings_can_be_given_by_name(folder, tmp_path, suffix, capsys):
    WRITERS[suffix](TRAIN, folder / f"some.{suffix}")
    WRITERS[suffix](TEST, tmp_path / f"others.{suffix}")
    main(["prepare", f"data/some.{suffix}", "--test", f"others.{suffix}", "--out", "out"])
    assert f"data      data/some.{suffix}, tested on others.{suffix}" in capsys.readouterr().err
    dataset = open_dataset(tmp_path / "out")
    is_given(dataset)
    assert dataset.settings.split == "given"
    main(["prepare", "data", "--test", f"others.{suffix}", "--out", "again"])
    assert open_dataset(tmp_path / "again").fingerprint == dataset.fingerprint


def test_the_test_file_may_be_in_the_folder_of_the_training_files(folder, tmp_path):
    TRAIN.iloc[:100].to_csv(folder / "train.csv", index=False)
    TRAIN.iloc[100:].to_csv(folder / "more.csv", index=False)
    TEST.to_csv(folder / "test.csv", index=False)
    is_given(
        prepare(folder, tmp_path / "out", test=str(folder / "test.csv"), validation_fraction=0.0001),
        num_validation=1,
    )


def test_appended_rows_are_training_rows(folder, tmp_path):
    TRAIN.to_csv(folder / "train.csv", index=False)
    TEST.to_csv(folder / "test.csv", index=False)
    prepare(folder / "train.csv", tmp_path / "out", test=str(folder / "test.csv"))
    new = FRAME.assign(user_id=FRAME["user_id"] + 100)
    dataset = append_ratings(open_source(new, DataConfig()), tmp_path / "out")
    check_dataset(dataset.path)
    assert pairs_of(dataset, "test") == rows_of(TEST)
    assert dataset.manifest["splits"] == {"train": 285 + 380, "validation": 15 + 20, "test": 100}


@pytest.mark.parametrize("names", [("u1.base", "u1.test"), ("u1.train", "u1.test")])
def test_pairs_of_csv_files_need_no_format(folder, tmp_path, names):
    TRAIN.to_csv(folder / names[0], index=False, sep=";")
    TEST.to_csv(folder / names[1], index=False, sep=";")
    is_given(prepare(folder, tmp_path / "out", split="u1"))
    with pytest.raises(UserError, match=r"has pairs of files u1: choose one, as in split=.u1"):
        open_source(folder, DataConfig())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": "none.csv"}, "data.test: no such file: none.csv"),
        ({"test": "data/train.csv"}, "data.test must be another file than DATA, got data/train.csv"),
        ({"test": "data/test.tsv"}, "DATA: all files must have the same format, got data/train.csv (csv)"),
        ({"test": "data/weighted.csv"}, "all files must have the same columns"),
        ({"test": "data/test.csv", "split": "time"}, "data.split must be given or as by default, got 'time'"),
        ({"test": "data/test.csv", "test_fraction": 0.3}, "data.test_fraction is for the random"),
        ({"split": "given"}, "data.split must be one of random, per-user"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder, tmp_path, settings, message):
    TRAIN.to_csv(folder / "train.csv", index=False)
    TEST.to_csv(folder / "test.csv", index=False)
    TEST.to_csv(folder / "test.tsv", index=False, sep="\t")
    TEST.assign(weight=1).to_csv(folder / "weighted.csv", index=False)
    with pytest.raises(UserError) as caught:
        prepare("data/train.csv", tmp_path / "out", **settings)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_frame_with_a_test_file_is_refused():
    with pytest.raises(
        UserError, match=r"data\.test needs ratings from files, got 'test\.csv' without a file"
    ):
        open_source(TRAIN, DataConfig(test="test.csv"))


def test_a_folder_without_train_and_test_files_is_refused(folder):
    TRAIN.to_csv(folder / "train.csv", index=False)
    with pytest.raises(UserError, match=r"needs files such as train\.csv and test\.csv in "):
        open_source(folder, DataConfig(split="given"))
