"""The random order in which rows are stored: a pure function of (seed, row number)."""

from __future__ import annotations

import numpy as np

# The largest number of rows that 32-bit keys and 32-bit permutations support.
MAX_ROWS = 2**31 - 1


def order_keys(rows: np.ndarray, seed: int, *, purpose: int = 0) -> np.ndarray:
    """A distinct key (uint32) for each row number. Rows are stored in ascending order of their keys.

    Two rounds of MurmurHash3's finalizer, a bijection of 32 bits, each after mixing in a word of the seed.

    >>> keys = order_keys(np.arange(5), seed=42)
    >>> keys.dtype, len(set(keys.tolist())), (keys == order_keys(np.arange(5), seed=43)).any()
    (dtype('uint32'), 5, np.False_)

    Args:
        purpose: different numbers give independent keys for the same seed.
    """
    first, second = np.random.SeedSequence([seed, purpose]).generate_state(2, np.uint32)
    keys = rows.astype(np.uint32)
    keys ^= first
    _mix(keys)
    keys += second
    _mix(keys)
    return keys


def _mix(x: np.ndarray) -> None:
    """MurmurHash3's finalizer fmix32 (Appleby), in place."""
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
