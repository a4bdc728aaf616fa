"""The split: row for row scikit-learn's, or the pairs that the data comes with."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from data_pipeline.errors import UserError
from data_pipeline.prepare import DataConfig, prepare_dataset, read_ratings
from data_pipeline.split import cut_validation, random_split


def split_ratings(source, config, out):
    """split -> the (user_id, item_id, rating) rows that a prepared dataset has, in its order."""
    dataset = prepare_dataset(*read_ratings(source, config), config, out)
    columns = ["user_id", "item_id", "rating"]
    return {name: dataset.table(name).select(columns).to_pandas() for name in ("train", "validation", "test")}


def as_written(path):
    names = ["user_id", "item_id", "rating", "timestamp"]
    frame = pd.read_csv(path, sep="\t", names=names).drop(columns="timestamp")
    return frame.astype({"rating": np.float32})


def same_rows(actual, expected):
    pd.testing.assert_frame_equal(actual, expected.reset_index(drop=True))


@given(
    num_rows=st.integers(2, 3000),
    test_fraction=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**32 - 1),
)
def test_random_split_is_that_of_scikit_learn_row_for_row(num_rows, test_fraction, seed):
    assume(np.ceil(test_fraction * num_rows) < num_rows)
    split = random_split(num_rows, test_fraction=test_fraction, validation_fraction=0.0, seed=seed)
    train, test = train_test_split(np.arange(num_rows), test_size=test_fraction, random_state=seed)
    np.testing.assert_array_equal(split.train, train)
    np.testing.assert_array_equal(split.test, test)
    assert len(split.validation) == 0


@pytest.mark.parametrize(("num_rows", "seed"), [(5, 0), (1001, 1), (100_000, 42), (1_000_003, 7)])
def test_validation_is_cut_from_train_as_scikit_learn_would(num_rows, seed):
    split = random_split(num_rows, test_fraction=0.2, validation_fraction=0.1, seed=seed)
    rest, test = train_test_split(np.arange(num_rows), test_size=0.2, random_state=seed)
    train, validation = train_test_split(rest, test_size=0.1, random_state=seed)
    np.testing.assert_array_equal(split.train, train)
    np.testing.assert_array_equal(split.validation, validation)
    np.testing.assert_array_equal(split.test, test)


@given(
    num_rows=st.integers(4, 500),  # so that the largest fractions leave a row to train on
    test_fraction=st.floats(0.01, 0.5),
    validation_fraction=st.floats(0.0, 0.3),
    seed=st.integers(0, 100),
)
def test_every_row_stands_in_exactly_one_part(num_rows, test_fraction, validation_fraction, seed):
    split = random_split(
        num_rows, test_fraction=test_fraction, validation_fraction=validation_fraction, seed=seed
    )
    rows = np.concatenate([split.train, split.validation, split.test])
    assert sorted(rows.tolist()) == list(range(num_rows))


def test_default_split_of_ml_100k_is_scikit_learns_with_seed_42(ml_100k, tmp_path):
    parts = split_ratings(ml_100k, DataConfig(validation_fraction=0.0), tmp_path / "prepared")
    train, test = train_test_split(as_written(ml_100k / "u.data"), test_size=0.2, random_state=42)
    assert (len(parts["train"]), len(parts["validation"]), len(parts["test"])) == (80_000, 0, 20_000)
    same_rows(parts["train"], train)
    same_rows(parts["test"], test)


def test_predefined_pair_of_ml_100k_is_taken_as_it_is(ml_100k, tmp_path):
    parts = split_ratings(ml_100k, DataConfig(split="u1", validation_fraction=0.0), tmp_path / "prepared")
    same_rows(parts["train"], as_written(ml_100k / "u1.base"))
    same_rows(parts["test"], as_written(ml_100k / "u1.test"))


def test_validation_of_a_predefined_pair_comes_from_its_base_alone(ml_100k, tmp_path):
    parts = split_ratings(ml_100k, DataConfig(split="u2", validation_fraction=0.05), tmp_path / "prepared")
    train, validation = train_test_split(as_written(ml_100k / "u2.base"), test_size=0.05, random_state=42)
    same_rows(parts["train"], train)
    same_rows(parts["validation"], validation)
    same_rows(parts["test"], as_written(ml_100k / "u2.test"))


def test_predefined_pair_with_strings_in_one_file_only_has_string_ids(tiny_ratings, tmp_path):
    (tiny_ratings / "a.base").write_text("1\t10\t3\t0\n2\t20\t4\t0\n")
    (tiny_ratings / "a.test").write_text("Anna\t10\t5\t0\n1\t20\t2\t0\n")
    parts = split_ratings(tiny_ratings, DataConfig(split="a", validation_fraction=0.0), tmp_path / "prepared")
    assert parts["train"]["user_id"].tolist() == ["1", "2"]
    assert parts["test"]["user_id"].tolist() == ["Anna", "1"]
    assert parts["test"]["item_id"].tolist() == [10, 20]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_test_fraction_must_be_between_0_and_1(fraction):
    with pytest.raises(UserError, match=r"data\.test_fraction must be above 0 and below 1"):
        random_split(100, test_fraction=fraction, validation_fraction=0.0, seed=0)


@pytest.mark.parametrize("fraction", [1.0, -0.1, float("nan")])
def test_validation_fraction_must_be_at_least_0_and_below_1(fraction):
    with pytest.raises(UserError, match=r"data\.validation_fraction must be at least 0 and below 1"):
        cut_validation(np.arange(10), np.arange(0), validation_fraction=fraction, seed=0)


@pytest.mark.parametrize(("num_rows", "test_fraction"), [(0, 0.2), (1, 0.2), (2, 0.9), (100, 0.999)])
def test_no_split_leaves_nothing_to_train_on(num_rows, test_fraction):
    with pytest.raises(UserError, match=f"at least one row for train .* got {num_rows} rating"):
        random_split(num_rows, test_fraction=test_fraction, validation_fraction=0.0, seed=0)
    if num_rows > 1:
        with pytest.raises(ValueError, match="train set will be empty"):
            train_test_split(np.arange(num_rows), test_size=test_fraction)
