"""Updates of a table's rows against the dense update, and dense updates against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import OptimizerConfig
from trainer.engine.optimizers import make_optimizer
from trainer.engine.sparse_rows import pack_rows, sum_duplicates, unpack_rows
from trainer.models.layers import Embedding

ROWS, DIM = 12, 3
CONFIGS = {
    "adam": OptimizerConfig(name="adam", learning_rate=0.1),
    "adam with decay": OptimizerConfig(name="adam", learning_rate=0.1, weight_decay=0.3),
    "adagrad": OptimizerConfig(name="adagrad", learning_rate=0.1),
    "sgd": OptimizerConfig(name="sgd", learning_rate=0.1),
    "sgd with momentum and decay": OptimizerConfig(
        name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.3
    ),
}


def table_with_optimizer(config, initial):
    table = Embedding(ROWS, DIM, sparse=True)
    table.set_weights([initial])
    optimizer = make_optimizer(config)
    optimizer.build(table.trainable_variables)
    return table.embeddings, optimizer


def state(optimizer):
    """The optimizer's variables that have a row for each row of the table."""
    return [v.numpy() for v in optimizer.variables if v.shape.rank and v.shape[0] == ROWS]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_rows_change_as_in_the_dense_update_with_every_id_twice_and_the_others_not_at_all(config):
    rng = np.random.default_rng(1)
    initial = rng.normal(size=(ROWS, DIM)).astype(np.float32)
    table, optimizer = table_with_optimizer(config, initial)
    reference = initial.copy()
    ids = np.array([5, 2, 7, 2, 5, 7, 9, 9], np.int32)
    touched = np.array([2, 5, 7, 9])
    others = np.setdiff1d(np.arange(ROWS), touched)
    dense_table, dense_optimizer = table_with_optimizer(config, initial)
    for _ in range(3):
        gradients = rng.normal(size=(len(ids), DIM)).astype(np.float32)
        dense = np.zeros_like(reference)
        np.add.at(dense, ids, gradients)  # the gradient of a table is the sum over its lookups
        dense_optimizer.update_step(tf.constant(dense), dense_table, 0.1)
        optimizer.update_step(sum_duplicates(tf.constant(ids), tf.constant(gradients)), table, 0.1)
        for each in (optimizer, dense_optimizer):
            each.iterations.assign_add(1)
    np.testing.assert_allclose(table.numpy()[touched], dense_table.numpy()[touched], rtol=1e-5, atol=1e-6)
    assert np.abs(table.numpy()[touched] - initial[touched]).min() > 0
    np.testing.assert_array_equal(table.numpy()[others], initial[others])
    for rows, dense_rows in zip(state(optimizer), state(dense_optimizer), strict=True):
        np.testing.assert_allclose(rows[touched], dense_rows[touched], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "keras_optimizer"),
    [
        (CONFIGS["adam with decay"], lambda: keras.optimizers.AdamW(0.1, weight_decay=0.3)),
        (CONFIGS["adagrad"], lambda: keras.optimizers.Adagrad(0.1)),
        (CONFIGS["sgd with momentum and decay"], lambda: keras.optimizers.SGD(0.1, 0.9, weight_decay=0.3)),
    ],
    ids=["adam", "adagrad", "sgd"],
)
def test_dense_updates_are_those_of_keras(config, keras_optimizer):
    rng = np.random.default_rng(2)
    initial = rng.normal(size=(4, 5)).astype(np.float32)
    ours, theirs = keras.Variable(initial), keras.Variable(initial)
    optimizer, reference = make_optimizer(config), keras_optimizer()
    optimizer.build([ours])
    for _ in range(5):
        gradient = tf.constant(rng.normal(size=(4, 5)).astype(np.float32))
        optimizer.update_step(gradient, ours, 0.1)
        optimizer.iterations.assign_add(1)
        reference.apply([gradient], [theirs])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-5, atol=1e-6)
    assert np.abs(ours.numpy() - initial).max() > 0.1


def test_adagrad_keeps_one_accumulator_a_row_of_a_table():
    table, optimizer = table_with_optimizer(CONFIGS["adagrad"], np.ones((ROWS, DIM), np.float32))
    gradient = tf.IndexedSlices(tf.constant([[1.0, 2.0, 3.0]]), tf.constant([4]))
    optimizer.update_step(gradient, table, 0.1)
    (accumulator,) = state(optimizer)
    assert accumulator.shape == (ROWS, 1)
    assert accumulator[4, 0] == pytest.approx(0.1 + (1 + 4 + 9) / 3)
    assert table.numpy()[4] == pytest.approx(1 - 0.1 * np.array([1, 2, 3]) / np.sqrt(0.1 + 14 / 3), rel=1e-6)


def test_rows_of_all_replicas_arrive_with_their_indices_through_a_sum():
    rng = np.random.default_rng(3)
    indices = [rng.integers(0, 2**31 - 1, 4).astype(np.int32) for _ in range(3)]
    rows = [rng.normal(size=(4, DIM)).astype(np.float32) for _ in range(3)]
    summed = sum(
        pack_rows(tf.constant(i), tf.constant(r), replica=tf.constant(replica), num_replicas=3)
        for replica, (i, r) in enumerate(zip(indices, rows, strict=True))
    )
    got_indices, got_rows = unpack_rows(summed, num_replicas=3, dim=DIM)
    np.testing.assert_array_equal(got_indices, np.concatenate(indices))
    np.testing.assert_array_equal(got_rows, np.concatenate(rows))
