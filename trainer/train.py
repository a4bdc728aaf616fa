"""Training a run from ratings to a checkpointed model."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from data_pipeline.dataset.dataset import PreparedDataset, open_dataset
from data_pipeline.errors import UserError
from data_pipeline.sources.in_memory import Ratings
from data_pipeline.sources.source import RatingsSource
from trainer.config import RECIPES, Config, ConfigFile, make_config, read_config
from trainer.config.own_model import import_model, named_model
from trainer.config.parse import setting_texts
from trainer.evaluation.validation import Monitor
from trainer.models import ModelFunction, name_of
from trainer.run.build import make_engine
from trainer.run.data import default_workdir, find_source, open_or_prepare, with_split_of
from trainer.run.devices import Devices, set_up_devices, worker_from_environment
from trainer.run.heartbeat import watch_peers
from trainer.run.loop import run_loop
from trainer.run.plan import batch_order, choose_block_steps, last_step, memory_line, plan_lines
from trainer.run.progress import TrainProgress
from trainer.run.signals import stop_on_signal
from trainer.run.trained_run import Run
from trainer.workdir.checkpoint import Checkpoints
from trainer.workdir.lock import locked
from trainer.workdir.scalars import ScalarLog
from trainer.workdir.workdir import Workdir

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrainResult:
    """What a call of `train` reached.

    Attributes:
        run: the trained model with its data, for `evaluate`, `predict` and `recommend`.
        step: trained steps since the run began.
        replicas, workers: over how many devices and processes.
        train_loss: mean of the objective over the last epoch.
        test: on the test split, `rmse` and `mae` of predictions clipped to the rating scale, or `ndcg@10` and
            `recall@10` for a ranking objective; empty if stopped by a signal.
        examples_per_sec: of this call's training; None if it was too short to be timed.
        stopped_by: the signal that ended the call before its last epoch, or None.
    """

    run: Run
    step: int
    replicas: int
    workers: int
    precision: str
    train_loss: float
    test: dict[str, float]
    examples_per_sec: float | None
    stopped_by: int | None

    @property
    def workdir(self) -> Path:
        return self.run.workdir

    @property
    def test_rmse(self) -> float | None:
        return self.test.get("rmse")

    @property
    def test_mae(self) -> float | None:
        return self.test.get("mae")


def train(
    data: str | Path | Ratings | RatingsSource | PreparedDataset | pd.DataFrame | None = None,
    *,
    recipe: str | None = None,
    config: str | Path | Mapping[str, object] | ConfigFile | None = None,
    settings: Mapping[str, object] | Iterable[str] = (),
    workdir: str | Path | None = None,
    model: ModelFunction | str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    quiet: bool = False,
) -> TrainResult:
    """Trains a recipe on ratings; in a workdir that a run was begun in, continues it.

    Args:
        data: a ratings file or folder, a prepared dataset, a DataFrame with columns user_id, item_id, rating
            (and timestamp, weight), or `generated`. None: that of the run in `workdir`, else MovieLens-100K
            if it can be had, else generated ratings.
        recipe: named settings to start from; None takes the configuration's, or `article`.
        config: a YAML or JSON file, or a mapping, with values on top of the recipe.
        settings: on top of that: {"train.epochs": 3} or ["train.epochs=3"].
        workdir: by default `runs/<data>-<recipe>`.
        model: one of your own, a function or its `module:function`, see `trainer.models`. It is given again
            to continue the run and to `load_run`: the stored name is never imported.
        callbacks: Keras callbacks; they see `loss` and, with validation rows, `val_loss`, `val_rmse` and
            `val_mae`, or `val_ndcg@10` and `val_recall@10`. As in Keras, what a callback remembers does not
            survive the process.
        quiet: says nothing on stderr.

    Raises:
        UserError: a mistake in the arguments or the data; nothing was written but perhaps the prepared data.
        FloatingPointError: the loss became infinite or NaN.
        SaveError: a checkpoint could not be written.
    """
    say = _silent if quiet else _say
    worker, num_workers = worker_from_environment()
    settings = setting_texts(settings)
    if model is not None:
        settings.append(f"model.name={model if isinstance(model, str) else name_of(model)}")
    file = read_config(config)
    run_config = make_config(recipe, RECIPES, settings, file)
    model = named_model(run_config.model.name, model, settings, file)
    if data is None and workdir is not None and Workdir(Path(workdir)).is_started():
        began, dataset = Workdir(Path(workdir)).read()
        source: Path | RatingsSource = dataset.path
        described = f"that of the run in {workdir}"
        if not any(key.startswith("data.") for key in (*settings, *file.values)):
            run_config = dataclasses.replace(run_config, data=began.data)
    else:
        source, described = find_source(data, run_config.data, num_workers)
        if isinstance(source, Path):
            run_config = with_split_of(open_dataset(source), run_config, settings, file)
    folder = Workdir(Path(workdir) if workdir else default_workdir(source, run_config))
    folder.require_usable()
    if worker == 0:
        say(f"data      {described}")
    devices = set_up_devices(run_config.train)
    own_model = None if model is None else import_model(model)
    # Of a job's workers the chief alone writes, and holds the lock for all.
    with locked(folder.path, say) if devices.is_chief else contextlib.nullcontext():
        return _train(
            source, run_config, folder, devices, own_model=own_model, callbacks=callbacks, quiet=quiet
        )


def _train(
    source: Path | RatingsSource,
    config: Config,
    folder: Workdir,
    devices: Devices,
    *,
    own_model: ModelFunction | None,
    callbacks: Sequence[keras.callbacks.Callback],
    quiet: bool,
) -> TrainResult:
    say = _silent if quiet else _say
    peers = watch_peers(folder.path, worker=devices.worker)
    was_started = folder.is_started()
    dataset = open_or_prepare(source, config, folder, devices, quiet=quiet)
    order = batch_order(config.train, dataset)
    block_steps = choose_block_steps(order, config.train)
    if devices.is_chief:
        for line in plan_lines(config, dataset, devices, order, block_steps, folder):
            say(line)

    try:
        engine = make_engine(config, dataset, devices, own_model, block_steps)
    except UserError:
        if devices.is_chief and not was_started:
            folder.withdraw()
        raise
    model = engine.model
    if devices.is_chief:
        say(memory_line(model, engine.optimizer, config))
    with devices.strategy.scope():
        checkpoints = Checkpoints(folder, engine, devices, keep=config.train.keep_checkpoints)
    position = checkpoints.restore(say if devices.is_chief else _silent)
    first_step = position.step
    end = last_step(config.train, order)
    if first_step > end:
        raise UserError(
            f"train.epochs ({config.train.epochs}: {end} steps with train.max_steps="
            f"{config.train.max_steps}) must not be less than what {folder.path} is trained already: "
            f"{first_step} steps"
        )
    if devices.is_chief:
        folder.start(config, dataset, precision=devices.precision)
        folder.write_environment(
            tensorflow=tf.__version__,
            devices=devices.description,
            replicas=devices.num_replicas,
            workers=devices.num_workers,
        )
    if first_step and devices.is_chief:
        left = "" if first_step < end else ": nothing left to train"
        say(f"resumed   at step {first_step} of {end}{left}")

    monitor = Monitor(config, dataset, model)
    curves = ScalarLog(folder, first_step=first_step) if devices.is_chief else None
    if curves and not first_step:
        curves.add_config(config)
    progress = TrainProgress(
        first_step=first_step,
        last_step=end,
        epochs=config.train.epochs,
        steps_per_epoch=order.steps_per_epoch,
        quiet=quiet or not devices.is_chief,
    )
    with peers, stop_on_signal() as stop_request:
        try:
            result = run_loop(
                engine,
                columns=dataset.columns("train"),
                order=order,
                block_steps=block_steps,
                config=config.train,
                last_step=end,
                devices=devices,
                checkpoints=checkpoints,
                position=position,
                curves=curves,
                progress=progress,
                callbacks=callbacks,
                evaluate=monitor.validation,
                stop_request=stop_request,
            )
            test = {} if result.was_stopped else monitor.test()
            if curves and test and result.step > first_step:
                curves.add(result.step, {f"test/{name}": value for name, value in test.items()})
        finally:
            progress.close()
            checkpoints.close()
            if curves:
                curves.close()
    return TrainResult(
        run=Run(workdir=folder.path, config=config, dataset=dataset, model=model, step=result.step),
        step=result.step,
        replicas=devices.num_replicas,
        workers=devices.num_workers,
        precision=devices.precision,
        train_loss=result.train_loss,
        test=test,
        examples_per_sec=result.examples_per_sec,
        # Another worker may have been the one that was asked.
        stopped_by=(stop_request.signum or signal.SIGTERM) if result.was_stopped else None,
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(_line: str) -> None:
    pass
