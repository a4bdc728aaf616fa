"""Repeated ratings and the k-core, compared with slow references in pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data_pipeline.dataset.splits import DROPPED, TEST, TRAIN
from data_pipeline.errors import UserError
from support.selections import config_of, parts_of, ratings_frames, select

PAIR = ["user_id", "item_id"]


def kept_rows(frame, rule):
    """One row per pair: the last by timestamp, then by position, or the first."""
    ordered = frame.sort_values("timestamp", kind="stable") if "timestamp" in frame else frame
    return ordered.drop_duplicates(PAIR, keep="first" if rule == "keep-first" else "last").index


def enough_rows(frame):
    return len(frame.drop_duplicates(PAIR)) >= 4


@pytest.mark.parametrize("rule", ["keep-last", "keep-first", "mean"])
@given(frame=ratings_frames(distinct=False), has_time=st.booleans())
def test_one_rating_of_each_pair_is_kept(rule, frame, has_time):
    assume(enough_rows(frame))
    if not has_time:
        frame = frame.drop(columns="timestamp")
    assignment = select(frame, config_of(duplicates=rule))
    kept = kept_rows(frame, rule)
    assert np.flatnonzero(assignment.split_of_row != DROPPED).tolist() == sorted(kept)
    assert assignment.duplicates.num_dropped == len(frame) - len(kept)
    if rule == "mean":
        means = frame.groupby(PAIR)["rating"].transform("mean").astype(np.float32)
        report = assignment.duplicates
        assert report.mean_ratings.tolist() == means[report.mean_rows].tolist()
        repeated = frame.index[frame.duplicated(PAIR, keep=False)]
        assert set(report.mean_rows.tolist()) == set(repeated) & set(kept)


def test_a_repeated_rating_can_be_an_error():
    frame = pd.DataFrame({"user_id": [1, 2, 1, 1], "item_id": [5, 5, 5, 6], "rating": 3.0})
    with pytest.raises(
        UserError, match="a user may rate an item only once, got 2 ratings of item 5 by user 1"
    ):
        select(frame, config_of(duplicates="error"))
    select(frame.drop(index=2), config_of(duplicates="error"))


def test_pairs_are_distinguished_beyond_32_bits():
    # 70,000 users x 70,000 items: 4.9e9 possible pairs. All pairs in the data are distinct except one.
    ids = np.arange(70_000)
    frame = pd.DataFrame({"user_id": ids, "item_id": ids[::-1], "rating": 3.0})
    frame = pd.concat([frame, frame.iloc[[69_999]]], ignore_index=True)
    assignment = select(frame, config_of(), sizes=(100_000,), group_rows=100_000)
    assert np.flatnonzero(assignment.split_of_row == DROPPED).tolist() == [69_999]


@given(ratings_frames(), st.integers(0, 6), st.integers(0, 6))
def test_the_k_core_is_the_fixed_point_of_dropping_rare_users_and_items(frame, min_user, min_item):
    core = frame
    while True:
        users, items = core["user_id"].value_counts(), core["item_id"].value_counts()
        kept = core[
            (core["user_id"].map(users) >= min_user).to_numpy(bool)
            & (core["item_id"].map(items) >= min_item).to_numpy(bool)
        ]
        if len(kept) == len(core):
            break
        core = kept
    assume(len(core) >= 4)
    assignment = select(frame, config_of(min_user_ratings=min_user, min_item_ratings=min_item))
    assert np.flatnonzero(assignment.split_of_row != DROPPED).tolist() == core.index.tolist()
    assert assignment.num_rare == len(frame) - len(core)


def test_repeated_ratings_count_once_in_the_k_core():
    frame = pd.DataFrame(
        {"user_id": [1] * 5 + [2] * 5, "item_id": [7, 7, 7, 7, 8, 1, 2, 3, 4, 5], "rating": 3.0}
    )
    parts = parts_of(frame, config_of(min_user_ratings=3, validation_fraction=0.0))
    assert parts["dropped"] == [0, 1, 2, 3, 4]


def test_a_pair_in_both_predefined_sets_is_only_in_test():
    frame = pd.DataFrame({"user_id": [1, 1, 2, 1], "item_id": [1, 2, 2, 2], "rating": [1.0, 2.0, 3.0, 4.0]})
    parts = parts_of(frame, config_of(split="u1", validation_fraction=0.0), num_train=3)
    assert parts == {"train": [0, 2], "validation": [], "test": [3], "dropped": [1]}


@pytest.mark.slow
@given(ratings_frames(distinct=False, min_rows=30))
def test_existing_rows_keep_their_split(frame):
    assume(len(frame.drop_duplicates(PAIR)) > 20)
    old = frame.iloc[:15].drop_duplicates(PAIR)
    frame = pd.concat([old, frame.iloc[15:]], ignore_index=True)
    existing_splits = (np.arange(len(old)) % 3).astype(np.uint8)
    split_of_pair = dict(
        zip(map(tuple, old[PAIR].to_numpy().tolist()), existing_splits.tolist(), strict=True)
    )
    split_of_row = select(frame, config_of(), existing_splits=existing_splits).split_of_row
    for row in np.flatnonzero(split_of_row != DROPPED):
        pair = tuple(frame[PAIR].iloc[row].tolist())
        assert split_of_row[row] == split_of_pair.get(pair, split_of_row[row])


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["keep-last", "keep-first", "mean"])
@given(frame=ratings_frames(distinct=False, max_rows=60), num_test=st.integers(2, 11))
def test_repeated_ratings_are_resolved_within_each_predefined_set(rule, frame, num_test):
    num_train = len(frame) - num_test
    train, test = frame.iloc[:num_train], frame.iloc[num_train:]
    tested = {tuple(pair) for pair in test[PAIR].to_numpy().tolist()}
    kept_train = [row for row in kept_rows(train, rule) if tuple(frame[PAIR].loc[row]) not in tested]
    assume(kept_train)
    assignment = select(
        frame,
        config_of(split="u1", validation_fraction=0.0, duplicates=rule),
        num_train=num_train,
    )
    assert np.flatnonzero(assignment.split_of_row == TRAIN).tolist() == sorted(kept_train)
    assert np.flatnonzero(assignment.split_of_row == TEST).tolist() == sorted(kept_rows(test, rule))
    assert assignment.duplicates.num_dropped == np.count_nonzero(assignment.split_of_row == DROPPED)
    means = dict(zip(assignment.duplicates.mean_rows, assignment.duplicates.mean_ratings, strict=True))
    if rule != "mean":
        assert not means
        return
    for part in (train, test):
        ratings = part.groupby(PAIR)["rating"].mean().astype(np.float32)
        for row in part.index[assignment.split_of_row[part.index] != DROPPED]:
            assert means.get(row, frame["rating"][row]) == ratings[tuple(frame[PAIR].loc[row])]


def test_a_pair_in_both_predefined_sets_can_be_an_error():
    frame = pd.DataFrame({"user_id": [1, 2, 3, 1], "item_id": [5, 5, 5, 5], "rating": [1.0, 2, 3, 4]})
    with pytest.raises(UserError, match="got 2 ratings of item 5 by user 1"):
        select(frame, config_of(split="u1", duplicates="error"), num_train=3)
