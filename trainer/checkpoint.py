"""Checkpoints: model, optimizer and position, restored exactly on any number of replicas."""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf

from trainer.devices import Devices
from trainer.engine import Engine
from trainer.workdir import Workdir

MAX_TO_KEEP = 3


class Checkpoints:
    """Saves and restores a run's state.

    Attributes of the state beside weights and optimizer:
        step: trained steps since the run began.
        epoch_loss_sum: sum of the losses of the epoch under way, so that its mean survives an interruption.

    Create it inside the strategy's scope.
    """

    def __init__(self, workdir: Workdir, engine: Engine, devices: Devices) -> None:
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.epoch_loss_sum = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="epoch_loss_sum")
        state = {
            "model": engine.model,
            "optimizer": engine.optimizer,
            "step": self.step,
            "epoch_loss_sum": self.epoch_loss_sum,
        }
        if engine.loss_scale is not None:
            state["loss_scale"] = engine.loss_scale
        self._checkpoint = tf.train.Checkpoint(**state)
        # All workers must take part in a save; what the others write beside the chief is thrown away.
        self._scratch = None if devices.is_chief else workdir.checkpoints / f".worker-{devices.worker}"
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self._scratch or workdir.checkpoints), max_to_keep=MAX_TO_KEEP
        )
        self._newest = tf.train.latest_checkpoint(str(workdir.checkpoints))

    def restore(self) -> int:
        """Restores the newest checkpoint, if there is one; returns the step reached."""
        if self._newest is not None:
            self._checkpoint.restore(self._newest).assert_consumed()
        return int(self.step.numpy())

    def save(self, *, step: int, epoch_loss_sum: float) -> None:
        """Writes a checkpoint; it replaces none before it is whole."""
        self.step.assign(step)
        self.epoch_loss_sum.assign(epoch_loss_sum)
        self._manager.save(checkpoint_number=step)
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def restore_weights(model: tf.Module, folder: Path) -> int | None:
    """Restores only the model, for prediction; returns the step, or None where there is no checkpoint."""
    newest = tf.train.latest_checkpoint(str(folder))
    if newest is None:
        return None
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    status = tf.train.Checkpoint(model=model, step=step).restore(newest)
    status.assert_existing_objects_matched().expect_partial()
    return int(step.numpy())
