"""Peak rates of the device: float32 matrix products by XLA and NumPy in FLOP/s, memory in bytes/s."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from harness.children import serve, timed

COPY_FLOATS = 2**26


def measure(job: dict[str, Any]) -> dict[str, Any]:
    size, repetitions = job["matmul_size"], job["repetitions"]
    a, b = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
    a_device, b_device = tf.constant(a), tf.constant(b)
    product = tf.function(tf.matmul, jit_compile=True)
    long = tf.zeros([COPY_FLOATS])
    shifted = tf.function(lambda x: x + 1, jit_compile=True)
    flop = 2 * size**3
    rates = {
        "xla": flop / min(timed(lambda: _wait(product(a_device, b_device)), repetitions)),
        "memory": 2 * 4 * COPY_FLOATS / min(timed(lambda: _wait(shifted(long)), repetitions)),
        "device": "GPU" if tf.config.list_physical_devices("GPU") else "CPU",
    }
    if rates["device"] == "CPU":
        rates["numpy"] = flop / min(timed(lambda: np.matmul(a, b), repetitions))
    return rates


def _wait(value: tf.Tensor) -> None:
    # Reads one number, because a call on a GPU returns before its work is done.
    value[(0,) * value.ndim].numpy()


if __name__ == "__main__":
    serve(measure)
