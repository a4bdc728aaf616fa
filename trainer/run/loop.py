"""The training loop: block -> log -> evaluate -> checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.superbatches import superbatches
from data_pipeline.batches.windows import StepBlock
from data_pipeline.dataset.columns import Columns
from trainer.config import TrainConfig
from trainer.engine.engine import Engine
from trainer.run.devices import Devices
from trainer.run.progress import Speed, TrainProgress
from trainer.run.signals import StopRequest
from trainer.workdir.checkpoint import Checkpoints, Position, SaveDue
from trainer.workdir.scalars import LossCurve, ScalarLog, log_epoch

# What tells which epoch is best, the first that there is: the lowest loss or the highest NDCG.
MONITORED = {"val_loss": 1, "val_ndcg@10": -1}


@dataclass(frozen=True)
class LoopResult:
    """Where the loop stopped.

    Attributes:
        step: trained steps since the run began.
        train_loss: mean loss of the last epoch, as far as it was trained.
        examples_per_sec: of this call's training, without compiling and evaluating; None if it was too short.
        was_stopped: whether a signal, to whichever worker, ended the call before the last step.
    """

    step: int
    train_loss: float
    examples_per_sec: float | None
    was_stopped: bool


def run_loop(
    engine: Engine,
    *,
    columns: Columns,
    order: BatchOrder,
    block_steps: int,
    config: TrainConfig,
    last_step: int,
    devices: Devices,
    checkpoints: Checkpoints,
    position: Position,
    curves: ScalarLog | None,
    progress: TrainProgress,
    callbacks: Sequence[keras.callbacks.Callback],
    evaluate: Callable[[], dict[str, float]],
    stop_request: StopRequest,
) -> LoopResult:
    """Trains from `position` to `last_step`, or until asked to stop.

    Args:
        last_step: of the run; it may be within an epoch.
        curves: None on workers that do not write.
        evaluate: called at each epoch's end; name -> value on the validation rows, named as Keras callbacks
            know them (`val_loss` …); empty without such rows.

    Raises:
        FloatingPointError: the loss is not finite; names step and batch.
        SaveError: a checkpoint could not be written.
    """
    model = engine.model
    first_step = position.step
    blocks = order.blocks(first_step=first_step, last_step=last_step, block_steps=block_steps)
    data = _distributed_superbatches(
        columns,
        order,
        blocks,
        block_steps,
        devices,
        with_batch_items=engine.objective.needs_batch_items,
    )
    keras_callbacks = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=config.epochs, steps=order.steps_per_epoch, verbose=0
    )
    speed = Speed(order)
    due = SaveDue(config, saved_step=first_step)
    loss_curve = LossCurve(curves, config.log_every_steps, order.steps_per_epoch) if curves else None
    stop = False

    keras_callbacks.on_train_begin()
    for block in blocks:
        if block.first_step == 0:
            position.epoch_loss_sum = 0.0
        if block.first_step == 0 or position.step == first_step:
            keras_callbacks.on_epoch_begin(block.epoch)
        keras_callbacks.on_train_batch_begin(block.first_step)

        losses, stop = engine.train_block(
            next(data), block.num_steps, first_step=position.step, stop=stop_request.signum is not None
        )
        losses = losses.numpy()[: block.num_steps].astype(np.float64)
        speed.count(block)
        _require_finite(losses, block, order)

        step = position.step = position.step + block.num_steps
        epoch_step = block.first_step + block.num_steps
        position.epoch_loss_sum += float(losses.sum())
        epoch_loss = position.epoch_loss_sum / epoch_step
        keras_callbacks.on_train_batch_end(epoch_step - 1, {"loss": epoch_loss})
        progress.update(step, loss=float(losses.mean()), examples_per_sec=speed.examples_per_sec)
        if loss_curve:
            loss_curve.add(position, losses, epoch_step=epoch_step)

        is_epoch_end = epoch_step == order.steps_per_epoch
        if is_epoch_end:
            logs = {"loss": epoch_loss, **evaluate()}
            progress.epoch_end(step, logs, examples_per_sec=speed.examples_per_sec)
            if curves:
                log_epoch(curves, step, logs, engine.optimizer, speed.examples_per_sec)
            is_best = _note_best(position, logs)
            if is_best and callbacks:  # before they can change the weights
                checkpoints.save(position)
            keras_callbacks.on_epoch_end(block.epoch, logs)
        checkpoints.check()
        if stop or model.stop_training or step == last_step:
            break
        if is_epoch_end or due.now(step, next_steps=block_steps):
            if curves:
                curves.flush()  # before the checkpoint after which these points are not made again
            checkpoints.save(position)
            due.saved(step)
        speed.restart()  # evaluating and saving are not training's time
    # The last save comes after the callbacks': one of them may put back the best weights.
    keras_callbacks.on_train_end()
    if curves:
        curves.flush()
    if blocks:
        checkpoints.save(position)
        checkpoints.wait()
    step = position.step
    steps_of_last_epoch = (step - 1) % order.steps_per_epoch + 1
    return LoopResult(
        step=step,
        train_loss=position.epoch_loss_sum / steps_of_last_epoch,
        examples_per_sec=speed.examples_per_sec,
        was_stopped=stop and step < last_step,
    )


def _distributed_superbatches(
    columns: Columns,
    order: BatchOrder,
    blocks: Sequence[StepBlock],
    block_steps: int,
    devices: Devices,
    *,
    with_batch_items: bool,
) -> Iterator:
    def local(_context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        return superbatches(
            columns,
            order,
            blocks,
            block_steps=block_steps,
            shards=devices.shards,
            num_shards=devices.num_replicas,
            with_batch_items=with_batch_items,
        )

    if devices.num_replicas == 1:
        return iter(local())
    if not devices.threads:
        return iter(devices.strategy.distribute_datasets_from_function(local))
    # CPUs need no copy of their own. Each of the distributed dataset's iterators, one a replica, has a tuning
    # thread, too, for which the options of ours do not count.
    elements = iter(local())
    return (
        devices.strategy.experimental_distribute_values_from_function(lambda _context: next(elements))
        for _ in blocks
    )


def _require_finite(losses: np.ndarray, block: StepBlock, order: BatchOrder) -> None:
    if not np.isfinite(losses).all():
        at = int(np.flatnonzero(~np.isfinite(losses))[0])
        batch = block.first_step + at + 1
        raise FloatingPointError(
            f"the loss must be finite, got {losses[at]} at step "
            f"{block.epoch * order.steps_per_epoch + batch} (epoch {block.epoch + 1}, batch {batch} of "
            f"{order.steps_per_epoch}); "
            "try a lower optimizer.learning_rate"
        )


def _note_best(position: Position, logs: dict[str, float]) -> bool:
    """Takes note of how good an epoch was on validation; returns whether it was the best so far."""
    value = next((sign * logs[name] for name, sign in MONITORED.items() if name in logs), np.inf)
    is_best = value < position.best_value
    if is_best:
        position.best_value, position.best_step = value, position.step
    return is_best
