"""A training session: all that the training loop works with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import keras
import tensorflow as tf

from data_pipeline.batches.superbatches import superbatches
from data_pipeline.batches.windows import StepBlock
from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.errors import UserError
from data_pipeline.logs import log
from trainer.config import Config, TrainConfig
from trainer.engine.engine import Engine
from trainer.run.devices import Devices
from trainer.run.own_metrics import OwnMetrics
from trainer.run.plan import StepPlan
from trainer.run.progress import Speed, TrainProgress
from trainer.run.signals import StopRequest
from trainer.workdir.checkpoint import Checkpoints, Position, SaveDue
from trainer.workdir.scalars import LossCurve, ScalarLog
from trainer.workdir.workdir import Workdir


@dataclass
class Session:
    """The state of a run while it trains.

    Attributes:
        config: the settings of training.
        config_rate: the learning rate that the run was configured with.
        steps: which rows each step takes, and where training ends.
        position: where training stands; it began at `first_step`.
        scalars: None on workers that do not write.
        callbacks: the user's; the loop calls them through `keras_callbacks`.
        validate: called at the end of each epoch; name -> value on the validation rows, named as Keras
            callbacks expect (`val_loss` ...); empty without such rows.
        stop_request: whether this worker was asked to stop.
        resources: released by `close`.
    """

    config: TrainConfig
    config_rate: float
    engine: Engine
    dataset: PreparedDataset
    steps: StepPlan
    devices: Devices
    checkpoints: Checkpoints
    position: Position
    scalars: ScalarLog | None
    progress: TrainProgress
    callbacks: Sequence[keras.callbacks.Callback]
    validate: Callable[[], dict[str, float]]
    stop_request: StopRequest = field(default_factory=StopRequest)
    resources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        order = self.steps.order
        self.first_step = self.position.step
        self.own_metrics = OwnMetrics()
        self.keras_callbacks = keras.callbacks.CallbackList(
            [*self.callbacks, self.own_metrics],
            add_history=True,  # `model.history`, as after Keras's `fit`
            model=self.engine.model,
            epochs=self.config.epochs,
            steps=order.steps_per_epoch,
            verbose=0,
        )
        self.speed = Speed(order)
        self.save_due = SaveDue(self.config, saved_step=self.first_step)
        self.loss_curve = (
            LossCurve(self.scalars, self.config.log_every_steps, order.steps_per_epoch)
            if self.scalars
            else None
        )

    def superbatches(self, blocks: Sequence[StepBlock]) -> Iterator:
        """The rows of each block, distributed over the replicas."""
        devices = self.devices
        columns = self.dataset.columns("train")

        def local(_context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
            return superbatches(
                columns,
                self.steps.order,
                blocks,
                block_steps=self.steps.block_steps,
                shards=devices.shards,
                num_shards=devices.num_replicas,
                with_batch_items=self.engine.objective.needs_batch_items,
                lifetime=self.resources,
            )

        if devices.num_replicas == 1:
            return iter(local())
        if not devices.threads:
            return iter(devices.strategy.distribute_datasets_from_function(local))
        # CPUs need no copy of their own. The distributed dataset has an iterator per replica, each with a
        # tuning thread that ignores the options set on ours.
        elements = iter(local())
        return (
            devices.strategy.experimental_distribute_values_from_function(lambda _context: next(elements))
            for _ in blocks
        )

    def save(self) -> None:
        """Saves a checkpoint."""
        if self.scalars:
            self.scalars.flush()  # a resumed run does not compute the points before its checkpoint again
        self.checkpoints.save(self.position)
        self.save_due.saved(self.position.step)

    def log_test(self, metrics: dict[str, float]) -> None:
        """Adds the test metrics to the curves, unless this call trained nothing."""
        if self.scalars and metrics and self.position.step > self.first_step:
            self.scalars.add(self.position.step, {f"test/{name}": value for name, value in metrics.items()})

    def close(self) -> None:
        """Ends the progress display, the checkpoint thread and the log files."""
        self.resources.close()
        self.progress.close()
        self.checkpoints.close()
        if self.scalars:
            self.scalars.close()


def open_session(
    config: Config,
    dataset: PreparedDataset,
    workdir: Workdir,
    devices: Devices,
    engine: Engine,
    steps: StepPlan,
    *,
    validate: Callable[[], dict[str, float]],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    is_new: bool,
    quiet: bool = False,
) -> Session:
    """Restores the newest checkpoint and opens the files of a run.

    Args:
        is_new: whether this call began the run. A continued run's configuration is written again, since some
            settings may have changed.

    Raises:
        UserError: the checkpoint is of another model, or the run is already trained beyond its last step.
    """
    with devices.strategy.scope():
        checkpoints = Checkpoints(
            workdir, engine, keep=config.train.keep_checkpoints, writes=devices.is_chief
        )
    position = checkpoints.restore()
    if position.step > steps.last_step:
        raise UserError(
            f"train.epochs ({config.train.epochs}: {steps.last_step} steps with train.max_steps="
            f"{config.train.max_steps}) must not be less than what {workdir.path} is trained already: "
            f"{position.step} steps"
        )
    if devices.is_chief:
        if not is_new:
            workdir.start(config, dataset, precision=devices.precision)
        workdir.write_environment(tensorflow=tf.__version__, **devices.facts())
    if position.step:
        is_complete = position.step == steps.last_step
        note = ": nothing left to train" if is_complete else ""
        log.info(f"resumed   at step {position.step} of {steps.last_step}{note}")
    scalars = ScalarLog(workdir, first_step=position.step) if devices.is_chief else None
    if scalars and not position.step:
        scalars.add_config(config)
    return Session(
        config=config.train,
        config_rate=config.optimizer.learning_rate,
        engine=engine,
        dataset=dataset,
        steps=steps,
        devices=devices,
        checkpoints=checkpoints,
        position=position,
        scalars=scalars,
        progress=TrainProgress(
            first_step=position.step,
            last_step=steps.last_step,
            epochs=config.train.epochs,
            steps_per_epoch=steps.order.steps_per_epoch,
            quiet=quiet or not devices.is_chief,
        ),
        callbacks=callbacks,
        validate=validate,
    )
