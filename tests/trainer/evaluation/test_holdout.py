"""The holdout: users, relevant and seen items, with known and cold users and items distinguished by id."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.dataset.vocabulary import Vocabulary
from data_pipeline.errors import UserError
from trainer.evaluation.holdout import holdout_of
from trainer.evaluation.slices import ranking_slices


def dataset_of(train, validation, test):
    """A stand-in for a prepared dataset, made of rows (user, item, rating)."""
    vocabularies = [Vocabulary(pa.array(sorted({row[column] for row in train}))) for column in (0, 1)]

    def table(rows, *, with_ids):
        user, item, rating = (pa.chunked_array([list(column)]) for column in zip(*rows, strict=True))
        ids = {"user_id": user, "item_id": item} if with_ids else {}
        index = [v.index(column) for v, column in zip(vocabularies, (user, item), strict=True)]
        return pa.table({"user_index": index[0], "item_index": index[1], "rating": rating, **ids})

    tables = {
        "train": table(train, with_ids=False),
        "validation": table(validation, with_ids=True)
        if validation
        else table([("?", "?", 1.0)], with_ids=True)[:0],
        "test": table(test, with_ids=True),
    }
    return SimpleNamespace(
        name="small",
        table=tables.get,
        num_user_rows=len(vocabularies[0]),
        num_item_rows=len(vocabularies[1]),
    )


# Known users a, b, c are 1 to 3; known items p to s are 1 to 4.
TRAIN = [("a", "p", 5.0), ("a", "q", 2.0), ("b", "p", 4.0), ("b", "r", 3.0), ("c", "s", 1.0)]
VALIDATION = [("a", "r", 3.0), ("x", "q", 5.0), ("z", "z", 1.0)]
TEST = [
    ("a", "s", 4.0),
    ("a", "new", 5.0),
    ("a", "new", 1.0),
    ("a", "newer", 2.0),
    ("b", "p", 5.0),  # in train, too
    ("x", "p", 4.0),  # x and y are cold
    ("x", "q", 5.0),  # in validation, too
    ("y", "new", 1.0),
]


def items_of(interactions, row):
    return interactions.items[slice(*interactions.offsets[row : row + 2])].tolist()


@pytest.fixture(scope="module")
def dataset():
    return dataset_of(TRAIN, VALIDATION, TEST)


def test_relevant_seen_and_rated_items_of_test_users(dataset):
    holdout = holdout_of(dataset)
    # b's only test item is in train; x and y have one row each, both with index 0.
    assert holdout.user_index.tolist() == [1, 0, 0]
    assert [items_of(holdout.relevant, row) for row in range(3)] == [[4], [1], []]
    assert holdout.num_cold_relevant.tolist() == [2, 0, 1]
    assert holdout.num_relevant.tolist() == [3, 1, 1]
    assert [items_of(holdout.seen, row) for row in range(3)] == [[1, 2, 3], [2], []]
    assert [items_of(holdout.rated, row) for row in range(3)] == [[1, 2, 3, 4], [1, 2], []]
    assert holdout.num_seen_again == 2


def test_the_validation_holdout_does_not_use_test_rows_as_seen(dataset):
    holdout = holdout_of(dataset, "validation")
    assert holdout.user_index.tolist() == [1, 0, 0]
    assert [items_of(holdout.relevant, row) for row in range(3)] == [[3], [2], []]
    assert [items_of(holdout.seen, row) for row in range(3)] == [[1, 2], [], []]
    assert [items_of(holdout.rated, row) for row in range(3)] == [[1, 2, 3, 4], [1, 2], []]


def test_with_positive_from_only_high_ratings_are_relevant(dataset):
    holdout = holdout_of(dataset, positive_from=4.5)
    assert holdout.user_index.tolist() == [1]
    assert (holdout.num_relevant.tolist(), holdout.num_cold_relevant.tolist()) == ([1], [1])
    # Items rated lower are not negatives, either.
    assert items_of(holdout.rated, 0) == [1, 2, 3, 4]
    with pytest.raises(UserError, match="a test row rated 6 or higher, got none among 8 of small"):
        holdout_of(dataset, positive_from=6)


def test_slices_separate_warm_and_cold(dataset):
    slices = ranking_slices(holdout_of(dataset))
    found = {name: (part.users.tolist(), part.num_relevant.tolist()) for name, part in slices.items()}
    assert found == {
        "all": ([0, 1, 2], [3, 1, 1]),
        "warm": ([0], [1]),
        "cold_users": ([1, 2], [1, 1]),
        "cold_items": ([0, 2], [2, 1]),
    }
    assert [part.by_known_items for part in slices.values()] == [True, True, True, False]


def test_without_validation_rows_only_training_items_are_seen():
    holdout = holdout_of(dataset_of(TRAIN, [], TEST))
    assert holdout.user_index.tolist() == [1, 0, 0]
    assert [items_of(holdout.seen, row) for row in range(3)] == [[1, 2], [], []]
    assert items_of(holdout.relevant, 1) == [1, 2]


def test_a_sample_is_reproducible_and_a_selection_keeps_its_order(dataset):
    holdout = holdout_of(dataset)
    assert holdout.sample(3) is holdout
    one = holdout.sample(1, seed=4)
    assert len(one) == 1
    assert one.num_relevant.tolist() == holdout.sample(1, seed=4).num_relevant.tolist()
    picked = holdout.select(np.array([2, 0]))
    assert picked.num_relevant.tolist() == [1, 3]
    assert items_of(picked.seen, 1) == [1, 2, 3]
