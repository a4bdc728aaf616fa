"""The order of rows: a pure function of (seed, epoch, step), the same on any number of shards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.batches import order as order_module
from data_pipeline.batches import windows as windows_module
from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.windows import Sizes, StepBlock

# Window sizes for a handful of rows: chunks of 4, windows of 12.
WINDOWED = Sizes(permuted_rows=0, chunk_rows=4, window_rows=12, min_window_steps=2)


@st.composite
def orders(draw, *, permuted_rows=(0, 1000)):
    """Orders that permute all rows, and orders by windows."""
    num_shards = draw(st.sampled_from([1, 2, 3, 4]))
    return num_shards, BatchOrder(
        num_rows=draw(st.integers(1, 200)),
        global_batch_size=num_shards * draw(st.integers(1, 12)),
        seed=draw(st.integers(0, 2**32 - 1)),
        sizes=Sizes(
            permuted_rows=draw(st.sampled_from(permuted_rows)),
            chunk_rows=draw(st.integers(1, 70)),
            window_rows=draw(st.integers(1, 70)),
            min_window_steps=draw(st.integers(1, 4)),
        ),
    )


def epoch_rows(order, epoch, *, shard=0, num_shards=1):
    """[steps_per_epoch, rows] of one shard, one step at a time."""
    steps = range(order.steps_per_epoch)
    return np.concatenate(
        [order.rows(StepBlock(epoch, s, 1), block_steps=1, shard=shard, num_shards=num_shards) for s in steps]
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
def test_the_concatenated_shards_are_the_global_batch(shards_and_order, epoch):
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


@given(orders(permuted_rows=[0]), st.integers(0, 3))
def test_windows_follow_their_definition(shards_and_order, epoch):
    """The definition in the docstring of windows.py, with lists and loops."""
    _, order = shards_and_order
    batch, chunk, num_rows = order.global_batch_size, order.sizes.chunk_rows, order.num_rows
    num_window_steps = max(order.sizes.window_rows // batch, order.sizes.min_window_steps)
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([order.seed, epoch])))
    chunks = random.permutation(-(-num_rows // chunk))
    turns = random.randint(num_window_steps, size=batch)
    sequence = [row for c in chunks for row in range(c * chunk, min((c + 1) * chunk, num_rows))]
    expected = []
    while sequence:
        window, sequence = sequence[: num_window_steps * batch], sequence[num_window_steps * batch :]
        num_steps = -(-len(window) // batch)
        rows_of_last_step = len(window) - (num_steps - 1) * batch
        steps = [[-1] * batch for _ in range(num_steps)]
        for position in range(batch):
            owned = num_steps if position < rows_of_last_step else num_steps - 1
            its_rows, window = window[:owned], window[owned:]
            for step in range(owned):
                steps[step][position] = its_rows[(step + turns[position]) % owned]
        expected += steps
    assert epoch_rows(order, epoch).tolist() == expected


@given(orders(), st.integers(0, 3))
def test_earlier_calls_do_not_change_the_rows(shards_and_order, epoch):
    _, order = shards_and_order
    before = epoch_rows(order, epoch)
    epoch_rows(order, epoch + 1)
    np.testing.assert_array_equal(epoch_rows(order, epoch), before)
    order_module._permutation.cache_clear()
    windows_module._epoch_layout.cache_clear()
    np.testing.assert_array_equal(epoch_rows(order, epoch)[::-1], before[::-1])


@given(orders(permuted_rows=[0]), st.integers(0, 2))
def test_a_shard_reads_the_rows_of_its_own_batches_and_no_others(shards_and_order, epoch):
    num_shards, order = shards_and_order
    windows = order.windows
    read_by_all = []
    for shard in range(num_shards):
        read = []
        for window in range(windows.per_epoch):
            row_ranges = windows.row_ranges(epoch, window, shard=shard, num_shards=num_shards)
            # A contiguous part of the sequence: whole chunks except the first and the last.
            assert all(run.first % order.sizes.chunk_rows == 0 for run in row_ranges[1:])
            read += [row for run in row_ranges for row in range(run.first, run.first + run.num_rows)]
        trained = epoch_rows(order, epoch, shard=shard, num_shards=num_shards)
        assert sorted(read) == sorted(trained[trained >= 0].tolist())
        read_by_all += read
    assert sorted(read_by_all) == list(range(order.num_rows))


SMALL = Sizes(permuted_rows=0, chunk_rows=64, window_rows=256)


@pytest.mark.parametrize("sizes", [Sizes(), SMALL])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0)])
def test_another_seed_or_epoch_has_another_order(seed, epoch, sizes):
    first = epoch_rows(BatchOrder(num_rows=8000, global_batch_size=20, seed=0, sizes=sizes), 0)
    other = epoch_rows(BatchOrder(num_rows=8000, global_batch_size=20, seed=seed, sizes=sizes), epoch)
    assert (first == other).mean() < 0.01


def test_rows_of_a_chunk_in_the_same_step_are_in_different_steps_next_epoch():
    order = BatchOrder(num_rows=64 * 64, global_batch_size=32, seed=0, sizes=SMALL)

    def step_of_row(epoch):
        steps = np.empty(order.num_rows, int)
        for step, rows in enumerate(epoch_rows(order, epoch)):
            steps[rows] = step
        return steps.reshape(-1, order.sizes.chunk_rows)

    together = [steps[:, :, None] == steps[:, None, :] for steps in (step_of_row(0), step_of_row(1))]
    pairs = ~np.eye(order.sizes.chunk_rows, dtype=bool)
    again = together[1][together[0] & pairs].mean()
    # Chance level is 1/8, as windows have 8 steps; it is 1 if chunks are always cut into the same batches.
    assert again < 0.2


def test_the_batch_size_does_not_change_the_order():
    small, large = (epoch_rows(BatchOrder(num_rows=64, global_batch_size=b, seed=5), 2) for b in (4, 32))
    np.testing.assert_array_equal(small.ravel(), large.ravel())


def test_the_order_of_a_seed_never_changes():
    # A checkpoint stores only (seed, step): if the order changed, older runs would resume wrongly.
    order = BatchOrder(num_rows=10, global_batch_size=10, seed=42)
    assert epoch_rows(order, 0).tolist() == [[1, 8, 5, 3, 7, 9, 4, 0, 6, 2]]
    assert epoch_rows(order, 1).tolist() == [[9, 5, 8, 7, 6, 4, 0, 3, 1, 2]]
    order = BatchOrder(num_rows=10, global_batch_size=4, seed=42, sizes=WINDOWED)
    assert epoch_rows(order, 0).tolist() == [[4, 7, 2, 8], [5, 0, 3, 9], [6, 1, -1, -1]]
    assert Sizes() == Sizes(permuted_rows=2**20, chunk_rows=2**14, window_rows=2**16, min_window_steps=4)
