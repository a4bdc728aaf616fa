"""Keras `fit`: from arrays like the article, or tuned (if the job has `steps_per_execution`)."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from harness import article_task
from harness.children import serve

Columns = dict[str, np.ndarray]


class _EpochSecs(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.secs: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.secs.append(time.perf_counter() - self._begin)


class _BatchLosses(keras.callbacks.Callback):
    """The loss of each batch. Keras reports a running mean, so it is reset before every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.losses.append(float(logs["loss"]))


def measure(job: dict[str, Any]) -> dict[str, Any]:
    with np.load(job["rows"]) as file:
        columns = {name: file[name][file["order"]] for name in ("user_index", "item_index", "rating")}
    steps_per_execution = job.get("steps_per_execution")
    result: dict[str, Any] = {}
    if job["losses"]:
        first = {name: column[: article_task.LOSS_STEPS * job["batch"]] for name, column in columns.items()}
        losses = _BatchLosses()
        _fit(job, first, epochs=1, callback=losses, steps_per_execution=steps_per_execution and 1)
        result["losses"] = losses.losses
    epochs = _EpochSecs()
    _fit(
        job, columns, epochs=1 + job["repetitions"], callback=epochs, steps_per_execution=steps_per_execution
    )
    # The first epoch compiles.
    return {**result, "samples_per_sec": [len(columns["rating"]) / secs for secs in epochs.secs[1:]]}


def _fit(
    job: dict[str, Any],
    columns: Columns,
    *,
    epochs: int,
    callback: keras.callbacks.Callback,
    steps_per_execution: int | None,
) -> None:
    model = article_model(job["weights"])
    optimizer = keras.optimizers.Adam(article_task.LEARNING_RATE, epsilon=article_task.EPSILON)
    inputs = {name: columns[name] for name in ("user_index", "item_index")}
    common = {"epochs": epochs, "callbacks": [callback], "verbose": 0}
    if steps_per_execution is None:
        model.compile(optimizer=optimizer, loss="mse")
        # The same order for all contenders; not shuffling makes `fit` no slower.
        model.fit(inputs, columns["rating"], batch_size=job["batch"], shuffle=False, **common)
        return
    model.compile(optimizer=optimizer, loss="mse", jit_compile=True, steps_per_execution=steps_per_execution)
    # Split into batches beforehand: `batch()` would assemble each batch from single rows.
    in_batches = {name: column.reshape(-1, job["batch"]) for name, column in columns.items()}
    rating = in_batches.pop("rating")
    data = tf.data.Dataset.from_tensor_slices((in_batches, rating)).prefetch(tf.data.AUTOTUNE)
    model.fit(data, **common)


def article_model(weights: str) -> keras.Model:
    """The article's model with Keras's layers and the given initial weights."""
    index = {name: keras.Input((), dtype="int32", name=name) for name in ("item_index", "user_index")}
    rows = {"item_index": article_task.NUM_ITEMS + 1, "user_index": article_task.NUM_USERS + 1}
    hidden = keras.layers.Concatenate()(
        [
            keras.layers.Embedding(
                rows[name], article_task.EMBEDDING_DIM, name=name.replace("index", "embedding")
            )(column)
            for name, column in index.items()
        ]
    )
    for number, units in enumerate(article_task.HIDDEN_UNITS, start=1):
        hidden = keras.layers.Dense(units, activation="relu", name=f"hidden_{number}")(hidden)
    model = keras.Model(index, keras.layers.Dense(1, name="rating")(hidden))
    with np.load(weights) as file:
        for name in file:
            model.get_layer(name).weights[0].assign(file[name])
    return model


if __name__ == "__main__":
    serve(measure)
