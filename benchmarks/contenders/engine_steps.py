"""reeltrain: the engine fed by its input pipeline, like `reeltrain train`."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
from harness import article_task
from harness.children import serve, timed

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.superbatches import superbatches
from data_pipeline.dataset.columns import Columns
from trainer.config import ModelConfig, OptimizerConfig, TrainConfig
from trainer.engine.engine import Engine
from trainer.engine.optimizers import make_optimizer
from trainer.models import build_model
from trainer.models.inputs import ModelInputs
from trainer.run.devices import set_up_devices
from trainer.run.plan import choose_block_steps


def measure(job: dict[str, Any]) -> dict[str, Any]:
    with np.load(job["rows"]) as file:
        columns = Columns.from_arrays(
            **{name: file[name] for name in ("user_index", "item_index", "rating")}, weight=None
        )
    order = BatchOrder(num_rows=len(columns.rating), global_batch_size=job["batch"], seed=article_task.SEED)
    block_steps = choose_block_steps(order, TrainConfig())
    begin = time.perf_counter()
    engine = make_engine(
        ModelConfig(
            embedding_dim=article_task.EMBEDDING_DIM,
            hidden_units=article_task.HIDDEN_UNITS,
            tables=job.get("tables", "auto"),
        ),
        TrainConfig(global_batch_size=job["batch"], precision=job.get("precision", "float32")),
        num_user_rows=article_task.NUM_USERS + 1,
        num_item_rows=article_task.NUM_ITEMS + 1,
        block_steps=block_steps,
    )
    with np.load(job["weights"]) as file:
        for name in file:
            engine.model.get_layer(name).weights[0].assign(file[name])

    # One stream of superbatches for all repetitions, so that none of them includes filling the pipeline.
    epochs = 2 + job["repetitions"]
    blocks = order.blocks(first_step=0, last_step=epochs * order.steps_per_epoch, block_steps=block_steps)
    data = iter(superbatches(columns, order, blocks, block_steps=block_steps, shards=range(1), num_shards=1))
    remaining = iter(blocks)
    trained = 0

    def train_block() -> Any:
        nonlocal trained
        block = next(remaining)
        losses, _ = engine.train_block(next(data), block.num_steps, first_step=trained)
        trained += block.num_steps
        return losses[: block.num_steps]

    losses = list(train_block().numpy())
    first_step_secs = time.perf_counter() - begin
    while trained % order.steps_per_epoch:
        losses.extend(train_block().numpy())

    def epoch() -> None:
        last = trained + order.steps_per_epoch
        while trained < last:
            train_block().numpy()  # like the training loop, which checks that losses are finite

    secs = timed(epoch, job["repetitions"])
    return {
        "losses": [float(loss) for loss in losses[: article_task.LOSS_STEPS]],
        "first_step_secs": first_step_secs,
        "steps_per_call": block_steps,
        "samples_per_sec": [len(columns.rating) / s for s in secs],
    }


def make_engine(
    model: ModelConfig, train: TrainConfig, *, num_user_rows: int, num_item_rows: int, block_steps: int
) -> Engine:
    """The engine with Adam, as `trainer.train` builds it."""
    devices = set_up_devices(train)
    keras.utils.set_random_seed(train.seed)
    with devices.strategy.scope():
        return Engine(
            build_model(model, ModelInputs(num_user_rows=num_user_rows, num_item_rows=num_item_rows)),
            make_optimizer(OptimizerConfig(learning_rate=article_task.LEARNING_RATE)),
            strategy=devices.strategy,
            global_batch_size=train.global_batch_size,
            block_steps=block_steps,
            accumulation_steps=train.accumulation_steps,
            threads=devices.threads,
            seed=train.seed,
            use_loss_scaling=devices.precision == "mixed_float16",
        )


if __name__ == "__main__":
    serve(measure)
