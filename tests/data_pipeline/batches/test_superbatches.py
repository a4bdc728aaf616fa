"""The input pipeline: superbatches hold the rows of the order with their weights, padded with zeros."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.superbatches import superbatches
from data_pipeline.batches.windows import Sizes
from data_pipeline.dataset.columns import Columns

# Window sizes for a handful of rows.
SIZES = st.sampled_from(
    [
        Sizes(),
        Sizes(permuted_rows=0, chunk_rows=4, window_rows=12, min_window_steps=2),
        Sizes(permuted_rows=0, chunk_rows=7, window_rows=1, min_window_steps=1),
        Sizes(permuted_rows=0, chunk_rows=3, window_rows=50, min_window_steps=4),
    ]
)
WINDOWED = Sizes(permuted_rows=0, chunk_rows=4, window_rows=24, min_window_steps=2)

NAMES = {"user_index", "item_index", "rating", "weight"}


def columns_of(num_rows, weight=None):
    """Columns whose values identify the row."""
    rows = np.arange(num_rows)
    return Columns.from_arrays(
        user_index=(rows + 1).astype(np.int32),
        item_index=(rows * 3 + 1).astype(np.int32),
        rating=(rows / 4 + 1).astype(np.float32),
        weight=weight,
    )


def elements(order, *, first_step=0, last_step, block_steps, shards=range(1), num_shards=1, weight=None):
    """The superbatches as dictionaries of NumPy arrays."""
    blocks = order.blocks(first_step=first_step, last_step=last_step, block_steps=block_steps)
    data = superbatches(
        columns_of(order.num_rows, weight),
        order,
        blocks,
        block_steps=block_steps,
        shards=shards,
        num_shards=num_shards,
    )
    return list(data.as_numpy_iterator())


def rows_of(element):
    """[K, batch] row numbers, read back from the values; -1 for padding, which is all zeros."""
    there = element["user_index"] > 0
    assert set(element) == NAMES
    assert all((values[~there] == 0).all() for values in element.values())
    rows = np.where(there, element["user_index"] - 1, -1)
    np.testing.assert_array_equal(element["item_index"][there], rows[there] * 3 + 1)
    np.testing.assert_array_equal(element["rating"][there], (rows[there] / 4 + 1).astype(np.float32))
    return rows


@settings(max_examples=15)
@given(
    num_rows=st.integers(1, 60),
    batch=st.integers(1, 12),
    block_steps=st.integers(1, 5),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 9),
    sizes=SIZES,
)
def test_each_epoch_has_every_row_once(num_rows, batch, block_steps, epochs, seed, sizes):
    order = BatchOrder(num_rows=num_rows, global_batch_size=batch, seed=seed, sizes=sizes)
    last_step = epochs * order.steps_per_epoch
    read = elements(order, last_step=last_step, block_steps=block_steps)
    assert all(e["rating"].shape == (block_steps, batch) for e in read)
    rows = np.concatenate([rows_of(e).ravel() for e in read])
    rows = rows[rows >= 0].reshape(epochs, num_rows)
    assert all(sorted(epoch.tolist()) == list(range(num_rows)) for epoch in rows)


def test_an_element_has_the_promised_names_and_types():
    (element,) = elements(BatchOrder(num_rows=8, global_batch_size=4, seed=0), last_step=2, block_steps=2)
    assert {name: array.dtype for name, array in element.items()} == {
        "user_index": np.int32,
        "item_index": np.int32,
        "rating": np.float32,
        "weight": np.float32,
    }


@settings(max_examples=15)
@given(
    num_rows=st.integers(1, 60),
    share=st.integers(1, 6),
    num_shards=st.integers(1, 3),
    block_steps=st.integers(1, 9),
    sizes=SIZES,
    with_weight=st.booleans(),
    data=st.data(),
)
def test_superbatches_hold_the_rows_of_the_order(
    num_rows, share, num_shards, block_steps, sizes, with_weight, data
):
    order = BatchOrder(num_rows=num_rows, global_batch_size=share * num_shards, seed=6, sizes=sizes)
    last_step = data.draw(st.integers(0, 2 * order.steps_per_epoch))
    first_step = data.draw(st.integers(0, last_step))
    first_shard = data.draw(st.integers(0, num_shards - 1))
    shards = range(first_shard, data.draw(st.integers(first_shard + 1, num_shards)))
    plan = {"first_step": first_step, "last_step": last_step, "block_steps": block_steps}
    weight = np.arange(num_rows, dtype=np.float32) if with_weight else None
    read = elements(order, shards=shards, num_shards=num_shards, weight=weight, **plan)
    expected = [
        order.rows(block, block_steps=block_steps, shard=shard, num_shards=num_shards)
        for block in order.blocks(**plan)
        for shard in shards
    ]
    assert len(read) == len(expected)
    for element, rows in zip(read, expected, strict=True):
        np.testing.assert_array_equal(rows_of(element), rows)
        np.testing.assert_array_equal(
            element["weight"], np.where(rows >= 0, 1 if weight is None else weight[rows], 0)
        )


@pytest.mark.parametrize("sizes", [Sizes(), WINDOWED])
@pytest.mark.parametrize("first_step", [0, 1, 4, 7, 13])
def test_starting_at_any_step_gives_the_steps_of_the_whole_run(first_step, sizes):
    # 7 steps per epoch, the last with 2 rows
    order = BatchOrder(num_rows=50, global_batch_size=8, seed=3, sizes=sizes)

    def steps(first):
        read = elements(order, first_step=first, last_step=14, block_steps=3)
        rows = np.concatenate([rows_of(e) for e in read])
        return [step.tolist() for step in rows if (step >= 0).any()]

    whole = steps(0)
    assert len(whole) == 14
    assert steps(first_step) == whole[first_step:]


@pytest.mark.parametrize("sizes", [Sizes(), WINDOWED])
@pytest.mark.parametrize(("num_shards", "num_workers"), [(2, 1), (2, 2), (4, 1), (4, 2)])
def test_all_replicas_together_read_what_one_device_reads(num_shards, num_workers, sizes):
    order = BatchOrder(num_rows=53, global_batch_size=8, seed=1, sizes=sizes)
    plan = {"last_step": 2 * order.steps_per_epoch, "block_steps": 3}
    alone = [rows_of(e) for e in elements(order, **plan)]
    local = num_shards // num_workers
    of_shard = {}
    for worker in range(num_workers):
        shards = range(worker * local, (worker + 1) * local)
        read = elements(order, shards=shards, num_shards=num_shards, **plan)
        # For each block, one element per local replica in turn.
        for position, shard in enumerate(shards):
            of_shard[shard] = [rows_of(e) for e in read[position::local]]
    together = [
        np.concatenate(parts, axis=1) for parts in zip(*(of_shard[s] for s in range(num_shards)), strict=True)
    ]
    assert len(together) == len(alone) == 2 * 3
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_tf_data_autotuning_is_off():
    order = BatchOrder(num_rows=8, global_batch_size=4, seed=0)
    blocks = order.blocks(first_step=0, last_step=2, block_steps=2)
    data = superbatches(columns_of(8), order, blocks, block_steps=2, shards=range(1), num_shards=1)
    assert data.options().autotune.enabled is False


def test_padding_is_the_unknown_user_and_item_with_rating_and_weight_0():
    order = BatchOrder(num_rows=5, global_batch_size=4, seed=0)
    (element,) = elements(order, last_step=2, block_steps=3)
    there = [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert element["weight"].tolist() == there
    for name in NAMES:
        assert (element[name] != 0).tolist() == np.array(there, bool).tolist(), name


@settings(max_examples=15)
@given(
    weights=st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=40),
    batch=st.integers(1, 6),
    block_steps=st.integers(1, 4),
    num_shards=st.integers(1, 3),
)
def test_every_row_has_its_own_weight_on_any_number_of_replicas(weights, batch, block_steps, num_shards):
    weight = np.array(weights, np.float32)
    order = BatchOrder(num_rows=len(weight), global_batch_size=batch * num_shards, seed=2)
    read = elements(
        order,
        last_step=order.steps_per_epoch,
        block_steps=block_steps,
        shards=range(num_shards),
        num_shards=num_shards,
        weight=weight,
    )
    rows = np.concatenate([rows_of(element).ravel() for element in read])
    assert sorted(rows[rows >= 0].tolist()) == list(range(len(weight)))
    found = np.concatenate([element["weight"].ravel() for element in read])
    np.testing.assert_array_equal(found, np.where(rows >= 0, weight[rows], 0))


@settings(max_examples=10)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=30), batch=st.integers(1, 8))
def test_an_integer_weight_equals_that_many_copies_of_the_row(counts, batch):
    """Over an epoch: sum of w, sum of w * rating; both are whole quarters, so exact."""
    rows = np.arange(len(counts))
    order = BatchOrder(num_rows=len(counts), global_batch_size=batch, seed=4)
    read = elements(
        order, last_step=order.steps_per_epoch, block_steps=2, weight=np.array(counts, np.float32)
    )
    copies = (np.repeat(rows, counts) / 4 + 1).astype(np.float32)
    assert sum(element["weight"].sum() for element in read) == len(copies)
    assert sum((element["weight"] * element["rating"]).sum() for element in read) == copies.sum()


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_batch_items_are_those_of_all_shards_concatenated(num_shards):
    order = BatchOrder(num_rows=30, global_batch_size=8, seed=1)
    blocks = order.blocks(first_step=1, last_step=8, block_steps=3)

    def read(shards):
        data = superbatches(
            columns_of(30),
            order,
            blocks,
            block_steps=3,
            shards=shards,
            num_shards=num_shards,
            with_batch_items=True,
        )
        return list(data.as_numpy_iterator())

    # One worker's replicas in turn, and workers with a replica each.
    together = read(range(num_shards))
    apart = [read(range(shard, shard + 1)) for shard in range(num_shards)]
    for block in range(len(blocks)):
        in_turn = together[block * num_shards : (block + 1) * num_shards]
        whole = np.concatenate([each["item_index"] for each in in_turn], axis=1)
        for each in (*in_turn, *(worker[block] for worker in apart)):
            np.testing.assert_array_equal(each["batch_item_index"], whole)
