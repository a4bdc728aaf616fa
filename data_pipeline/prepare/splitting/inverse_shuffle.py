"""The inverse of `numpy.random.RandomState.shuffle`, applied to one value per row, such as its split.

The shuffle swaps row i with a random row j <= i, for i from the last row down to 1. Undoing the swaps in
reverse order moves the values of shuffled positions back to the rows. Vectorized over thousands of swaps at a
time, this takes a third of the time of the shuffle and, unlike it, releases the GIL.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

# The largest batch of swaps. With fewer rows, batches are smaller: of n swaps among N rows about n x n / N
# depend on one another and are applied one by one.
_MAX_BATCH = 1 << 14
_BATCH_PER_ROOT = 16
_SLOTS = 1 << 20


def undo_shuffle(values: np.ndarray, seed: int) -> None:
    """Moves values from shuffled positions to rows, in place.

    Afterwards `values[order]` equals the old `values`, where `order` is
    `RandomState(seed).permutation(len(values))`.

    >>> values = np.array([2, 2, 0, 0, 0], np.uint8)
    >>> undo_shuffle(values, seed=42)
    >>> values.tolist(), np.random.RandomState(42).permutation(5).tolist()
    ([0, 2, 0, 0, 2], [1, 4, 2, 0, 3])
    """
    undo_swaps(values, draw_swaps(len(values), seed, first=constant_prefix(values)))


def constant_prefix(values: np.ndarray) -> int:
    """The length of the constant prefix; swaps within it change nothing."""
    return int(np.argmax(values != values[0])) or len(values) if len(values) else 0


def draw_swaps(num_rows: int, seed: int, *, first: int) -> np.ndarray:
    """int32 [num_rows - first]: the rows with which the shuffle swaps the rows `first`, `first` + 1, ...

    NumPy draws a number up to i by rejection: 32 random bits, masked to the bits of i, until one is <= i.
    """
    swaps = np.empty(max(0, num_rows - first), np.int32)
    generator = np.random.RandomState(seed)
    raw = np.empty(0, np.uint32)
    last = num_rows - 1
    while last >= first:
        if not len(raw):
            raw = generator.randint(0, 2**32, _MAX_BATCH, np.uint32)
        mask = (1 << last.bit_length()) - 1
        draws = raw[: _batch_size(last)] & np.uint32(mask)
        accepted = np.flatnonzero(_accepted(draws, last))[: last + 1 - max(first, mask // 2 + 1)]
        swaps[last + 1 - len(accepted) - first : last + 1 - first] = draws[accepted[::-1]]
        last -= len(accepted)
        # When the mask gets shorter, the draws after the last accepted one are used again.
        raw = raw[len(draws) if last > mask // 2 else int(accepted[-1]) + 1 :]
    return swaps


def _accepted(draws: np.ndarray, last: int) -> np.ndarray:
    """Mask of accepted draws: a draw must be at most `last` minus the number of draws accepted before it."""
    accepted = draws <= max(0, last - len(draws))
    unsure = np.flatnonzero((draws <= last) & ~accepted)
    before = np.searchsorted(np.flatnonzero(accepted), unsure)
    more = 0
    for position, limit in zip(unsure.tolist(), (last - before - draws[unsure]).tolist(), strict=True):
        if limit >= more:
            accepted[position] = True
            more += 1
    return accepted


def undo_swaps(values: np.ndarray, swaps: np.ndarray) -> None:
    """Undoes the swaps of the last `len(swaps)` rows, in place, in the reverse order of the shuffle."""
    first = begin = len(values) - len(swaps)
    number = np.arange(_MAX_BATCH, dtype=np.uint16)
    last_writer = np.zeros(_SLOTS, np.uint16)
    one_by_one = values.data
    while begin < len(values):
        other = swaps[begin - first : begin - first + _batch_size(begin)].astype(np.intp)
        size = len(other)
        # Swaps that may depend on an earlier swap of this batch (same hash slot) are applied one by one
        # afterwards.
        slot = other & (_SLOTS - 1)
        last_writer[slot[::-1]] = number[:size][::-1]
        dependent = np.flatnonzero((last_writer[slot] != number[:size]) | (other >= begin))
        deferred = list(zip((dependent + begin).tolist(), other[dependent].tolist(), strict=True))
        other[dependent] = dependent + begin  # swapped with itself: no effect
        moved = values[other]
        values[other] = values[begin : begin + size]
        values[begin : begin + size] = moved
        for i, j in deferred:
            one_by_one[i], one_by_one[j] = one_by_one[j], one_by_one[i]
        begin += size


def _batch_size(rows: int) -> int:
    return min(_MAX_BATCH, _BATCH_PER_ROOT * (isqrt(rows) + 1))
