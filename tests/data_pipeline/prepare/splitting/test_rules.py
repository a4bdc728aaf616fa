"""Each split rule, compared with scikit-learn or a slow reference in pandas."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.model_selection import KFold, train_test_split

from data_pipeline.config import DataConfig
from data_pipeline.dataset.splits import TEST, TRAIN, VALIDATION
from data_pipeline.errors import UserError
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.prepare.splitting.inverse_shuffle import undo_shuffle
from data_pipeline.prepare.splitting.rules import check_split, random_assignment
from data_pipeline.prepare.stored_order import order_keys
from data_pipeline.sources.open_source import open_source
from support.selections import config_of, parts_of, ratings_frames

fractions = st.floats(0.05, 0.5)
validations = st.sampled_from([0.0, 0.05, 0.3])
seeds = st.integers(0, 2**32 - 1)


def split_ratings(source, config, out):
    """split -> the (user_id, item_id, rating) rows of a prepared dataset, sorted."""
    dataset = prepare_dataset(open_source(source, config), config, out)
    columns = ["user_id", "item_id", "rating"]
    return {
        name: pd.concat(dataset.with_raw_ids(b).to_pandas() for b in dataset.table(name).to_batches())[
            columns
        ]
        for name in ("train", "validation", "test")
        if dataset.num_rows(name)
    }


def as_written(path):
    names = ["user_id", "item_id", "rating", "timestamp"]
    frame = pd.read_csv(path, sep="\t", names=names).drop(columns="timestamp")
    return frame.astype({"rating": np.float32})


def same_rows(actual, expected):
    by = ["user_id", "item_id"]
    pd.testing.assert_frame_equal(
        actual.sort_values(by, ignore_index=True), expected.sort_values(by, ignore_index=True)
    )


@given(
    num_rows=st.integers(2, 3000), test_fraction=st.floats(0.001, 0.999), validation=validations, seed=seeds
)
def test_a_random_split_equals_that_of_scikit_learn(num_rows, test_fraction, validation, seed):
    assume(np.ceil(test_fraction * num_rows) < num_rows)
    labels = random_assignment(
        num_rows, test_fraction=test_fraction, validation_fraction=validation, seed=seed
    )
    train, test = train_test_split(np.arange(num_rows), test_size=test_fraction, random_state=seed)
    if validation:
        assume(math.ceil(validation * len(train)) < len(train))
        train, cut = train_test_split(train, test_size=validation, random_state=seed)
        assert set(np.flatnonzero(labels == VALIDATION)) == set(cut)
    assert set(np.flatnonzero(labels == TEST)) == set(test)
    assert set(np.flatnonzero(labels == TRAIN)) == set(train)


@pytest.mark.parametrize(("num_rows", "seed"), [(1, 0), (5, 0), (65_537, 1), (1 << 18, 42), (3_000_003, 7)])
@pytest.mark.parametrize("same", [0.0, 0.2, 1.0])
def test_undo_shuffle_inverts_numpys_shuffle(num_rows, seed, same):
    """With 256 different values nearly every swap matters; a constant prefix stands for the test rows."""
    labels = np.random.default_rng(seed).integers(0, 256, num_rows).astype(np.uint8)
    labels[: math.ceil(same * num_rows)] = 7
    undone = labels.copy()
    undo_shuffle(undone, seed)
    np.testing.assert_array_equal(undone[np.random.RandomState(seed).permutation(num_rows)], labels)


@pytest.mark.slow
@given(ratings_frames(), fractions, validations, seeds)
def test_random_split_of_a_source(frame, test_fraction, validation, seed):
    config = config_of(test_fraction=test_fraction, validation_fraction=validation, split_seed=seed)
    parts = parts_of(frame, config)
    train, test = train_test_split(np.arange(len(frame)), test_size=test_fraction, random_state=seed)
    assert parts["test"] == sorted(test)
    assert sorted(parts["train"] + parts["validation"]) == sorted(train)
    assert len(parts["validation"]) == math.ceil(validation * len(train))


@pytest.mark.slow
@given(ratings_frames(), st.integers(2, 6), validations, seeds)
def test_folds_equal_those_of_scikit_learn_and_cover_every_row_once(frame, folds, validation, seed):
    tested = []
    for fold, (train, test) in enumerate(KFold(folds, shuffle=True, random_state=seed).split(frame)):
        config = config_of(
            split="k-fold", folds=folds, fold=fold, validation_fraction=validation, split_seed=seed
        )
        parts = parts_of(frame, config)
        assert parts["test"] == test.tolist()
        if validation:
            train, cut = train_test_split(train, test_size=validation, random_state=seed)
            assert parts["validation"] == sorted(cut)
        assert parts["train"] == sorted(train)
        tested += parts["test"]
    assert sorted(tested) == list(range(len(frame)))


@given(ratings_frames(), fractions, validations, seeds)
def test_per_user_takes_a_share_of_each_users_rows_by_key(frame, test_fraction, validation, seed):
    config = config_of(
        split="per-user", test_fraction=test_fraction, validation_fraction=validation, split_seed=seed
    )
    keys = order_keys(np.arange(len(frame)), seed, purpose=1)
    expected = {"train": [], "validation": [], "test": []}
    for _, rows in frame.groupby("user_id").groups.items():
        rows = sorted(rows, key=lambda row: keys[row])
        num_test = min(math.floor(test_fraction * len(rows) + 0.5), len(rows) - 1)
        rest = len(rows) - num_test
        num_validation = min(math.floor(validation * rest + 0.5), rest - 1)
        expected["test"] += rows[:num_test]
        expected["validation"] += rows[num_test : num_test + num_validation]
        expected["train"] += rows[num_test + num_validation :]
    assume(expected["test"])
    parts = parts_of(frame, config)
    assert {name: parts[name] for name in expected} == {n: sorted(rows) for n, rows in expected.items()}
    assert set(frame["user_id"].iloc[parts["train"]]) == set(frame["user_id"])


@given(ratings_frames(), st.sampled_from([0.0, 0.05]), st.booleans())
def test_leave_last_out_takes_each_users_last_two_rows(frame, validation, has_time):
    if not has_time:
        frame = frame.drop(columns="timestamp")
    expected = {"train": [], "validation": [], "test": []}
    for _, rows in frame.groupby("user_id"):
        ordered = rows.sort_values("timestamp", kind="stable") if has_time else rows
        *others, last = ordered.index.tolist()
        if not others:
            expected["train"].append(last)
            continue
        expected["test"].append(last)
        if validation and len(others) > 1:
            expected["validation"].append(others.pop())
        expected["train"] += others
    assume(expected["test"])
    parts = parts_of(frame, config_of(split="leave-last-out", validation_fraction=validation))
    assert {name: parts[name] for name in expected} == {n: sorted(rows) for n, rows in expected.items()}


@given(ratings_frames(), fractions, validations)
def test_the_time_split_takes_the_latest_rows(frame, test_fraction, validation):
    order = frame.sort_values("timestamp", kind="stable").index.tolist()
    num_test = math.ceil(test_fraction * len(frame))
    num_validation = math.ceil(validation * (len(frame) - num_test))
    num_train = len(frame) - num_test - num_validation
    assume(num_train)
    parts = parts_of(
        frame, config_of(split="time", test_fraction=test_fraction, validation_fraction=validation)
    )
    assert parts["train"] == sorted(order[:num_train])
    assert parts["validation"] == sorted(order[num_train : num_train + num_validation])
    assert parts["test"] == sorted(order[num_train + num_validation :])


@given(ratings_frames(), st.integers(1, 5), validations, seeds)
def test_a_predefined_pair_keeps_its_test_rows_and_takes_validation_from_train(
    frame, num_test, validation, seed
):
    num_train = len(frame) - num_test
    config = config_of(split="u1", validation_fraction=validation, split_seed=seed)
    parts = parts_of(frame, config, num_train=num_train)
    assert parts["test"] == list(range(num_train, len(frame)))
    train = np.arange(num_train)
    if validation:
        train, cut = train_test_split(train, test_size=validation, random_state=seed)
        assert parts["validation"] == sorted(cut)
    assert parts["train"] == sorted(train)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["random", "per-user", "leave-last-out", "time", "k-fold"])
@given(frame=ratings_frames(distinct=False, min_rows=30))
def test_neither_batches_nor_groups_change_a_split(split, frame):
    config = config_of(split=split)
    assume(len(frame.drop_duplicates(["user_id", "item_id"])) > 20 and frame["user_id"].nunique() < 8)
    expected = parts_of(frame, config, sizes=(1000,))
    assert parts_of(frame, config, sizes=(1, 2, 30)) == expected
    assert sum(map(len, expected.values())) == len(frame)


def test_the_default_split_of_ml_100k_is_scikit_learns_with_seed_42(ml_100k, tmp_path):
    parts = split_ratings(ml_100k, DataConfig(validation_fraction=0.0), tmp_path / "prepared")
    train, test = train_test_split(as_written(ml_100k / "u.data"), test_size=0.2, random_state=42)
    assert (len(parts["train"]), len(parts["test"])) == (80_000, 20_000)
    same_rows(parts["train"], train)
    same_rows(parts["test"], test)


def test_validation_of_a_predefined_pair_comes_only_from_its_base_file(ml_100k, tmp_path):
    parts = split_ratings(ml_100k, DataConfig(split="u2", validation_fraction=0.05), tmp_path / "prepared")
    train, validation = train_test_split(as_written(ml_100k / "u2.base"), test_size=0.05, random_state=42)
    same_rows(parts["train"], train)
    same_rows(parts["validation"], validation)
    same_rows(parts["test"], as_written(ml_100k / "u2.test"))


def test_predefined_pair_with_strings_in_one_file_only_has_string_ids(tiny_ratings, tmp_path):
    (tiny_ratings / "a.base").write_text("1\t10\t3\t0\n2\t20\t4\t0\n")
    (tiny_ratings / "a.test").write_text("Anna\t10\t5\t0\n1\t20\t2\t0\n")
    parts = split_ratings(tiny_ratings, DataConfig(split="a", validation_fraction=0.0), tmp_path / "prepared")
    assert sorted(parts["train"]["user_id"]) == ["1", "2"]
    assert sorted(parts["test"]["user_id"]) == ["1", "Anna"]
    assert sorted(parts["test"]["item_id"]) == [10, 20]


@pytest.mark.parametrize("split", ["random", "per-user", "time"])
@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_test_fraction_must_be_between_0_and_1(split, fraction):
    with pytest.raises(UserError, match=r"data\.test_fraction must be above 0 and below 1"):
        check_split(config_of(split=split, test_fraction=fraction))


@pytest.mark.parametrize("fraction", [1.0, -0.1, float("nan")])
def test_validation_fraction_must_be_at_least_0_and_below_1(fraction):
    with pytest.raises(UserError, match=r"data\.validation_fraction must be at least 0 and below 1"):
        check_split(config_of(validation_fraction=fraction))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "u1", "test_fraction": 0.3}, "data.test_fraction is for the random and per-user and time"),
        ({"split": "leave-last-out", "test_fraction": 0.3}, "got 0.3 with data.split 'leave-last-out'"),
        ({"split": "k-fold", "test_fraction": 0.3}, "got 0.3 with data.split 'k-fold'"),
        ({"folds": 3}, "data.folds is for the k-fold split, got 3 with data.split 'random'"),
        ({"split": "time", "fold": 1}, "data.fold is for the k-fold split, got 1 with data.split 'time'"),
        ({"split": "leave-last-out", "validation_fraction": 0.3}, "validation is one row a user"),
    ],
)
def test_a_setting_without_an_effect_is_refused(settings, message):
    with pytest.raises(UserError) as caught:
        check_split(config_of(**settings))
    assert message in str(caught.value)


@pytest.mark.parametrize(("num_rows", "test_fraction"), [(1, 0.2), (2, 0.9), (100, 0.999)])
def test_a_split_without_training_rows_is_refused(num_rows, test_fraction):
    frame = pd.DataFrame({"user_id": 1, "item_id": range(num_rows), "rating": 3.0})
    with pytest.raises(UserError, match=f"at least one row for train .* got {num_rows} rating"):
        parts_of(frame, config_of(test_fraction=test_fraction, validation_fraction=0.0))


def test_a_split_without_test_rows_is_refused():
    frame = pd.DataFrame({"user_id": range(30), "item_id": 1, "rating": 3.0})
    with pytest.raises(UserError, match=r"one for test, got 30 .* with data\.split leave-last-out"):
        parts_of(frame, config_of(split="leave-last-out"))


def test_the_time_split_needs_timestamps():
    frame = pd.DataFrame({"user_id": range(30), "item_id": 1, "rating": 3.0})
    with pytest.raises(UserError, match=r"data\.split time needs a timestamp column"):
        parts_of(frame, config_of(split="time"))
