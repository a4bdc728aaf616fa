"""Training a run from ratings to a checkpointed model."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import keras

from data_pipeline.config import DataSettings, setting_of_keywords
from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.files import path_of
from data_pipeline.logs import log, shown
from data_pipeline.sources.source import RatingsSource
from trainer.cluster.cluster import past_proxies, read_cluster
from trainer.cluster.heartbeat import watch_peers
from trainer.config import RECIPES, Config, ConfigFile, make_config, read_config
from trainer.config.own_model import import_model, named_model
from trainer.config.parse import setting_texts
from trainer.evaluation.validation import Monitor
from trainer.models import ModelFunction, name_of
from trainer.run.build import make_engine
from trainer.run.callbacks import require_callbacks
from trainer.run.caller import keras_in
from trainer.run.data import Data, default_workdir, find_source, open_or_prepare, with_split_of
from trainer.run.devices import Devices, set_up_devices
from trainer.run.loop import run_loop
from trainer.run.plan import memory_line, plan_lines, plan_steps
from trainer.run.session import open_session
from trainer.run.signals import StopRequest, stop_on_signal
from trainer.run.trained_run import Run
from trainer.workdir.lock import locked
from trainer.workdir.workdir import Workdir


@dataclass(frozen=True)
class TrainResult:
    """The result of a call of `train`.

    Attributes:
        run: the trained model with its data, for `evaluate`, `predict` and `recommend`.
        step: trained steps since the run began.
        replicas, workers: number of devices and of processes.
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
    data: Data = None,
    *,
    recipe: str | None = None,
    config: str | Path | Mapping[str, object] | ConfigFile | None = None,
    settings: Mapping[str, object] | Iterable[str] = (),
    workdir: str | Path | None = None,
    model: ModelFunction | str | None = None,
    callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback] = (),
    quiet: bool = False,
    **data_settings: Unpack[DataSettings],
) -> TrainResult:
    """Trains a recipe on ratings; continues the run in `workdir` if there is one.

    Args:
        data: a ratings file or folder, a prepared dataset, a DataFrame with columns user_id, item_id, rating
            (and timestamp, weight), or `generated`. None: the data of the run in `workdir`, otherwise
            MovieLens-100K if it can be downloaded, otherwise generated ratings.
        recipe: named settings to start from. None: that of `config`, otherwise `article`.
        config: a YAML or JSON file, or a mapping, with values on top of the recipe.
        settings: on top of that: {"train.epochs": 3} or ["train.epochs=3"].
        workdir: by default `runs/<data>-<recipe>`.
        model: your own, a function or its `module:function`, see `trainer.models`. Give it again to continue
            the run, and to `load_run`: the stored name is never imported.
        callbacks: a Keras callback or several; they get `loss` and, with validation rows, `val_loss`,
            `val_rmse` and `val_mae`, or `val_ndcg@10` and `val_recall@10`. As in Keras, their state is not
            saved.
        quiet: logs nothing and shows no progress.
        data_settings: how ratings are read and split, as of `reeltrain.prepare`: `columns=`, `split=` ...

    Raises:
        UserError: a mistake in the arguments or the data; at most the prepared data was written.
        FloatingPointError: the loss became infinite or NaN.
        SaveError: a checkpoint could not be written.
    """
    cluster = read_cluster()
    request = StopRequest()
    # Every worker says whom it waits for; of what follows, only the chief speaks.
    with shown(quiet=quiet), stop_on_signal(request), past_proxies(cluster):
        with shown(quiet=not cluster.is_chief):
            settings = setting_of_keywords(data_settings, setting_texts(settings))
            callbacks = require_callbacks(callbacks)
            workdir = None if workdir is None or workdir == "" else path_of(workdir, "workdir")
            if model is not None:
                settings.append(f"model.name={model if isinstance(model, str) else name_of(model)}")
            file = read_config(config)
            run_config = make_config(recipe, RECIPES, settings, file)
            model = named_model(run_config.model.name, model, settings, file)
            source, run_config, folder = _resolve(
                data, run_config, settings, file, workdir, cluster.num_workers
            )
        devices = set_up_devices(run_config.train, cluster)
        own_model = None if model is None else import_model(model)
        # Of a job's workers only the chief writes, and holds the lock for all.
        lock = locked(folder.path) if devices.is_chief else contextlib.nullcontext()
        with shown(quiet=not cluster.is_chief), keras_in(devices.precision), lock:
            return _train(
                source,
                run_config,
                folder,
                devices,
                request,
                own_model=own_model,
                callbacks=callbacks,
                quiet=quiet,
            )


def _resolve(
    data: Data,
    config: Config,
    settings: list[str],
    file: ConfigFile,
    workdir: Path | None,
    num_workers: int,
) -> tuple[PreparedDataset | RatingsSource, Config, Workdir]:
    """Where the ratings are, the configuration, and the folder of the run."""
    source: PreparedDataset | RatingsSource
    if data is None and workdir is not None and Workdir(workdir).is_started():
        begun, dataset = Workdir(workdir).read()
        source, described = dataset, f"the data of the run in {workdir}"
        if not any(key.startswith("data.") for key in (*settings, *file.values)):
            config = dataclasses.replace(config, data=begun.data)
    else:
        source, described = find_source(data, config.data, num_workers)
        if isinstance(source, PreparedDataset):
            config = with_split_of(source, config, settings, file)
    folder = Workdir(workdir or default_workdir(source, config))
    folder.require_usable()
    log.info(f"data      {described}")
    return source, config, folder


def _train(
    source: PreparedDataset | RatingsSource,
    config: Config,
    folder: Workdir,
    devices: Devices,
    request: StopRequest,
    *,
    own_model: ModelFunction | None,
    callbacks: Sequence[keras.callbacks.Callback],
    quiet: bool,
) -> TrainResult:
    heartbeat = watch_peers(folder.path, worker=devices.worker)
    is_new = not folder.is_started()
    dataset = open_or_prepare(source, config, folder, devices, quiet=quiet)
    steps = plan_steps(config.train, dataset)
    for line in plan_lines(config, dataset, devices, steps, folder):
        log.info(line)
    try:
        engine = make_engine(config, dataset, devices, own_model, steps.block_steps)
    except Exception:
        if devices.is_chief and is_new:
            folder.withdraw()
        raise
    log.info(memory_line(engine.model, engine.optimizer, config))
    monitor = Monitor(config, dataset, engine.model)
    session = open_session(
        config,
        dataset,
        folder,
        devices,
        engine,
        steps,
        validate=monitor.validation,
        callbacks=callbacks,
        is_new=is_new,
        quiet=quiet,
    )
    session.stop_request = request
    with heartbeat, contextlib.closing(session):
        result = run_loop(session)
        # A signal may also have come while the last step was saved.
        was_stopped = result.was_stopped or request.signum is not None
        test = {} if was_stopped else monitor.test()
        session.log_test(test)
    return TrainResult(
        run=Run(workdir=folder.path, config=config, dataset=dataset, model=engine.model, step=result.step),
        step=result.step,
        replicas=devices.num_replicas,
        workers=devices.num_workers,
        precision=devices.precision,
        train_loss=result.train_loss,
        test=test,
        examples_per_sec=result.examples_per_sec,
        # The signal may have reached another worker.
        stopped_by=(request.signum or signal.SIGTERM) if was_stopped else None,
    )
