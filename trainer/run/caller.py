"""The caller's process: its random numbers and its Keras are after a call what they were before."""

from __future__ import annotations

import collections
import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.python.eager import context as tf_context

from data_pipeline.errors import UserError

# Of each thread, in Keras. The last two are where `keras.utils.set_random_seed` leaves its traces.
_NAMES, _POLICY = "object_name_uids", "dtype_policy"
_SEEDS = ("global_random_seed", "global_seed_generator")

_building = threading.RLock()
_lock = threading.Lock()
# (thread, floatx) of each call that is running; Keras has one floatx for all threads.
_running: list[tuple[int, str]] = []
_found: dict[str, Any] = {}  # by the first of the calls that are running


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds `random`, NumPy, TensorFlow and Keras; leaves their random numbers as they were.

    One thread at a time: the generators belong to the process. Counters of TensorFlow operations with a seed
    of their own begin again, as after `tf.random.set_seed`.
    """
    with _building:
        eager = tf_context.context()
        python, numpy = random.getstate(), np.random.get_state()
        tensorflow = {name: vars(eager)[name] for name in ("_seed", "_rng") if name in vars(eager)}
        ours = {name: global_state.get_global_attribute(name) for name in _SEEDS}
        try:
            keras.utils.set_random_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            vars(eager).pop("_rng", None)
            vars(eager).update(tensorflow)
            for name, value in ours.items():
                global_state.set_global_attribute(name, value)


@contextlib.contextmanager
def keras_in(precision: str) -> Iterator[None]:
    """Gives Keras and NumPy the settings that a run in this precision has; leaves them as they were.

    The result of a run does not depend on what the caller has set: float type, dtype policy, fuzz factor,
    image format, eager functions, just-in-time compilation, error state, names of layers.

    Raises:
        UserError: another thread needs another float type, or TensorFlow does not execute eagerly.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"Keras must have the backend tensorflow, got {keras.backend.backend()}")
    if not tf.executing_eagerly():
        raise UserError("reeltrain must be called where TensorFlow executes eagerly, got a graph")
    call = (threading.get_ident(), "float64" if precision == "float64" else "float32")
    with _lock:
        for thread, floatx in _running:
            if thread != call[0] and floatx != call[1]:
                raise UserError(
                    f"a call in {precision} must wait for the call of another thread, got one in {floatx}"
                )
        before = _settings()
        if not _running:
            _found.update(before)
        outer = not any(thread == call[0] for thread, _ in _running)
        _running.append(call)
        _set({**_DEFAULTS, "floatx": call[1]})
    mine = {name: global_state.get_global_attribute(name) for name in (_NAMES, _POLICY)}
    try:
        global_state.set_global_attribute(_NAMES, collections.defaultdict(int))
        keras.config.set_dtype_policy(precision)
        with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
            yield
    finally:
        for name, value in mine.items():
            global_state.set_global_attribute(name, value)
        with _lock:
            _running.remove(call)
            if not outer:
                _set(before)
            elif not _running:  # the last call restores what the first one found
                _set(_found)
                _found.clear()


_DEFAULTS = {"epsilon": 1e-7, "image_data_format": "channels_last", "eagerly": False, "jit": ""}


def _settings() -> dict[str, Any]:
    return {
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "image_data_format": keras.config.image_data_format(),
        "eagerly": tf.config.functions_run_eagerly(),
        "jit": tf.config.optimizer.get_jit(),
    }


def _set(settings: dict[str, Any]) -> None:
    keras.config.set_floatx(settings["floatx"])
    keras.config.set_epsilon(settings["epsilon"])
    keras.config.set_image_data_format(settings["image_data_format"])
    tf.config.run_functions_eagerly(settings["eagerly"])
    # Setting it makes TensorFlow's kernels anew, so only where the caller has changed it.
    if tf.config.optimizer.get_jit() != settings["jit"]:
        tf.config.optimizer.set_jit(settings["jit"] or False)
