"""Calls leave their caller's process as it was, and do not depend on what it has set."""

import json
import locale
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from absl import logging as absl_logging
from keras.src.backend.common import global_state

import reeltrain

NOTEBOOK = Path(__file__).parents[1] / "support" / "notebook.py"
SETTINGS = {"train.epochs": 1, "train.global_batch_size": 64, "model.embedding_dim": 4}


@pytest.fixture(scope="module")
def ratings():
    rng = np.random.default_rng(0)
    columns = {"user_id": rng.integers(0, 60, 1200), "item_id": rng.integers(0, 40, 1200)}
    return pd.DataFrame({**columns, "rating": rng.integers(1, 6, 1200)})


@pytest.fixture(scope="module")
def run(ratings, tmp_path_factory):
    return trained(ratings, tmp_path_factory.mktemp("run") / "run").run


def trained(ratings, workdir, **how):
    settings = {**SETTINGS, **how.pop("settings", {})}
    return reeltrain.train(ratings, settings=settings, workdir=workdir, quiet=True, **how)


def handlers():
    loggers = [logging.getLogger(name) for name in (None, "absl", "tensorflow", "reeltrain")]
    return [
        (each.level, each.disabled, each.propagate, list(each.handlers), each.filters) for each in loggers
    ]


def state_of_process():
    """All that a call could change for its caller."""
    umask = os.umask(0)
    os.umask(umask)
    config = tf.config
    tf.random.get_global_generator()
    return {
        "random": random.getstate(),
        "numpy": [str(each) for each in np.random.get_state(legacy=True)],
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": keras.config.dtype_policy().name,
        "intra_op": config.threading.get_intra_op_parallelism_threads(),
        "inter_op": config.threading.get_inter_op_parallelism_threads(),
        "soft_placement": config.get_soft_device_placement(),
        "tf32": config.experimental.tensor_float_32_execution_enabled(),
        "eagerly": config.functions_run_eagerly(),
        "jit": config.optimizer.get_jit(),
        "options": config.optimizer.get_experimental_options(),
        "strategy": tf.distribute.has_strategy(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": umask,
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "loggers": handlers(),
        "absl": absl_logging.get_verbosity(),
        "filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "excepthooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "tracing": (sys.gettrace(), threading.gettrace(), sys.getswitchinterval(), sys.getrecursionlimit()),
        "limits": [resource.getrlimit(each) for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)],
        "locale": locale.setlocale(locale.LC_ALL),
        "errors": np.geterr(),
        "print": np.get_printoptions(),
        "pandas": pd.describe_option("display.max_rows", _print_desc=False),
        "sklearn": sys.modules.get("sklearn", "absent"),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "auto_names": dict(global_state.get_global_attribute("object_name_uids") or {}),
    }


def drawn():
    """Random numbers that a caller draws next, from every generator of the process."""
    return [
        *(random.random(), np.random.random()),
        *(float(tf.random.uniform([])), float(keras.random.uniform([]))),
        float(keras.initializers.RandomUniform()(())),
        float(tf.random.get_global_generator().uniform([])),
    ]


class Fails(keras.callbacks.Callback):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
        raise self.error


def failing(error):
    def call(ratings, folder, _run):
        with pytest.raises(type(error)):
            trained(ratings, folder / "run", callbacks=Fails(error))

    return call


def refused(ratings, folder, _run):
    with pytest.raises(reeltrain.UserError):
        trained(ratings, folder / "run", settings={"model.features": "no-such"})


CALLS = {
    "train": lambda ratings, folder, _: trained(ratings, folder / "run"),
    "train in float64": lambda ratings, folder, _: trained(
        ratings, folder / "run", settings={"train.precision": "float64"}
    ),
    "a mistake": refused,
    "an error": failing(RuntimeError("of a callback")),
    "an interrupt": failing(KeyboardInterrupt()),
    "prepare": lambda ratings, folder, _: reeltrain.prepare(ratings, folder / "dataset"),
    "load_run": lambda _ratings, _folder, run: reeltrain.load_run(run.workdir),
    "predict": lambda ratings, _, run: reeltrain.predict(run.workdir, ratings.head()),
    "recommend": lambda _ratings, _folder, run: reeltrain.recommend(run.workdir, user_id=3),
    "evaluate": lambda _ratings, _folder, run: reeltrain.evaluate(run, ks=[5], num_negatives=0),
}


def test_the_first_use_of_a_name_leaves_the_callers_random_numbers(run_python):
    printed = run_python(
        "import random, numpy as np, reeltrain\n"
        "before = random.getstate(), np.random.get_state()[1].tobytes()\n"
        "reeltrain.train\n"  # imports TensorFlow, which draws
        "print(before == (random.getstate(), np.random.get_state()[1].tobytes()))"
    )
    assert printed.strip() == "True"


