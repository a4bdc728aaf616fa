"""Random numbers that are a function of (seed, step, row): the same on any number of devices.

Written once for NumPy arrays and TensorFlow tensors, in unsigned 32-bit arithmetic, which wraps in both.
The mixer is C. Wellons's lowbias32 (2018, "Prospecting for Hash Functions"): every input bit flips each
output bit with a probability within 0.2 % of a half.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# 2^32 over the golden ratio: neighbouring units get inputs far apart.
_GOLDEN = 0x9E3779B9


def mix(bits: Any) -> Any:
    """Scrambles uint32 values; a one-to-one function."""
    bits = bits ^ _shift(bits, 16)
    bits = bits * np.uint32(0x7FEB352D)
    bits = bits ^ _shift(bits, 15)
    bits = bits * np.uint32(0x846CA68B)
    return bits ^ _shift(bits, 16)


def row_bits(seed: Any, step: Any, row: Any) -> Any:
    """One random uint32 a row.

    Args:
        seed: of the run, uint32.
        step: counted from the run's beginning, uint32.
        row: position within the global batch, uint32 [rows].
    """
    return mix(mix(mix(seed) + step) + row)


def unit_bits(bits: Any, units: Any) -> Any:
    """Random uint32 [rows, units] of `row_bits`, [rows], and the numbers of the units, uint32 [units]."""
    return mix(bits[:, None] ^ (units * np.uint32(_GOLDEN))[None, :])


def _shift(bits: Any, count: int) -> Any:
    if isinstance(bits, np.ndarray | np.generic):
        return np.right_shift(bits, np.uint32(count))
    import tensorflow as tf

    return tf.bitwise.right_shift(bits, tf.constant(count, tf.uint32))
