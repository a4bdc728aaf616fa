"""Embedding against Keras's, dropout against its definition, random bits against Python integers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.models.layers import Dropout, Embedding, random_rows
from trainer.stateless_random import mix, row_bits, unit_bits

LIMIT = 2**32


def mix_in_python(x):
    x ^= x >> 16
    x = x * 0x7FEB352D % LIMIT
    x ^= x >> 15
    x = x * 0x846CA68B % LIMIT
    return x ^ x >> 16


def bits_of(rows, *, seed=3, step=7):
    return row_bits(np.array([seed], np.uint32), np.uint32(step), np.asarray(rows, np.uint32))


def test_random_bits_are_the_same_in_python_numpy_and_tensorflow():
    numbers = [0, 1, 2, 12345, 2**31, 2**32 - 1]
    expected = [mix_in_python(n) for n in numbers]
    array = np.array(numbers, np.uint32)
    assert mix(array).tolist() == expected
    assert mix(tf.constant(array)).numpy().tolist() == expected
    rows = [5, 2**20]
    expected_rows = [mix_in_python((mix_in_python((mix_in_python(3) + 7) % LIMIT) + r) % LIMIT) for r in rows]
    assert bits_of(rows).tolist() == expected_rows
    unit = mix_in_python(expected_rows[1] ^ 4 * 0x9E3779B9 % LIMIT)
    assert unit_bits(bits_of(rows), np.arange(6, dtype=np.uint32))[1, 4] == unit


def test_embedding_equals_keras_in_values_and_gradients():
    ours, theirs = Embedding(7, 3), keras.layers.Embedding(7, 3)
    index = tf.constant([1, 4, 4, 0])
    theirs.build()
    ours.set_weights(theirs.get_weights())
    factors = tf.constant(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))
    gradients = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(factors * tf.square(layer(index)))
        gradients.append(tf.convert_to_tensor(tape.gradient(loss, layer.embeddings.value)))
    np.testing.assert_array_equal(ours(index), theirs(index))
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-6)


def test_mixed_precision_casts_rows_not_the_table():
    layer = Embedding(1000, 3, dtype="mixed_bfloat16")
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec([4], tf.int32)).graph
    assert layer(tf.constant([1, 2])).dtype == tf.bfloat16
    for operation in graph.get_operations():
        for output in operation.outputs:
            assert output.shape.rank is None or 1000 not in output.shape.as_list(), operation


def test_embedding_l2_adds_one_penalty_per_lookup():
    layer = Embedding(5, 2, l2=0.5)
    rows = layer(tf.constant([3, 3, 1])).numpy()
    (penalty,) = layer.losses
    np.testing.assert_allclose(penalty, 0.5 * (rows**2).sum(axis=1), rtol=1e-6)


def dropped(bits, *, rate=0.25, number=1, units=64):
    with random_rows(tf.constant(bits)):
        return Dropout(rate, number)(tf.ones([len(bits), units]), training=True).numpy()


def test_dropout_depends_on_seed_step_and_row_only():
    rows = np.arange(20)
    whole = dropped(bits_of(rows))
    np.testing.assert_array_equal(dropped(bits_of(rows[13:])), whole[13:])
    np.testing.assert_array_equal(dropped(bits_of(rows[::-1])), whole[::-1])
    for other in (bits_of(rows, step=8), bits_of(rows, seed=4)):
        assert (dropped(other) != whole).mean() > 0.2
    assert (dropped(bits_of(rows), number=2) != whole).mean() > 0.2


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_rate_of_units_and_scales_up_the_others(rate):
    out = dropped(bits_of(np.arange(4096)), rate=rate, units=128)
    # 524,288 draws: the standard deviation of the fraction is at most 0.0007.
    assert (out == 0).mean() == pytest.approx(rate, abs=0.005)
    assert set(np.unique(out)) == {0, np.float32(1) / np.float32(1 - rate)}
    by_unit = (out == 0).mean(axis=0)
    assert by_unit.std() == pytest.approx(np.sqrt(rate * (1 - rate) / 4096), rel=0.3)


def test_dropout_does_nothing_in_inference():
    inputs = tf.ones([3, 4])
    with random_rows(tf.constant(bits_of([0, 1, 2]))):
        np.testing.assert_array_equal(Dropout(0.5, 1)(inputs, training=False), inputs)
