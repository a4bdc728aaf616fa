"""Checkpoints: model, optimizer and position, saved while training goes on, restored on any devices."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from data_pipeline import advice
from data_pipeline.errors import UserError
from data_pipeline.logs import log
from trainer.config import TrainConfig
from trainer.engine.engine import Engine
from trainer.workdir import checkpoint_files as files
from trainer.workdir.workdir import Workdir


@dataclass
class Position:
    """The progress of a run, apart from weights and optimizer.

    Attributes:
        step: trained steps since the run began.
        epoch_loss_sum: sum of the losses of the current epoch, so that its mean survives an interruption.
        waiting_losses: losses, [n], that are not yet in a point of the loss curve.
        best_value, best_step: the lowest validation loss so far, or minus the highest NDCG, and where it was.
    """

    step: int = 0
    epoch_loss_sum: float = 0.0
    waiting_losses: tuple[float, ...] = ()
    best_value: float = math.inf
    best_step: int = 0

    def tensors(self) -> dict[str, tf.Tensor]:
        """Each attribute as int64 or float64."""
        return {f.name: tf.constant(np.asarray(getattr(self, f.name), _DTYPES[f.name])) for f in fields(self)}


_DTYPES = {f.name: np.int64 if f.name.endswith("step") else np.float64 for f in fields(Position)}


class Checkpoints:
    """Saves and restores a run's state.

    A save copies the state and writes the copy in a thread, so that training goes on meanwhile. The next
    save waits for that write: there is never more than one copy.

    Args:
        keep: how many of the newest are kept. The best on validation is kept in `checkpoints/best`.
        writes: whether `save` writes. All workers have the same state, and only the chief writes it.
    """

    def __init__(self, workdir: Workdir, engine: Engine, *, keep: int, writes: bool) -> None:
        self._folder = workdir.checkpoints
        self._variables = _state_of(engine)
        self._keep = keep
        self._writes = writes
        self._restored_step = 0
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def restore(self) -> Position:
        """Restores the newest undamaged checkpoint, if there is one.

        Raises:
            UserError: it is of another model, or all are damaged.
        """
        step, position = _restore_newest(self._folder, self._variables)
        if step is None:
            return Position()
        self._restored_step = step
        values = {name: value.tolist() for name, value in position.items()}
        return Position(**{**values, "waiting_losses": tuple(values["waiting_losses"])})

    def save(self, position: Position) -> None:
        """Copies the state and starts to write it; `wait` returns once it is written.

        Raises:
            SaveError: an earlier checkpoint could not be written.
        """
        if not self._writes:
            return
        self.wait()
        with tf.device("CPU:0"):
            # Not `read_value` alone: the next block may write into the buffer that it shares.
            copies = {name: tf.raw_ops.DeepCopy(x=v.read_value()) for name, v in self._variables.items()}
        copies |= position.tensors()
        self._pending = self._thread.submit(self._write, position.step, position.best_step, copies)

    def check(self) -> None:
        """Raises the error of a write that has failed in the meantime."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Returns when nothing is being written.

        Raises:
            SaveError: the checkpoint could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Ends the thread after its current write."""
        self._thread.shutdown()

    def _write(self, step: int, best_step: int, tensors: Mapping[str, tf.Tensor]) -> None:
        # Checkpoints newer than the restored one are damaged: every start would try them and skip them.
        steps = files.steps_in(self._folder)
        files.remove(self._folder, [other for other in steps if other > max(self._restored_step, 0)])
        self._restored_step = step
        files.write(self._folder, step, tensors)
        if best_step == step:
            files.link(self._folder, step, best_folder(self._folder))
        files.remove(self._folder, files.steps_in(self._folder)[: -self._keep])


def best_folder(checkpoints: Path) -> Path:
    """Where the checkpoint that is best on validation is."""
    return checkpoints / "best"


def restore_weights(model: keras.Model, folder: Path) -> int | None:
    """Restores only the model, for prediction; returns the step, or None if there is no checkpoint.

    Raises:
        UserError: the newest is of another model, or all are damaged.
    """
    return _restore_newest(folder, _named("model", model.variables))[0]


def _state_of(engine: Engine) -> dict[str, tf.Variable]:
    """Name in the checkpoint -> variable; names are the same in every process."""
    state = _named("model", engine.model.variables)
    # The first part of its variables' paths counts the optimizers made in this process.
    state |= {
        f"optimizer/{variable.path.partition('/')[2]}": variable.value
        for variable in engine.optimizer.variables
    }
    if engine.loss_scale is not None:
        state |= {f"loss_scale/{v.name.partition(':')[0]}": v for v in engine.loss_scale.variables}
    return state


def _named(part: str, variables: list[keras.Variable]) -> dict[str, tf.Variable]:
    named = {f"{part}/{variable.path}": variable.value for variable in variables}
    assert len(named) == len(variables), "two variables of one name"
    return named


def _restore_newest(
    folder: Path, variables: Mapping[str, tf.Variable]
) -> tuple[int | None, dict[str, np.ndarray]]:
    """Restores the newest undamaged checkpoint; returns its step and its position, by name."""
    steps = files.steps_in(folder)
    damaged = ""
    for step in reversed(steps):
        prefix = files.prefix_of(folder, step)
        try:
            position = _restore(prefix, variables)
        except UserError:
            raise
        except files.DAMAGE:
            damaged = damaged or str(prefix)
            continue
        if damaged:
            log.warning(f"checkpoint {damaged} is damaged: restored the one of step {step} instead")
        return step, position
    if damaged:
        raise UserError(f"{folder}: needs an undamaged checkpoint, got {len(steps)}, all damaged")
    return None, {}


def _restore(prefix: Path, variables: Mapping[str, tf.Variable]) -> dict[str, np.ndarray]:
    """Assigns variables one by one, since tables may be large; after damage an earlier checkpoint must
    overwrite all of them."""
    reader = files.read(prefix)
    there = reader.get_variable_to_shape_map()
    _require_same_variables(prefix, there, variables)
    position = {name: reader.get_tensor(name) for name in _DTYPES if name in there}
    for name, variable in variables.items():
        variable.assign(reader.get_tensor(name))
    return position


def _require_same_variables(
    prefix: Path, there: Mapping[str, Any], variables: Mapping[str, tf.Variable]
) -> None:
    parts = {name.partition("/")[0] for name in variables}
    here = {name: list(variable.shape) for name, variable in variables.items()}
    there = {name: list(shape) for name, shape in there.items() if name.partition("/")[0] in parts}
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            shapes = (
                f"shape {shape}" if shape is not None else "none"
                for shape in (there.get(name), here.get(name))
            )
            raise UserError(
                f"{prefix}: is the checkpoint of another model: {name} has {' there and '.join(shapes)} here"
                f"; give {advice.another_workdir()}"
            )


class SaveDue:
    """Whether a checkpoint is due within an epoch, by number of steps or by time."""

    def __init__(self, config: TrainConfig, *, saved_step: int) -> None:
        self._every_steps = config.checkpoint_every_steps or np.inf
        self._every_secs = 60 * config.checkpoint_every_minutes or np.inf
        self.saved(saved_step)

    def saved(self, step: int) -> None:
        self.saved_step = step
        self._at = time.monotonic()

    def now(self, step: int, *, next_steps: int) -> bool:
        """Whether to save before the next block: a kill within it must not lose more steps than allowed."""
        too_many = step + next_steps - self.saved_step > self._every_steps
        return too_many or time.monotonic() - self._at > self._every_secs
