"""Milliseconds per step with two embedding tables: reeltrain, or Keras's layers and Adam."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from harness.children import serve

from trainer.config import ModelConfig, OptimizerConfig, TrainConfig
from trainer.engine.engine import Engine
from trainer.engine.optimizers import make_optimizer
from trainer.models import build_model
from trainer.models.inputs import ModelInputs
from trainer.run.devices import set_up_devices

BATCH, DIM, HIDDEN_UNITS = 8192, 32, (128, 32)
BLOCK_STEPS = 8


def measure(job: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    blocks = [_block(rng, job["rows"]) for _ in range(4)]
    train = _keras(job) if job["way"].startswith("keras") else _ours(job)
    for block in blocks[:2]:
        train(block)
    millis = []
    for number in range(job["repetitions"]):
        begin = time.perf_counter()
        train(blocks[number % len(blocks)])
        millis.append((time.perf_counter() - begin) / BLOCK_STEPS * 1e3)
    return {"millis": millis}


def _block(rng: np.random.Generator, rows: int) -> dict[str, tf.Tensor]:
    """A block of steps with uniform random ids, so that caches hardly help."""
    shape = (BLOCK_STEPS, BATCH)
    return {
        "user_index": tf.constant(rng.integers(1, rows, shape, dtype=np.int32)),
        "item_index": tf.constant(rng.integers(1, rows, shape, dtype=np.int32)),
        "rating": tf.constant(rng.integers(1, 6, shape).astype(np.float32)),
        "weight": tf.ones(shape),
    }


def _ours(job: dict[str, Any]) -> Any:
    devices = set_up_devices(TrainConfig(global_batch_size=BATCH, precision="float32"))
    config = ModelConfig(embedding_dim=DIM, hidden_units=HIDDEN_UNITS, tables=job["way"])
    engine = Engine(
        build_model(config, ModelInputs(num_user_rows=job["rows"], num_item_rows=job["rows"])),
        make_optimizer(OptimizerConfig()),
        strategy=devices.strategy,
        global_batch_size=BATCH,
        block_steps=BLOCK_STEPS,
        threads=devices.threads,
    )
    return lambda block: engine.train_block(block, BLOCK_STEPS)[0].numpy()


def _keras(job: dict[str, Any]) -> Any:
    index = {name: keras.Input((), dtype="int32", name=name) for name in ("user_index", "item_index")}
    hidden = keras.layers.Concatenate()(
        [keras.layers.Embedding(job["rows"], DIM)(column) for column in index.values()]
    )
    for units in HIDDEN_UNITS:
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    model = keras.Model(index, keras.layers.Dense(1)(hidden))
    model.compile(optimizer="adam", loss="mse", jit_compile=job["way"] == "keras, XLA")

    def train(block: dict[str, tf.Tensor]) -> None:
        inputs = {name: block[name] for name in index}
        for k in range(BLOCK_STEPS):
            model.train_on_batch({name: column[k] for name, column in inputs.items()}, block["rating"][k])

    return train


if __name__ == "__main__":
    serve(measure)
