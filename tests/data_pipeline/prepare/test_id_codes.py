"""`IdCodes`, compared with a dictionary."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.prepare import id_codes as codes_module
from data_pipeline.prepare.id_codes import IdCodes

integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 20) | st.sampled_from([2**26 - 1, 2**26])
strings = st.text(st.characters(codec="utf-8"), max_size=4) | st.integers(-3, 20).map(str)
batches = st.lists(integers, max_size=20).map(lambda ids: pa.array(ids, pa.int64())) | st.lists(
    strings, max_size=20
).map(lambda ids: pa.array(ids, pa.string()))


@pytest.fixture(autouse=True, scope="module")
def small_window():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes_module, "WINDOW", 10)  # so that both lookup paths are used
        yield


@given(st.lists(batches, max_size=6))
def test_every_id_has_one_code_for_any_batches(batches):
    codes = IdCodes()
    found = [codes.codes(batch) for batch in batches]
    asked = [str(each) for batch in batches for each in batch.to_pylist()]
    ids = [str(each) for each in codes.ids().to_pylist()]
    assert len(codes) == len(ids) == len(set(asked))
    assert [ids[code] for array in found for code in array.tolist()] == asked
    all_integers = all(pa.types.is_integer(batch.type) for batch in batches)
    assert codes.ids().type == (pa.int64() if all_integers else pa.string())
    assert all(array.dtype == np.int32 for array in found)


@given(st.lists(integers, unique=True, max_size=20), batches)
def test_known_ids_keep_their_codes(known, batch):
    codes = IdCodes(pa.array(known, pa.int64()))
    codes.codes(batch)
    assert [str(each) for each in codes.ids().to_pylist()][: len(known)] == [str(each) for each in known]
    assert codes.codes(pa.array(known, pa.int64())).tolist() == list(range(len(known)))