@pytest.mark.parametrize("name", CALLS)
def test_the_process_is_as_before_when_a_call_returns(name, ratings, run, tmp_path):
    policy, epsilon = keras.config.dtype_policy(), keras.config.epsilon()
    tf.random.get_global_generator().reset_from_seed(5)
    keras.utils.set_random_seed(5)
    drawn()  # so that every generator exists and has been used
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        keras.config.set_epsilon(1e-5)
        before = state_of_process()
        CALLS[name](ratings, tmp_path, run)
        assert state_of_process() == before
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_epsilon(epsilon)
    after = drawn()
    tf.random.get_global_generator().reset_from_seed(5)
    keras.utils.set_random_seed(5)
    drawn()
    assert drawn() == after


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (lambda: keras.config.set_floatx("float16"), lambda: keras.config.set_floatx("float32")),
        (lambda: keras.config.set_dtype_policy("float64"), lambda: keras.config.set_dtype_policy("float32")),
        (lambda: tf.config.run_functions_eagerly(True), lambda: tf.config.run_functions_eagerly(False)),
        (lambda: keras.config.set_epsilon(0.1), lambda: keras.config.set_epsilon(1e-7)),
        (
            lambda: np.seterr(all="raise"),
            lambda: np.seterr(divide="warn", over="warn", under="ignore", invalid="warn"),
        ),
        (lambda: keras.utils.set_random_seed(99), lambda: None),
    ],
    ids=["floatx", "policy", "eagerly", "epsilon", "numpy errors", "seed"],
)
def test_a_result_does_not_depend_on_what_the_caller_has_set(change, undo, ratings, run, tmp_path):
    expected = reeltrain.recommend(run, user_id=3).items
    change()
    try:
        again = trained(ratings, tmp_path / "run").run
        items = reeltrain.recommend(reeltrain.load_run(again.workdir), user_id=3).items
    finally:
        undo()
    pd.testing.assert_frame_equal(items, expected, check_exact=True)
    for ours, other in zip(again.model.get_weights(), run.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, other)


def test_a_graph_is_refused_in_one_line(ratings, tmp_path):
    with tf.Graph().as_default(), pytest.raises(reeltrain.UserError, match="executes eagerly, got a graph"):
        trained(ratings, tmp_path / "run")


def test_an_interrupted_run_goes_on(ratings, run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(ratings, tmp_path / "run", callbacks=Fails(KeyboardInterrupt()))
    again = trained(ratings, tmp_path / "run")
    for ours, other in zip(again.run.model.get_weights(), run.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, other)


def test_threads_train_at_the_same_time_and_get_what_one_gets(ratings, run, tmp_path):
    found = {}

    def train(name):
        found[name] = trained(ratings, tmp_path / name).run.model.get_weights()

    before = state_of_process()
    threads = [threading.Thread(target=train, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert state_of_process() == before
    for name in "ab":
        for ours, other in zip(found[name], run.model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, other)


def test_threads_cannot_train_in_different_float_types(ratings, tmp_path):
    class Meanwhile(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
            thread = threading.Thread(target=self.other)
            thread.start()
            thread.join(timeout=60)

        def other(self):
            with pytest.raises(
                reeltrain.UserError, match=r"a call in float64 must wait .* got one in float32"
            ):
                trained(ratings, tmp_path / "b", settings={"train.precision": "float64"})
            self.was_refused = True

    meanwhile = Meanwhile()
    trained(ratings, tmp_path / "a", callbacks=meanwhile)
    assert meanwhile.was_refused


def test_more_replicas_after_tensorflow_was_used_are_refused_with_a_way_out(ratings, tmp_path):
    tf.zeros([])
    if len(tf.config.list_logical_devices("CPU")) > 1:
        pytest.skip("another test of this process has made logical CPUs")
    with pytest.raises(reeltrain.UserError, match="got 1: train first in a new process, or run `reeltrain"):
        trained(ratings, tmp_path / "run", settings={"train.replicas": 2})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.system
def test_many_calls_in_one_process_leave_nothing_behind(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(NOTEBOOK), str(tmp_path / "runs"), "20"],
        env={**os.environ, "TMPDIR": str(temporary), "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    held = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(held) == 20
    after_first, last = held[4], held[-1]
    for name in (
        "threads",
        "python_threads",
        "files",
        "temporary",
        "children",
        "functions",
        "models",
        "filters",
    ):
        assert last[name] <= after_first[name], (name, after_first[name], last[name])
    assert last["warnings"] == 0
    assert last["objects"] - after_first["objects"] < 15 * 100
    # TensorFlow keeps every program that XLA has compiled until the process ends (docs/guides/training.md).
    assert last["rss_kib"] - after_first["rss_kib"] < 15 * 25 * 1024
