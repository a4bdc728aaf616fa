"""Each worker reads only its own rows, all workers together read every row once, and no read is wasted."""

import itertools
import os

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.superbatches import superbatches
from data_pipeline.batches.windows import Sizes
from data_pipeline.dataset.columns import Columns

WINDOWED = Sizes(permuted_rows=0, chunk_rows=4, window_rows=24, min_window_steps=2)


class CountedColumns(Columns):
    """Records which rows of which column were read."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.reads = []

    def read(self, name, first, out):
        self.reads.append((name, range(first, first + len(out))))
        super().read(name, first, out)


class FailingColumns(Columns):
    def read(self, *_args):
        raise OSError("Input/output error")


def columns_of(kind, num_rows, *, with_weight=False):
    """Columns whose user index identifies the row."""
    rows = np.arange(num_rows)
    return kind.from_arrays(rows + 1, rows + 1, rows, np.ones(num_rows) if with_weight else None)


def rows_trained(columns, order, *, first_step=0, last_step, block_steps, shards=range(1), num_shards=1):
    """The rows that one worker trains on, in order, without padding."""
    blocks = order.blocks(first_step=first_step, last_step=last_step, block_steps=block_steps)
    data = superbatches(columns, order, blocks, block_steps=block_steps, shards=shards, num_shards=num_shards)
    users = [element["user_index"].ravel() for element in data.as_numpy_iterator()]
    return [user - 1 for user in np.concatenate(users).tolist() if user]


@settings(max_examples=15)
@given(
    num_rows=st.integers(1, 150),
    share=st.integers(1, 6),
    num_workers=st.integers(1, 3),
    local_replicas=st.integers(1, 2),
    block_steps=st.integers(1, 9),
    with_weight=st.booleans(),
)
def test_the_workers_together_read_every_row_once_an_epoch_and_each_only_its_own(
    num_rows, share, num_workers, local_replicas, block_steps, with_weight
):
    num_shards = num_workers * local_replicas
    order = BatchOrder(num_rows=num_rows, global_batch_size=share * num_shards, seed=3, sizes=WINDOWED)
    epochs = 2
    names = ["user_index", "item_index", "rating", *(["weight"] if with_weight else [])]
    counts = {name: np.zeros(num_rows, int) for name in names}
    for worker in range(num_workers):
        columns = columns_of(CountedColumns, num_rows, with_weight=with_weight)
        trained = rows_trained(
            columns,
            order,
            last_step=epochs * order.steps_per_epoch,
            block_steps=block_steps,
            shards=range(worker * local_replicas, (worker + 1) * local_replicas),
            num_shards=num_shards,
        )
        for name in names:
            rows = [row for column, rows in columns.reads if column == name for row in rows]
            assert sorted(rows) == sorted(trained)
            np.add.at(counts[name], rows, 1)
    assert all((count == epochs).all() for count in counts.values())


def test_two_workers_read_every_byte_of_a_file_once_between_them(tmp_path, monkeypatch):
    num_rows = 1000
    whole = columns_of(Columns, num_rows)
    table = pa.table({name: getattr(whole, name) for name in ("user_index", "item_index", "rating")})
    with pa.OSFile(str(tmp_path / "train.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table, max_chunksize=300)
    read = []  # (first, last) byte of every call, of both workers

    def preadv(descriptor, buffers, offset):
        count = preadv_of_os(descriptor, buffers, offset)
        read.append((offset, offset + count))
        return count

    preadv_of_os = os.preadv
    monkeypatch.setattr(os, "preadv", preadv)
    sizes = Sizes(permuted_rows=0, chunk_rows=64, window_rows=256)
    order = BatchOrder(num_rows=num_rows, global_batch_size=32, seed=0, sizes=sizes)
    bytes_of_worker = []
    for worker in range(2):
        columns = Columns.open(tmp_path / "train.arrow")
        shards = range(worker, worker + 1)
        plan = {"last_step": order.steps_per_epoch, "block_steps": 5}
        rows_trained(columns, order, shards=shards, num_shards=2, **plan)
        bytes_of_worker.append(sum(last - first for first, last in read) - sum(bytes_of_worker))
    read.sort()
    assert all(last <= first for (_, last), (first, _) in itertools.pairwise(read))
    assert sum(bytes_of_worker) == num_rows * 3 * 4
    # The last batch has 8 rows, all of them the first worker's.
    assert bytes_of_worker == [(31 * 16 + 8) * 3 * 4, 31 * 16 * 3 * 4]


def test_resuming_mid_epoch_reads_at_most_one_window_too_much():
    order = BatchOrder(num_rows=2000, global_batch_size=4, seed=0, sizes=WINDOWED)
    columns = columns_of(CountedColumns, 2000)
    # Windows have 6 steps: two steps into one, the next, three steps of the one after.
    rows_trained(columns, order, first_step=302, last_step=315, block_steps=4)
    rows = [row for name, rows in columns.reads if name == "rating" for row in rows]
    assert len(rows) == 3 * 24
    assert len(set(rows)) == len(rows)


def test_a_disk_error_is_raised_with_its_message():
    order = BatchOrder(num_rows=100, global_batch_size=4, seed=0, sizes=WINDOWED)
    with pytest.raises(tf.errors.OpError, match="Input/output error"):
        rows_trained(columns_of(FailingColumns, 100), order, last_step=9, block_steps=4)
