"""In which order rows are stored: a random one, a pure function of (seed, row number)."""

from __future__ import annotations

import numpy as np

# More rows than these a key of 32 bits, and a permutation in 32 bits, cannot tell apart.
MAX_ROWS = 2**31 - 1


def order_keys(rows: np.ndarray, seed: int, *, purpose: int = 0) -> np.ndarray:
    """A key (uint32) for each row number; no two rows have the same. Rows are stored by ascending keys.

    Two rounds of MurmurHash3's finalizer, a bijection of 32 bits, with a word of the seed before each.

    >>> keys = order_keys(np.arange(5), seed=42)
    >>> keys.dtype, len(set(keys.tolist())), (keys == order_keys(np.arange(5), seed=43)).any()
    (dtype('uint32'), 5, np.False_)

    Args:
        purpose: another number gives independent keys of the same seed.
    """
    first, second = np.random.SeedSequence([seed, purpose]).generate_state(2, np.uint32)
    keys = rows.astype(np.uint32)
    keys ^= first
    _mix(keys)
    keys += second
    _mix(keys)
    return keys


def _mix(x: np.ndarray) -> None:
    """Appleby's fmix32, in place."""
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
