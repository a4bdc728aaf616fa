"""Negatives: items that a user has not rated, drawn inside the compiled step from (seed, step, row)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from data_pipeline.errors import UserError
from data_pipeline.features.interactions import Interactions
from trainer.stateless_random import mix, unit_bits

# Up to this number of (user, item) cells, seen items are looked up in a bitmap (at most 64 MiB). Beyond it,
# they are found by a binary search, ten times slower (measured on ML-100K, batch 512, all pairs).
_MAX_BITMAP_CELLS = 2**29
# Makes the draws differ from other random numbers of a row.
_NEGATIVE_STREAM = np.uint32(0x27D4EB2F)


class NegativeSampler:
    """Draws items for users.

    `uniform`: all items that the user has not rated in training are equally likely. Nothing is rejected: a
    binary search in the user's sorted items finds the r-th unseen item. `popularity`: items are drawn in
    proportion to their training rows, and an item that the user has rated is masked out of the loss.

    Args:
        seen: each user's training items.
        sampler: `uniform` or `popularity`.
        item_counts: training rows of each item, [num_item_rows].
    """

    def __init__(self, seen: Interactions, sampler: str, item_counts: np.ndarray) -> None:
        num_items = seen.num_item_rows - 1
        assert len(seen.items) < 2**31
        # A cell's number is an int32.
        assert _MAX_BITMAP_CELLS <= 2**31
        num_cells = len(seen.counts) * seen.num_item_rows
        self._num_users = len(seen.counts) - 1
        self._num_users_without_unseen = int(np.sum(seen.counts >= num_items))
        self._sampler = sampler
        self._num_items = num_items
        self._offsets = tf.Variable(seen.offsets.astype(np.int32), trainable=False, name="seen_offsets")
        self._seen = tf.Variable(
            seen.items if len(seen.items) else np.zeros(1, np.int32), trainable=False, name="seen_items"
        )
        self._bitmap = _seen_bitmap(seen) if num_cells <= _MAX_BITMAP_CELLS else None
        self._seen_search_steps = int(seen.counts.max(initial=0)).bit_length()
        counts = item_counts.astype(np.int64).copy()
        counts[0] = 0
        self._num_rows = int(counts.sum())
        self._cumulative_counts = tf.Variable(np.cumsum(counts), trainable=False, name="item_ends")
        self._item_search_steps = len(counts).bit_length()
        self._log_shares = tf.Variable(
            np.log(np.maximum(counts, 1) / max(1, self._num_rows)), trainable=False, name="item_log_shares"
        )

    def require_unseen(self) -> None:
        """Raises UserError if a user has rated every item: `uniform` would have no candidates."""
        if self._sampler == "uniform" and self._num_users_without_unseen:
            raise UserError(
                "objective.sampler=uniform needs an unrated item for every user, but "
                f"{self._num_users_without_unseen} of {self._num_users:,} users have rated all "
                f"{self._num_items:,} items"
            )

    def draw(self, user_index: tf.Tensor, bits: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws `count` items per row: (items, int32 [rows, count]; mask, bool [rows, count]).

        The mask is False for items that the user has rated; they must not count in the loss.

        Args:
            user_index: int32 [rows].
            bits: random numbers of the rows, uint32 [rows].
        """
        draws = unit_bits(mix(bits ^ _NEGATIVE_STREAM), tf.constant(np.arange(count, dtype=np.uint32)))
        users = tf.repeat(user_index[:, None], count, axis=1)
        if self._sampler == "uniform":
            return self._draw_unseen(users, draws), tf.ones_like(users, tf.bool)
        row = _scale(draws, tf.constant(self._num_rows, tf.int64))
        items = _binary_search(
            lambda at: tf.gather(self._cumulative_counts, at) > row,
            tf.zeros_like(users),
            tf.fill(tf.shape(users), self._num_items),
            self._item_search_steps,
        )
        return items, ~self.is_seen(users, items)

    def log_expected(self, user_index: tf.Tensor, items: tf.Tensor, count: int, dtype: Any) -> tf.Tensor:
        """log of the expected number of times that `count` draws give each item, [rows, count]."""
        if self._sampler == "uniform":
            begin, end = self._seen_range(user_index[:, None])
            num_unseen = tf.cast(self._num_items - (end - begin), dtype)
            return tf.math.log(tf.cast(count, dtype) / num_unseen) + tf.zeros_like(items, dtype)
        return self.log_share(items, dtype) + float(np.log(count))

    def log_share(self, items: tf.Tensor, dtype: Any) -> tf.Tensor:
        """log of each item's share of the training rows."""
        return tf.cast(tf.gather(self._log_shares, items), dtype)

    def is_seen(self, users: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Whether each user has rated the item in training; both int32 of the same shape."""
        if self._bitmap is not None:
            cell = users * (self._num_items + 1) + items
            word = tf.gather(self._bitmap, tf.bitwise.right_shift(cell, 5))
            return tf.bitwise.right_shift(word, tf.bitwise.bitwise_and(cell, 31)) % 2 != 0
        begin, end = self._seen_range(users)
        at = _binary_search(lambda at: self._gather_seen(at) >= items, begin, end, self._seen_search_steps)
        return (at < end) & (self._gather_seen(at) == items)

    def _draw_unseen(self, users: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """The user's r-th unseen item, where r is uniform over their unseen items."""
        begin, end = self._seen_range(users)
        rank = tf.cast(_scale(draws, tf.cast(self._num_items - (end - begin), tf.int64)), tf.int32)
        # Before the user's j-th seen item s_j (j from 0) there are s_j - 1 - j unseen items.
        at = _binary_search(
            lambda at: self._gather_seen(at) - 1 - (at - begin) > rank, begin, end, self._seen_search_steps
        )
        return 1 + rank + (at - begin)

    def _seen_range(self, users: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Begin and end of each user's items in `_seen`."""
        return tf.gather(self._offsets, users), tf.gather(self._offsets, users + 1)

    def _gather_seen(self, at: tf.Tensor) -> tf.Tensor:
        # A finished search may still look at `end`, which can be past the last item.
        return tf.gather(self._seen, tf.minimum(at, self._seen.shape[0] - 1))


def _seen_bitmap(seen: Interactions) -> tf.Variable:
    """A bit per (user, item) cell, 1 if the user has the item; row by row, in int32 words of 32 bits."""
    user = np.repeat(np.arange(len(seen.counts)), seen.counts)
    word, bit = np.divmod(user * seen.num_item_rows + seen.items, 32)
    words = np.bincount(word, weights=2.0**bit, minlength=-(-len(seen.counts) * seen.num_item_rows // 32))
    return tf.Variable(words.astype(np.uint32).view(np.int32), trainable=False, name="seen_bits")


def _scale(draws: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Maps uint32 draws to int64 in [0, limit), limit up to 2^31: floor(draw * limit / 2^32)."""
    return tf.bitwise.right_shift(tf.cast(draws, tf.int64) * limit, tf.constant(32, tf.int64))


def _binary_search(predicate: Any, begin: tf.Tensor, end: tf.Tensor, num_steps: int) -> tf.Tensor:
    """The first position in [begin, end) at which a monotone `predicate` is true, or `end` if it never is."""
    low, high = begin, end
    for _ in range(num_steps):
        middle = (low + high) // 2
        is_true = predicate(middle)
        is_open = low < high
        high = tf.where(is_open & is_true, middle, high)
        low = tf.where(is_open & ~is_true, middle + 1, low)
    return low
