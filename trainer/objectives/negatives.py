"""Items that a user has not rated, drawn inside the compiled step: a function of (seed, step, row)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from data_pipeline.errors import UserError
from data_pipeline.features.interactions import Interactions
from trainer.stateless_random import mix, unit_bits

# Up to so many (user, item) cells, 64 MiB of bits, whether one is seen is looked up; beyond, it is searched
# for (measured on ML-100K, batch 512, all pairs: ten times slower).
_BIT_CELLS = 2**29
_NEGATIVE_STREAM = np.uint32(0x27D4EB2F)


class Negatives:
    """Draws items for users.

    Uniform: every item that the user has not rated in training has the same chance; drawn without trying, as
    the r-th of them, by a binary search in the user's sorted items. Popularity: every item in proportion to
    its training ratings; one that the user has rated has weight 0.

    Args:
        seen: each user's training items.
        sampler: `uniform` or `popularity`.
        item_counts: training rows of each item, [num_item_rows]; for `popularity`.
    """

    def __init__(self, seen: Interactions, sampler: str, item_counts: np.ndarray) -> None:
        num_items = seen.num_item_rows - 1
        assert len(seen.items) < 2**31
        # A cell's number is an int32.
        assert _BIT_CELLS <= 2**31
        self._num_users = len(seen.counts) - 1
        self._num_full = int(np.sum(seen.counts >= num_items))
        self._sampler = sampler
        self._num_items = num_items
        self._offsets = tf.Variable(seen.offsets.astype(np.int32), trainable=False, name="seen_offsets")
        self._seen = tf.Variable(
            seen.items if len(seen.items) else np.zeros(1, np.int32), trainable=False, name="seen_items"
        )
        self._bits = _bits(seen) if len(seen.counts) * seen.num_item_rows <= _BIT_CELLS else None
        self._seen_tries = int(seen.counts.max(initial=0)).bit_length()
        counts = item_counts.astype(np.int64).copy()
        counts[0] = 0
        self._total = int(counts.sum())
        self._ends = tf.Variable(np.cumsum(counts), trainable=False, name="item_ends")
        self._item_tries = len(counts).bit_length()
        self._log_shares = tf.Variable(
            np.log(np.maximum(counts, 1) / max(1, self._total)), trainable=False, name="item_log_shares"
        )

    def require_unseen(self) -> None:
        """Raises UserError where `uniform` would have nothing to draw: a user has rated every item."""
        if self._sampler == "uniform" and self._num_full:
            raise UserError(
                f"objective.sampler=uniform draws items that a user has not rated, but {self._num_full} of "
                f"{self._num_users:,} users have rated all {self._num_items:,} of them"
            )

    def draw(self, user_index: tf.Tensor, bits: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """(items int32 [rows, count], whether each counts, bool [rows, count]).

        Args:
            user_index: int32 [rows].
            bits: random numbers of the rows, uint32 [rows].
        """
        draws = unit_bits(mix(bits ^ _NEGATIVE_STREAM), tf.constant(np.arange(count, dtype=np.uint32)))
        users = tf.repeat(user_index[:, None], count, axis=1)
        if self._sampler == "uniform":
            return self._unseen(users, draws), tf.ones_like(users, tf.bool)
        target = _below(draws, tf.constant(self._total, tf.int64))
        items = _first(
            lambda at: tf.gather(self._ends, at) > target,
            tf.zeros_like(users),
            tf.fill(tf.shape(users), self._num_items),
            self._item_tries,
        )
        return items, ~self.is_seen(users, items)

    def log_expected(self, user_index: tf.Tensor, items: tf.Tensor, count: int, dtype: Any) -> tf.Tensor:
        """log of how often each item is drawn for its row's user among `count` draws, [rows, count]."""
        if self._sampler == "uniform":
            begin, end = self._span(user_index[:, None])
            unseen = tf.cast(self._num_items - (end - begin), dtype)
            return tf.math.log(tf.cast(count, dtype) / unseen) + tf.zeros_like(items, dtype)
        return self.log_share(items, dtype) + float(np.log(count))

    def log_share(self, items: tf.Tensor, dtype: Any) -> tf.Tensor:
        """log of each item's share of the training rows."""
        return tf.cast(tf.gather(self._log_shares, items), dtype)

    def is_seen(self, users: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Whether each user has rated the item in training; both int32 of one shape."""
        if self._bits is not None:
            cell = users * (self._num_items + 1) + items
            word = tf.gather(self._bits, tf.bitwise.right_shift(cell, 5))
            return tf.bitwise.right_shift(word, tf.bitwise.bitwise_and(cell, 31)) % 2 != 0
        begin, end = self._span(users)
        at = _first(lambda at: self._gather_seen(at) >= items, begin, end, self._seen_tries)
        return (at < end) & (self._gather_seen(at) == items)

    def _unseen(self, users: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """The r-th item that is not among the user's, r drawn among as many as there are."""
        begin, end = self._span(users)
        rank = tf.cast(_below(draws, tf.cast(self._num_items - (end - begin), tf.int64)), tf.int32)
        # Of the user's j-th item s_j, s_j - 1 - j unseen ones come before.
        at = _first(lambda at: self._gather_seen(at) - 1 - (at - begin) > rank, begin, end, self._seen_tries)
        return 1 + rank + (at - begin)

    def _span(self, users: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self._offsets, users), tf.gather(self._offsets, users + 1)

    def _gather_seen(self, at: tf.Tensor) -> tf.Tensor:
        # A search looks at `end` when it is over: that may be behind the last.
        return tf.gather(self._seen, tf.minimum(at, self._seen.shape[0] - 1))


def _bits(seen: Interactions) -> tf.Variable:
    """int32 words of 32 cells each, user by user; a bit is 1 where the user has the item."""
    user = np.repeat(np.arange(len(seen.counts)), seen.counts)
    word, bit = np.divmod(user * seen.num_item_rows + seen.items, 32)
    words = np.bincount(word, weights=2.0**bit, minlength=-(-len(seen.counts) * seen.num_item_rows // 32))
    return tf.Variable(words.astype(np.uint32).view(np.int32), trainable=False, name="seen_bits")


def _below(draws: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """uint32 draws to int64 within [0, limit), limit up to 2^31: the high half of their product."""
    return tf.bitwise.right_shift(tf.cast(draws, tf.int64) * limit, tf.constant(32, tf.int64))


def _first(holds: Any, begin: tf.Tensor, end: tf.Tensor, tries: int) -> tf.Tensor:
    """The first position in [begin, end) from which on `holds`, `end` if it never does: a binary search."""
    low, high = begin, end
    for _ in range(tries):
        middle = (low + high) // 2
        found = holds(middle)
        is_open = low < high
        high = tf.where(is_open & found, middle, high)
        low = tf.where(is_open & ~found, middle + 1, low)
    return low
