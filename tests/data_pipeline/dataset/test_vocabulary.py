"""`Vocabulary` maps raw ids to embedding rows, compared with a dictionary."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX, Vocabulary

integers = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20)
strings = st.text(st.characters(codec="utf-8"), max_size=4)


@given(
    st.sampled_from([integers, strings]).flatmap(
        lambda ids: st.tuples(st.lists(ids, min_size=1, max_size=30), st.lists(ids, max_size=30))
    )
)
def test_indices_are_those_of_a_dictionary_of_the_sorted_training_ids(train_and_other):
    train, other = train_and_other
    expected = {each: index for index, each in enumerate(sorted(set(train)), start=1)}
    kind = pa.array(train).type
    vocabulary = Vocabulary(pa.array(sorted(set(train)), kind))
    assert len(vocabulary) == len(expected) + 1
    found = vocabulary.index(pa.chunked_array([pa.array(train + other, kind)]))
    assert found.dtype == np.int32
    assert found.tolist() == [expected.get(each, UNKNOWN_INDEX) for each in train + other]
    assert [vocabulary.ids[i - 1].as_py() for i in found[: len(train)]] == train


@pytest.mark.parametrize(
    ("known", "asked", "index"),
    [
        ([7, 9], ["9", "7", "8"], [2, 1, 0]),
        ([7, 9], ["09", " 9", "9.0", "", "Anna"], [0, 0, 0, 0, 0]),
        (["7", "Anna"], [7, 8], [1, 0]),
        (["07", "7"], [7], [2]),
        ([1], [str(2**63), str(2**70)], [0, 0]),
        ([str(2**63)], [str(2**63)], [1]),
    ],
)
def test_an_id_is_found_by_how_it_is_written(known, asked, index):
    assert Vocabulary(pa.array(known)).index(pa.array(asked)).tolist() == index


@pytest.mark.parametrize(
    "empty", [pa.array([], pa.int64()), pa.array([], pa.string()), pa.chunked_array([], pa.int64())]
)
def test_an_empty_column_has_no_indices(empty):
    assert Vocabulary(pa.array([1, 2])).index(empty).tolist() == []
