"""What callbacks add to the logs of an epoch is in the curves, and stops training."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import reeltrain
from data_pipeline.sources.generated import generate_ratings
from trainer.run.own_metrics import OwnMetrics

SETTINGS = {"train.global_batch_size": 64, "data.validation_fraction": 0.1}


@pytest.fixture(scope="module")
def frame():
    return generate_ratings(num_users=30, num_items=40, num_ratings=600, seed=1).table.to_pandas()


class Adds(keras.callbacks.Callback):
    """Adds what a function of the epoch gives."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self.function(epoch))


def train(frame, workdir, epochs, *callbacks):
    settings = {**SETTINGS, "train.epochs": epochs}
    return reeltrain.train(frame, settings=settings, workdir=workdir, callbacks=callbacks, quiet=True)


def lines_with(workdir, tag):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line[tag]) for line in lines if tag in line]


def added(logs, ours=None):
    metrics = OwnMetrics()
    metrics.on_epoch_end(0, logs)
    return metrics.added(ours or {})


def test_added_metrics_are_in_all_curves_and_continue_with_the_run(frame, tmp_path):
    def coverage(epoch):
        return {"coverage": np.float32(epoch + 0.5), "val_mine": tf.constant(epoch)}

    train(frame, tmp_path, 2, Adds(coverage))
    result = train(frame, tmp_path, 3, Adds(coverage))
    assert lines_with(tmp_path, "train/coverage") == [(7, 0.5), (14, 1.5), (21, 2.5)]
    assert lines_with(tmp_path, "validation/mine") == [(7, 0.0), (14, 1.0), (21, 2.0)]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(p.step, p.value) for p in events.Scalars("train/coverage")] == [(7, 0.5), (14, 1.5), (21, 2.5)]
    assert result.run.model.history.history["coverage"] == [2.5]


def test_early_stopping_sees_what_callbacks_before_it_added(frame, tmp_path):
    def worse(epoch):
        return {"mine": float(epoch)}

    stopping = keras.callbacks.EarlyStopping(monitor="mine", mode="min", patience=1)
    assert train(frame, tmp_path, 5, Adds(worse), stopping).step == 14


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "0.5", [0.5], np.zeros(1), None, 1j, tf.zeros([2]), {}, object()]
)
def test_what_is_not_one_finite_number_is_left_out_with_one_warning(value, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("reeltrain"), "propagate", True)
    metrics = OwnMetrics()
    for _ in range(2):
        metrics.on_epoch_end(0, {"mine": value, "other": True})
        assert metrics.added({}) == {"other": 1.0}
    (message,) = caplog.messages
    assert message.startswith(
        "a callback's metric 'mine' must be one finite number to be in the curves, got "
    )
    assert "\n" not in message


def test_names_of_our_metrics_stay_ours(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("reeltrain"), "propagate", True)
    ours = {"loss": 1.0, "val_loss": 2.0}
    assert added({**ours, "learning_rate": 0.1}, ours) == {}
    assert caplog.messages == []
    assert added({"loss": 9.0, "val_loss": 2.0, "epoch_loss": 3.0, 7: 1.0, "": 1.0, "mine": 4.0}, ours) == {
        "mine": 4.0
    }
    assert [message.split(" ")[3] for message in caplog.messages] == ["'loss'", "'epoch_loss'", "7", "''"]
