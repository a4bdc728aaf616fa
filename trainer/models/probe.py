"""Calls a model of your own once before it trains, outside XLA.

Inside an XLA program an index out of range reads the nearest row instead of raising, and a GPU's lookup reads
zeros. So the first call is made on a CPU, operation by operation, where TensorFlow checks.
"""

from __future__ import annotations

import re
import warnings

import keras
import numpy as np
import tensorflow as tf

from data_pipeline.errors import UserError

# Rows of the probe: the corners, and indices spread over the tables. Few enough not to be noticed.
MAX_ROWS = 1024
_OUT_OF_RANGE = re.compile(r"indices\S* = (-?\d+) is not in \[0, (\d+)\)")
_UNSUPPORTED = re.compile(r"unsupported operations.*?: (\w+) \(No registered", re.DOTALL)
_CLASS = re.compile(r"when calling (\w+)\.call\(\)")


def probe_model(model: keras.Model, name: str, *, num_user_rows: int, num_item_rows: int) -> None:
    """Raises UserError unless a call on the lowest and highest indices gives one finite score per row.

    No variable and no random state changes. Scores must not depend on the other rows of a batch: the batch
    is padded, and cut differently on every number of devices.
    """
    users, items = _indices(num_user_rows, num_item_rows)
    ranges = (
        f"user_index is 0 to {num_user_rows - 1} (inputs.num_user_rows={num_user_rows}) and "
        f"item_index 0 to {num_item_rows - 1} (inputs.num_item_rows={num_item_rows})"
    )
    scores = _scores(model, name, users, items, ranges)
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        row = bad[0]
        raise UserError(
            f"model.name={name} must give finite scores before training, got {scores[row]} for "
            f"user_index={users[row]}, item_index={items[row]}"
        )
    _require_program(model, name, users, items)
    _scores(model, name, users, items, ranges, training=True)  # what it reads only while it trains
    alone = _scores(model, name, users[:1], items[:1], ranges)
    half = _scores(model, name, users[1::2], items[1::2], ranges)
    tolerance = 1e-4 if model.compute_dtype in ("float32", "float64") else 3e-2
    scale = max(float(np.ptp(scores)), float(np.abs(scores).max()) * 1e-2)
    for expected, got in ((scores[:1], alone), (scores[1::2], half)):
        difference = float(np.abs(expected - got).max())
        if difference > tolerance * scale:
            raise UserError(
                f"model.name={name} must score each row by itself, got scores that differ by "
                f"{difference:.2g} when the batch has other rows (a mean or a softmax over the batch?)"
            )


def _indices(num_user_rows: int, num_item_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(users, items) of the probe, int32: the four corners first, then spread over the ranges."""
    user, item = num_user_rows - 1, num_item_rows - 1
    rows = min(MAX_ROWS, max(num_user_rows, num_item_rows))
    users = [0, user, 0, user, *np.linspace(0, user, rows, dtype=np.int64)]
    items = [0, item, item, 0, *np.linspace(item, 0, rows, dtype=np.int64)]
    return np.array(users, np.int32), np.array(items, np.int32)


def _scores(
    model: keras.Model,
    name: str,
    users: np.ndarray,
    items: np.ndarray,
    ranges: str,
    *,
    training: bool = False,
) -> np.ndarray:
    """Scores [rows] in float64, computed on a CPU."""
    try:
        with tf.device("CPU:0"):
            # Copies of the variables: a lookup in one that a GPU holds would run there.
            values = [
                [tf.convert_to_tensor(variable.value) for variable in variables]
                for variables in (model.trainable_variables, model.non_trainable_variables)
            ]
            columns = {"user_index": tf.constant(users), "item_index": tf.constant(items)}
            output, _ = model.stateless_call(*values, columns, training=training)
    except Exception as error:  # of code that is not ours
        raise UserError(f"model.name={name} {_reason(model, error)}; {ranges}") from error
    shape = tuple(output.shape)
    if shape != (len(users), 1):
        raise UserError(f"model.name={name} must give scores [rows, 1], got {shape} for {len(users)} rows")
    return np.asarray(tf.cast(output, tf.float64))[:, 0]


def _require_program(model: keras.Model, name: str, users: np.ndarray, items: np.ndarray) -> None:
    """Raises UserError if XLA cannot translate the model: strings, Python code, control flow on tensors."""

    @tf.function(jit_compile=True, autograph=False)
    def forward(user_index: tf.Tensor, item_index: tf.Tensor) -> tf.Tensor:
        columns = {"user_index": user_index, "item_index": item_index}
        values = [
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
        ]
        return model.stateless_call(*values, columns, training=True)[0]

    with tf.device("CPU:0"):
        columns = tf.constant(users), tf.constant(items)
    try:
        forward.get_concrete_function(*columns)
    except Exception as error:  # of code that is not ours
        message = " ".join(str(error).split())[:300]
        raise UserError(f"model.name={name} cannot be compiled: {type(error).__name__}: {message}") from error
    try:
        # Without the device's name, it would draw a random number to find it.
        inspect = forward.experimental_get_compiler_ir(*columns)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "device_name is being deprecated", UserWarning)
            inspect(stage="hlo", device_name=columns[0].device)
    except Exception as error:
        # Other failures are of this inspection, not of the model.
        found = _UNSUPPORTED.search(str(error))
        if found:
            raise UserError(
                f"model.name={name} must use operations that XLA can compile, got {found[1]}"
            ) from error


def _reason(model: keras.Model, error: Exception) -> str:
    """What a failed call says, in one line."""
    message = " ".join(str(error).split())
    called = _CLASS.search(message)
    found = _OUT_OF_RANGE.search(message)
    if not found:
        return f"cannot be called on its lowest and highest indices: {type(error).__name__}: {message[:300]}"
    index, rows = int(found[1]), int(found[2])
    layers = [
        layer.name
        for layer in model._flatten_layers()
        if any(tuple(weight.shape)[:1] == (rows,) for weight in getattr(layer, "_trainable_variables", []))
        and (not called or type(layer).__name__ == called[1])
    ]
    table = f"layer {layers[0]}" if len(layers) == 1 else called[1] if called else "a lookup"
    return f"reads index {index} of {table}, which has {rows} rows"
