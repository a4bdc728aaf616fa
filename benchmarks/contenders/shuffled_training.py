"""Validation RMSE curves of one order of the training rows, over several seeds.

The job has `path` (an .npz of `harness.shuffle_task`), `stored` ("random", "user" or "time": the order of
storage), `sizes` (of chunks and windows), `batch`, `epochs`, `points` (of the curve, per epoch), `seeds` and
`shift` (added to the seeds of the order, not to those of the weights).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from engine_steps import make_engine
from harness.children import serve

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.superbatches import superbatches
from data_pipeline.batches.windows import Sizes
from data_pipeline.dataset.columns import Columns
from trainer.config import ModelConfig, TrainConfig
from trainer.engine.engine import Engine
from trainer.ranking.scorer import Scorer


def measure(job: dict[str, Any]) -> dict[str, Any]:
    with np.load(job["path"]) as file:
        stored = file[f"stored_{job['stored']}"]
        train = Columns.from_arrays(
            *(file[f"train_{name}"][stored] for name in ("user_index", "item_index", "rating"))
        )
        validation = [file[f"validation_{name}"] for name in ("user_index", "item_index", "rating")]
        num_users, num_items = (int(file[name]) for name in ("num_users", "num_items"))
    steps_per_epoch = -(-len(train) // job["batch"])
    block_steps = -(-steps_per_epoch // job["points"])
    engine = make_engine(
        ModelConfig(),
        TrainConfig(global_batch_size=job["batch"], precision="float32"),
        num_user_rows=num_users + 1,
        num_item_rows=num_items + 1,
        block_steps=block_steps,
    )
    fresh = [variable.numpy() for variable in engine.optimizer.variables]
    scorer = Scorer(engine.model, num_user_rows=num_users + 1, num_item_rows=num_items + 1)
    curves = []
    for seed in job["seeds"]:
        for variable, value in zip(engine.optimizer.variables, fresh, strict=True):
            variable.assign(value)
        _initialize(engine.model, seed)
        order = BatchOrder(len(train), job["batch"], seed + job["shift"], Sizes(**job["sizes"]))
        curves.append(_curve(engine, scorer, train, validation, order, block_steps, job["epochs"]))
    return {"curves": curves, "rows": len(train)}


def _curve(
    engine: Engine,
    scorer: Scorer,
    train: Columns,
    validation: list[np.ndarray],
    order: BatchOrder,
    block_steps: int,
    epochs: int,
) -> list[float]:
    """The validation RMSE after each block of steps."""
    blocks = order.blocks(first_step=0, last_step=epochs * order.steps_per_epoch, block_steps=block_steps)
    data = superbatches(train, order, blocks, block_steps=block_steps, shards=range(1), num_shards=1)
    users, items, ratings = validation
    curve, trained = [], 0
    for block, superbatch in zip(blocks, data, strict=True):
        engine.train_block(superbatch, block.num_steps, first_step=trained)[0].numpy()
        trained += block.num_steps
        curve.append(float(np.sqrt(np.mean((scorer(users, items) - ratings) ** 2))))
    return curve


def _initialize(model: keras.Model, seed: int) -> None:
    """Sets weights like Keras's initializers: uniform +-0.05 for embeddings, Glorot uniform, 0 for biases."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        shape = variable.shape
        limit = 0.05 if "embedding" in variable.path else np.sqrt(6 / sum(shape))
        zero = len(shape) == 1
        variable.assign(np.zeros(shape) if zero else rng.uniform(-limit, limit, shape))


if __name__ == "__main__":
    serve(measure)
