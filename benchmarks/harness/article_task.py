"""The training task of `train_step.py`: rows, their order, initial weights, and the cost of a step.

Ids and ratings are random, with the sizes of MovieLens-100K: the cost of a step does not depend on them.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from data_pipeline.batches.order import BatchOrder

NUM_USERS, NUM_ITEMS = 943, 1682
EMBEDDING_DIM, HIDDEN_UNITS = 5, (128, 32)
LEARNING_RATE, EPSILON = 1e-3, 1e-7
LOSS_STEPS = 20
SEED = 0

# Multiply-adds of the dense layers, twice for the forward and four times for the backward pass.
FLOP_PER_SAMPLE = 6 * (10 * 128 + 128 * 32 + 32)
NUM_WEIGHTS = (NUM_USERS + NUM_ITEMS + 2) * 5 + 10 * 128 + 128 + 128 * 32 + 32 + 32 + 1


def bytes_of_step(batch: int) -> int:
    """The minimum memory traffic of a step, if activations stay on the chip.

    Per row: two ids, rating and weight; ten embedding values read and their gradients written. Per weight:
    the weight, its gradient and two moments read; weight and moments written. All have 4 bytes.
    """
    return batch * (4 + 2 * 10) * 4 + NUM_WEIGHTS * 7 * 4


def rows_of_repetition(batch: int, *, quick: bool) -> int:
    """Rows of one timed repetition: whole batches, enough for the fastest contender to be timed well."""
    if quick:
        return batch * max(LOSS_STEPS, 8192 // batch)
    return batch * max(LOSS_STEPS, min(64, 2**24 // batch), 2**17 // batch)


def write_task(folder: Path, *, batch: int, quick: bool) -> dict[str, str | int]:
    """Writes rows, order and weights to `folder`; returns the part of a contender's job that names them."""
    rng = np.random.default_rng(SEED)
    num_rows = rows_of_repetition(batch, quick=quick)
    order = BatchOrder(num_rows=num_rows, global_batch_size=batch, seed=SEED)
    first_epoch = next(iter(order.blocks(first_step=0, last_step=order.steps_per_epoch, block_steps=2**30)))
    path = folder / f"rows-{batch}.npz"
    np.savez(
        path,
        user_index=rng.integers(1, NUM_USERS + 1, num_rows, dtype=np.int32),
        item_index=rng.integers(1, NUM_ITEMS + 1, num_rows, dtype=np.int32),
        rating=rng.integers(1, 6, num_rows).astype(np.float32),
        order=order.rows(first_epoch, block_steps=order.steps_per_epoch, shard=0, num_shards=1).ravel(),
    )
    weights = folder / "weights.npz"
    if not weights.exists():
        np.savez(weights, **_initial_weights(rng))
    return {"rows": str(path), "weights": str(weights), "batch": batch}


def _initial_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights by layer, like Keras's initializers: uniform +-0.05 for embeddings, Glorot uniform else."""
    weights = {
        "user_embedding": rng.uniform(-0.05, 0.05, (NUM_USERS + 1, EMBEDDING_DIM)),
        "item_embedding": rng.uniform(-0.05, 0.05, (NUM_ITEMS + 1, EMBEDDING_DIM)),
    }
    widths = (2 * EMBEDDING_DIM, *HIDDEN_UNITS, 1)
    for layer, (fan_in, fan_out) in zip(
        ("hidden_1", "hidden_2", "rating"), itertools.pairwise(widths), strict=True
    ):
        limit = np.sqrt(6 / (fan_in + fan_out))
        weights[layer] = rng.uniform(-limit, limit, (fan_in, fan_out))
    return {name: weight.astype(np.float32) for name, weight in weights.items()}
