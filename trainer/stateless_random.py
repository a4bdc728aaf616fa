"""Stateless random numbers: a function of (seed, step, row), the same on any number of devices.

The code works on NumPy arrays and on TensorFlow tensors: uint32 arithmetic wraps around in both. The mixing
function is lowbias32 (C. Wellons 2018, "Prospecting for Hash Functions"): flipping an input bit flips each
output bit with a probability of 0.5, to within 0.2 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# 2^32 divided by the golden ratio: spreads the inputs of neighbouring units.
_GOLDEN = 0x9E3779B9


def mix(bits: Any) -> Any:
    """Hashes uint32 values; the function is a bijection."""
    bits = bits ^ _shift(bits, 16)
    bits = bits * np.uint32(0x7FEB352D)
    bits = bits ^ _shift(bits, 15)
    bits = bits * np.uint32(0x846CA68B)
    return bits ^ _shift(bits, 16)


def row_bits(seed: Any, step: Any, row: Any) -> Any:
    """One random uint32 per row.

    Args:
        seed: seed of the run, uint32.
        step: number of steps since the start of the run, uint32.
        row: position within the global batch, uint32 [rows].
    """
    return mix(mix(mix(seed) + step) + row)


def unit_bits(bits: Any, units: Any) -> Any:
    """Random uint32 [rows, units] from random numbers of rows, [rows], and unit indices, uint32 [units]."""
    return mix(bits[:, None] ^ (units * np.uint32(_GOLDEN))[None, :])


def _shift(bits: Any, count: int) -> Any:
    if isinstance(bits, np.ndarray | np.generic):
        return np.right_shift(bits, np.uint32(count))
    import tensorflow as tf

    return tf.bitwise.right_shift(bits, tf.constant(count, tf.uint32))
