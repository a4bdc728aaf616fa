"""Gradients of looked-up rows: exchanged between replicas, with duplicates summed."""

from __future__ import annotations

import tensorflow as tf

# Indices are sent as two floats, each exact in float32: index = high x 2^12 + low.
_LOW_BITS = 12


def sum_duplicates(indices: tf.Tensor, rows: tf.Tensor) -> tf.IndexedSlices:
    """The rows [lookups, dim] of equal indices [lookups] summed; indices are unique."""
    unique, position = tf.unique(indices)
    return tf.IndexedSlices(tf.math.unsorted_segment_sum(rows, position, tf.size(unique)), unique)


def pack_rows(indices: tf.Tensor, rows: tf.Tensor, *, replica: tf.Tensor, num_replicas: int) -> tf.Tensor:
    """One replica's part of a vector whose sum over all replicas concatenates the rows of all of them.

    So rows, which differ between replicas, share the all-reduce of the dense gradients.
    """
    high = tf.cast(tf.bitwise.right_shift(indices, _LOW_BITS), rows.dtype)
    low = tf.cast(tf.bitwise.bitwise_and(indices, 2**_LOW_BITS - 1), rows.dtype)
    own = tf.concat([tf.reshape(rows, [-1]), high, low], axis=0)
    is_own = tf.range(num_replicas)[:, None] == replica
    return tf.reshape(tf.where(is_own, own[None], tf.zeros([], rows.dtype)), [-1])


def unpack_rows(packed: tf.Tensor, *, num_replicas: int, dim: int) -> tuple[tf.Tensor, tf.Tensor]:
    """(indices, rows) of all replicas, in their order, from the summed vector."""
    by_replica = tf.reshape(packed, [num_replicas, -1])
    lookups = by_replica.shape[1] // (dim + 2)
    rows, high, low = tf.split(by_replica, [lookups * dim, lookups, lookups], axis=1)
    indices = tf.cast(high, tf.int32) * 2**_LOW_BITS + tf.cast(low, tf.int32)
    return tf.reshape(indices, [-1]), tf.reshape(rows, [-1, dim])
