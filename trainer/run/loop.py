"""The training loop: block -> log -> evaluate -> checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_pipeline import advice
from data_pipeline.batches.windows import StepBlock
from trainer.run.session import Session
from trainer.workdir.checkpoint import Position
from trainer.workdir.scalars import log_epoch, log_own

# Which metric decides the best epoch, the first that there is: the lowest loss or the highest NDCG.
MONITORED = {"val_loss": 1, "val_ndcg@10": -1}


@dataclass(frozen=True)
class LoopResult:
    """Where the loop stopped.

    Attributes:
        step: trained steps since the run began.
        train_loss: mean loss of the last epoch, as far as it was trained.
        examples_per_sec: of this call's training, without compiling and evaluating; None if it was too short.
        was_stopped: whether a signal to any worker ended the call before the last step.
    """

    step: int
    train_loss: float
    examples_per_sec: float | None
    was_stopped: bool


def run_loop(session: Session) -> LoopResult:
    """Trains from the session's position to its last step, or until asked to stop.

    Raises:
        FloatingPointError: the loss is not finite; names step and batch.
        SaveError: a checkpoint could not be written.
    """
    steps, position = session.steps, session.position
    blocks = steps.blocks(first_step=session.first_step)
    data = session.superbatches(blocks)
    stop = False
    session.keras_callbacks.on_train_begin()
    for block in blocks:
        losses, stop = _train_block(session, block, data)
        session.stop_request.at_once = None  # from here on there are steps to save
        epoch_loss = _log_block(session, block, losses)
        is_epoch_end = block.first_step + block.num_steps == steps.order.steps_per_epoch
        if is_epoch_end:
            _evaluate_epoch(session, block.epoch, epoch_loss)
        session.checkpoints.check()
        if stop or session.engine.model.stop_training or position.step == steps.last_step:
            break
        if is_epoch_end or session.save_due.now(position.step, next_steps=steps.block_steps):
            session.save()
        session.speed.restart()  # the time of evaluating and saving does not count
    # Save last: a callback may put back the best weights when training ends.
    session.keras_callbacks.on_train_end()
    if blocks:
        session.save()
        session.checkpoints.wait()
        session.stop_request.at_once = f"step {position.step} is saved"
    return LoopResult(
        step=position.step,
        train_loss=position.epoch_loss_sum / ((position.step - 1) % steps.order.steps_per_epoch + 1),
        examples_per_sec=session.speed.examples_per_sec,
        was_stopped=stop and position.step < steps.last_step,
    )


def _train_block(session: Session, block: StepBlock, data: Iterator) -> tuple[np.ndarray, bool]:
    """Trains a block; returns its losses, float64 [steps], and whether any worker was asked to stop."""
    position = session.position
    if block.first_step == 0:
        position.epoch_loss_sum = 0.0
    if block.first_step == 0 or position.step == session.first_step:
        session.keras_callbacks.on_epoch_begin(block.epoch)
    session.keras_callbacks.on_train_batch_begin(block.first_step)
    losses, stop = session.engine.train_block(
        next(data),
        block.num_steps,
        first_step=position.step,
        stop=session.stop_request.signum is not None,
    )
    losses = losses.numpy()[: block.num_steps].astype(np.float64)
    session.speed.count(block)
    _require_finite(losses, block, session)
    position.step += block.num_steps
    position.epoch_loss_sum += float(losses.sum())
    return losses, stop


def _log_block(session: Session, block: StepBlock, losses: np.ndarray) -> float:
    """Reports a block to callbacks, progress and loss curve; returns the mean loss of the epoch so far."""
    position = session.position
    epoch_step = block.first_step + block.num_steps
    epoch_loss = position.epoch_loss_sum / epoch_step
    session.keras_callbacks.on_train_batch_end(epoch_step - 1, {"loss": epoch_loss})
    session.progress.update(
        position.step, loss=float(losses.mean()), examples_per_sec=session.speed.examples_per_sec
    )
    if session.loss_curve:
        session.loss_curve.add(position, losses, epoch_step=epoch_step)
    return epoch_loss


def _evaluate_epoch(session: Session, epoch: int, epoch_loss: float) -> None:
    """Validates the model and reports the epoch; saves the checkpoint that callbacks may otherwise change."""
    position, examples_per_sec = session.position, session.speed.examples_per_sec
    logs = {"loss": epoch_loss, **session.validate()}
    session.progress.epoch_end(position.step, logs, examples_per_sec=examples_per_sec)
    if session.scalars:
        log_epoch(session.scalars, position.step, logs, session.engine.optimizer, examples_per_sec)
    is_best = _note_best(position, logs)
    if is_best and session.callbacks:
        session.checkpoints.save(position)
    session.keras_callbacks.on_epoch_end(epoch, logs)
    if session.scalars:
        log_own(session.scalars, position.step, session.own_metrics.added(logs))


def _require_finite(losses: np.ndarray, block: StepBlock, session: Session) -> None:
    if not np.isfinite(losses).all():
        at = int(np.flatnonzero(~np.isfinite(losses))[0])
        batch = block.first_step + at + 1
        order, rate = session.steps.order, session.config_rate
        lower = advice.setting("optimizer.learning_rate", float(f"{rate / 10:g}"))
        saved = session.save_due.saved_step
        where = f", in {advice.another_workdir()}: this one continues from step {saved}" if saved else ""
        raise FloatingPointError(
            f"the loss must be finite, got {losses[at]} at step "
            f"{block.epoch * order.steps_per_epoch + batch} (epoch {block.epoch + 1}, batch {batch} of "
            f"{order.steps_per_epoch}); "
            f"try a lower learning rate ({lower}){where}"
        )


def _note_best(position: Position, logs: dict[str, float]) -> bool:
    """Records the epoch's validation metric in the position; returns whether it is the best so far."""
    value = next((sign * logs[name] for name, sign in MONITORED.items() if name in logs), np.inf)
    is_best = value < position.best_value
    if is_best:
        position.best_value, position.best_step = value, position.step
    return is_best
