"""The order of rows: a pure function of (seed, epoch, step), the same on any number of shards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.order import BatchOrder, Block


@st.composite
def orders(draw):
    num_shards = draw(st.sampled_from([1, 2, 3, 4]))
    return num_shards, BatchOrder(
        num_rows=draw(st.integers(1, 200)),
        global_batch_size=num_shards * draw(st.integers(1, 12)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def epoch_rows(order, epoch, *, shard=0, num_shards=1):
    """[steps_per_epoch, rows] of one shard, one step a time."""
    steps = range(order.steps_per_epoch)
    return np.concatenate(
        [order.rows(Block(epoch, s, 1), block_steps=1, shard=shard, num_shards=num_shards) for s in steps]
    )


@given(orders(), st.integers(0, 5))
def test_an_epoch_has_every_row_once_and_pads_only_its_last_batch(shards_and_order, epoch):
    _, order = shards_and_order
    rows = epoch_rows(order, epoch)
    assert rows.shape == (-(-order.num_rows // order.global_batch_size), order.global_batch_size)
    flat = rows.ravel()
    assert sorted(flat[: order.num_rows].tolist()) == list(range(order.num_rows))
    assert (flat[order.num_rows :] == -1).all()
    assert len(flat) - order.num_rows < order.global_batch_size


@given(orders(), st.integers(0, 3))
def test_the_shards_side_by_side_are_the_global_batch(shards_and_order, epoch):
    num_shards, order = shards_and_order
    shards = [epoch_rows(order, epoch, shard=s, num_shards=num_shards) for s in range(num_shards)]
    np.testing.assert_array_equal(np.concatenate(shards, axis=1), epoch_rows(order, epoch))


@given(orders(), st.integers(1, 9), st.data())
def test_blocks_cover_the_steps_in_order_whatever_their_size(shards_and_order, block_steps, data):
    _, order = shards_and_order
    last_step = data.draw(st.integers(0, 3 * order.steps_per_epoch))
    first_step = data.draw(st.integers(0, last_step))
    blocks = order.blocks(first_step=first_step, last_step=last_step, block_steps=block_steps)
    steps = [b.epoch * order.steps_per_epoch + b.first_step + i for b in blocks for i in range(b.num_steps)]
    assert steps == list(range(first_step, last_step))
    for block in blocks:
        assert 1 <= block.num_steps <= block_steps
        assert block.first_step + block.num_steps <= order.steps_per_epoch
        rows = order.rows(block, block_steps=block_steps, shard=0, num_shards=1)
        there = epoch_rows(order, block.epoch)[block.first_step : block.first_step + block.num_steps]
        np.testing.assert_array_equal(rows[: block.num_steps], there)
        assert (rows[block.num_steps :] == -1).all()


@given(orders(), st.integers(1, 9), st.data())
def test_a_resumed_run_ends_its_blocks_where_the_uninterrupted_run_does(shards_and_order, block_steps, data):
    _, order = shards_and_order
    last_step = 3 * order.steps_per_epoch
    first_step = data.draw(st.integers(0, last_step))

    def ends(first_step):
        blocks = order.blocks(first_step=first_step, last_step=last_step, block_steps=block_steps)
        return [b.epoch * order.steps_per_epoch + b.first_step + b.num_steps for b in blocks]

    assert ends(first_step) == [end for end in ends(0) if end > first_step]


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0)])
def test_another_seed_or_epoch_has_another_order(seed, epoch):
    first = epoch_rows(BatchOrder(num_rows=1000, global_batch_size=10, seed=0), 0)
    other = epoch_rows(BatchOrder(num_rows=1000, global_batch_size=10, seed=seed), epoch)
    assert (first == other).mean() < 0.01


def test_the_batch_size_does_not_change_the_order():
    small, large = (epoch_rows(BatchOrder(num_rows=64, global_batch_size=b, seed=5), 2) for b in (4, 32))
    np.testing.assert_array_equal(small.ravel(), large.ravel())


def test_the_order_of_a_seed_is_this_one_forever():
    # A checkpoint says only (seed, step): with another order here, runs of older versions resume wrongly.
    order = BatchOrder(num_rows=10, global_batch_size=10, seed=42)
    assert epoch_rows(order, 0).tolist() == [[1, 8, 5, 3, 7, 9, 4, 0, 6, 2]]
    assert epoch_rows(order, 1).tolist() == [[9, 5, 8, 7, 6, 4, 0, 3, 1, 2]]
