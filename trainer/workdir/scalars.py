"""The curves of a run: TensorBoard event files and `metrics.jsonl`, without duplicates after a resume."""

from __future__ import annotations

import json
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from data_pipeline.files import replace_text
from trainer.config import Config
from trainer.workdir.checkpoint import Position
from trainer.workdir.workdir import Workdir

FLUSH_SECS = 5


class ScalarLog:
    """Writes scalars of a run to its workdir.

    Args:
        first_step: steps already trained. Later points, of a run that was killed after its last checkpoint,
            are dropped: those steps are trained again.
    """

    def __init__(self, workdir: Workdir, *, first_step: int) -> None:
        self._writer = EventFileWriter(str(workdir.tensorboard), flush_secs=FLUSH_SECS)
        # At a session start TensorBoard drops the points of this and later steps.
        self._add(first_step + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
        _drop_lines_after(workdir, first_step)
        self._metrics = workdir.metrics.open("a", encoding="utf-8")

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Adds one point to each named curve; `step` counts trained steps."""
        values = [summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._add(step, summary=summary_pb2.Summary(value=values))
        self._metrics.write(json.dumps({"step": step, **scalars}) + "\n")

    def add_config(self, config: Config) -> None:
        """Writes the configuration as a table for TensorBoard's text tab."""
        lines = ["| setting | value |", "|---|---|"]
        lines += [f"| {key} | {value} |" for key, value in config.flat().items()]
        content = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING,
            string_val=["\n".join(lines).encode()],
            tensor_shape=tensor_shape_pb2.TensorShapeProto(),
        )
        value = summary_pb2.Summary.Value(
            tag="config",
            tensor=content,
            metadata=text_metadata.create_summary_metadata(display_name="config", description=""),
        )
        self._add(0, summary=summary_pb2.Summary(value=[value]))

    def flush(self) -> None:
        """Makes all points visible to other processes."""
        self._writer.flush()
        self._metrics.flush()

    def close(self) -> None:
        self._writer.close()
        self._metrics.close()

    def _add(self, step: int, **content: Any) -> None:
        self._writer.add_event(event_pb2.Event(step=step, wall_time=time.time(), **content))


def _drop_lines_after(workdir: Workdir, last_step: int) -> None:
    if not workdir.metrics.is_file():
        return
    kept = []
    for line in workdir.metrics.read_text(encoding="utf-8").splitlines(keepends=True):
        # A killed writer may leave an incomplete last line.
        if line.endswith("\n") and json.loads(line)["step"] <= last_step:
            kept.append(line)
    replace_text(workdir.metrics, "".join(kept))


class LossCurve:
    """One point for every `log_every_steps` steps of an epoch, and one for the rest at its end."""

    def __init__(self, curves: ScalarLog, log_every_steps: int, steps_per_epoch: int) -> None:
        self._curves = curves
        self._log_every_steps = log_every_steps
        self._steps_per_epoch = steps_per_epoch

    def add(self, position: Position, losses: np.ndarray, *, epoch_step: int) -> None:
        """Adds the losses of a block that ends at `position`, at step `epoch_step` of the epoch.

        Losses not yet part of a point wait in the position, so that an interruption changes no point.
        """
        waiting = list(position.waiting_losses)
        for to_go in range(len(losses) - 1, -1, -1):
            waiting.append(float(losses[len(losses) - 1 - to_go]))
            at = epoch_step - to_go
            if at % self._log_every_steps == 0 or at == self._steps_per_epoch:
                self._curves.add(position.step - to_go, {"train/loss": float(np.mean(waiting))})
                waiting.clear()
        position.waiting_losses = tuple(waiting)


# What `log_epoch` writes besides the logs of an epoch.
EPOCH_TAGS = {"train/loss", "train/epoch_loss", "train/learning_rate"}


def tag_of(name: str) -> str:
    """The curve of a metric that callbacks see.

    >>> tag_of("val_rmse"), tag_of("coverage")
    ('validation/rmse', 'train/coverage')
    """
    return f"validation/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}"


def log_own(curves: ScalarLog, step: int, metrics: dict[str, float]) -> None:
    """Adds the metrics that callbacks gave for an epoch."""
    if metrics:
        curves.add(step, {tag_of(name): value for name, value in metrics.items()})


def log_epoch(
    curves: ScalarLog,
    step: int,
    logs: dict[str, float],
    optimizer: keras.optimizers.Optimizer,
    examples_per_sec: float | None,
) -> None:
    scalars = {tag_of(name): value for name, value in logs.items() if name != "loss"}
    scalars["train/epoch_loss"] = logs["loss"]
    scalars["train/learning_rate"] = float(tf.convert_to_tensor(optimizer.learning_rate).numpy())
    if examples_per_sec is not None:
        scalars["speed/examples_per_sec"] = examples_per_sec
    curves.add(step, scalars)
    curves.flush()
