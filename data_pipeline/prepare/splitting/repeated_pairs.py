"""Which pairs of user and item occur more than once: one pass over all rows, which are not sorted."""

from __future__ import annotations

from threading import Lock

import numpy as np

from data_pipeline.prepare.staging import NUM_THREADS, Staging, in_threads

# Groups of users, so small that what is known of one stays in a core's cache; their numbers fit into a byte.
_MAX_GROUPS = 127
MIN_ROWS = 1 << 16
# For each row of the largest group so many slots, but 64 MB at the most.
_SLOTS_PER_ROW = 8
_MAX_SLOT_BITS = 24


def repeated_pairs(staging: Staging) -> np.ndarray:
    """The numbers (uint64, ascending) of pairs of which there are several rows: user x items + item."""
    if not staging.num_rows:
        return np.empty(0, np.uint64)
    num_items = len(staging.items)
    groups = staging.user_groups(min_rows=MIN_ROWS, max_groups=_MAX_GROUPS)
    assert len(groups) <= 256
    group_of = np.repeat(np.arange(len(groups), dtype=np.uint8), [last - first for first, last in groups])
    ends = np.cumsum([staging.user_counts[first:last].sum() for first, last in groups])
    begins = np.concatenate([[0], ends[:-1]])
    # In 32 bits, where they suffice for a group, the numbers wrap around, but remain different.
    cells = max(last - first for first, last in groups) * num_items
    kind = np.uint32 if cells <= 2**32 else np.uint64
    pairs = np.empty(staging.num_rows, kind)
    filled, lock = begins.copy(), Lock()

    def gather(chunk: dict[str, np.ndarray]) -> None:
        user: np.ndarray = chunk["user"].astype(kind)
        pair = user * kind(num_items) + chunk["item"].astype(kind)
        group = group_of[chunk["user"]]
        pair = pair[np.argsort(group, kind="stable")]
        counts = np.bincount(group, minlength=len(groups))
        with lock:
            places = filled.copy()
            np.add(filled, counts, out=filled)
        done = 0
        for number in np.flatnonzero(counts):
            place, count = places[number], counts[number]
            pairs[place : place + count] = pair[done : done + count]
            done += count

    staging.each_chunk(["user", "item"], gather)
    bits = min(_MAX_SLOT_BITS, int(_SLOTS_PER_ROW * (ends - begins).max()).bit_length())
    found: list[np.ndarray] = []

    def search(numbers: range) -> None:
        newest = np.empty(1 << bits, np.uint32)
        for number in numbers:
            repeated = _repeated(pairs[begins[number] : ends[number]], newest, bits)
            if len(repeated):
                base = groups[number][0] * num_items
                repeated -= kind(base % 2 ** (8 * repeated.itemsize))
                found.append(repeated.astype(np.uint64) + np.uint64(base))

    in_threads(search, [range(begin, len(groups), NUM_THREADS) for begin in range(NUM_THREADS)])
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.uint64)


def _repeated(pairs: np.ndarray, newest: np.ndarray, bits: int) -> np.ndarray:
    """The distinct ones among those that occur more than once.

    Each row puts its number into the slot that a hash of its pair names. Of a slot's rows the last one's
    remains; the others are few, and have the last one's pair, or are compared among themselves.
    """
    odd = pairs.dtype.type(0x9E3779B97F4A7C15 >> (64 - 8 * pairs.itemsize))
    slot = (pairs * odd >> pairs.dtype.type(8 * pairs.itemsize - bits)).astype(np.intp)
    number = np.arange(len(pairs), dtype=np.uint32)
    newest[slot] = number
    last = newest[slot]
    others = np.flatnonzero(last != number)
    left = pairs[others]
    as_last = left[left == pairs[last[others]]]
    left.sort()
    return np.unique(np.concatenate([as_last, left[1:][left[1:] == left[:-1]]]))
