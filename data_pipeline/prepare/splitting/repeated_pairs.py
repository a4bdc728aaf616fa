"""Finds the (user, item) pairs that occur more than once, with hash slots instead of a sort."""

from __future__ import annotations

from threading import Lock

import numpy as np

from data_pipeline.prepare.staging import NUM_THREADS, Staging, in_threads

# Groups of users are small, so that the hash slots of one stay in a core's cache. Group numbers fit a byte.
_MAX_GROUPS = 127
MIN_ROWS = 1 << 16
# Hash slots per row of the largest group; at most 64 MB in all.
_SLOTS_PER_ROW = 8
_MAX_SLOT_BITS = 24


def repeated_pairs(staging: Staging) -> np.ndarray:
    """The numbers (uint64, ascending) of the pairs with several rows: user x number of items + item."""
    if not staging.num_rows:
        return np.empty(0, np.uint64)
    num_items = len(staging.items)
    groups = staging.user_groups(min_rows=MIN_ROWS, max_groups=_MAX_GROUPS)
    assert len(groups) <= 256
    group_of = np.repeat(np.arange(len(groups), dtype=np.uint8), [last - first for first, last in groups])
    ends = np.cumsum([staging.user_counts[first:last].sum() for first, last in groups])
    begins = np.concatenate([[0], ends[:-1]])
    # If 32 bits suffice for a group, pair numbers wrap around but stay distinct within the group.
    cells = max(last - first for first, last in groups) * num_items
    dtype = np.uint32 if cells <= 2**32 else np.uint64
    pairs = np.empty(staging.num_rows, dtype)
    filled, lock = begins.copy(), Lock()

    def gather(chunk: dict[str, np.ndarray]) -> None:
        user: np.ndarray = chunk["user"].astype(dtype)
        pair = user * dtype(num_items) + chunk["item"].astype(dtype)
        group = group_of[chunk["user"]]
        pair = pair[np.argsort(group, kind="stable")]
        counts = np.bincount(group, minlength=len(groups))
        with lock:
            positions = filled.copy()
            np.add(filled, counts, out=filled)
        done = 0
        for number in np.flatnonzero(counts):
            begin, count = positions[number], counts[number]
            pairs[begin : begin + count] = pair[done : done + count]
            done += count

    staging.each_chunk(["user", "item"], gather)
    bits = min(_MAX_SLOT_BITS, int(_SLOTS_PER_ROW * (ends - begins).max()).bit_length())
    found: list[np.ndarray] = []

    def search(numbers: range) -> None:
        last_writer = np.empty(1 << bits, np.uint32)
        for number in numbers:
            repeated = _repeated(pairs[begins[number] : ends[number]], last_writer, bits)
            if len(repeated):
                base = groups[number][0] * num_items
                repeated -= dtype(base % 2 ** (8 * repeated.itemsize))
                found.append(repeated.astype(np.uint64) + np.uint64(base))

    in_threads(search, [range(begin, len(groups), NUM_THREADS) for begin in range(NUM_THREADS)])
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.uint64)


def _repeated(pairs: np.ndarray, last_writer: np.ndarray, bits: int) -> np.ndarray:
    """The distinct values of `pairs` that occur more than once.

    Each row writes its number to its pair's hash slot; the last writer wins. The other rows are few: they
    have the pair of their slot's last writer, or are hash collisions, which are compared by sorting.
    """
    multiplier = pairs.dtype.type(0x9E3779B97F4A7C15 >> (64 - 8 * pairs.itemsize))
    slot = (pairs * multiplier >> pairs.dtype.type(8 * pairs.itemsize - bits)).astype(np.intp)
    number = np.arange(len(pairs), dtype=np.uint32)
    last_writer[slot] = number
    last = last_writer[slot]
    others = np.flatnonzero(last != number)
    left = pairs[others]
    same_as_last = left[left == pairs[last[others]]]
    left.sort()
    return np.unique(np.concatenate([same_as_last, left[1:][left[1:] == left[:-1]]]))
