"""A trained run, loaded for evaluating, predicting and recommending."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras

from data_pipeline.dataset import PreparedDataset
from data_pipeline.errors import UserError
from trainer.checkpoint import best_folder, restore_weights
from trainer.config import Config
from trainer.models import build_model
from trainer.scoring import Scorer
from trainer.workdir import Workdir


@dataclass(frozen=True)
class Run:
    """A trained model with its data.

    Attributes:
        workdir: the run's folder.
        step: steps that the model was trained.
    """

    workdir: Path
    config: Config
    dataset: PreparedDataset
    model: keras.Model
    step: int

    @cached_property
    def scorer(self) -> Scorer:
        return Scorer(self.model)


def load_run(run: Run | str | Path, *, best: bool = False) -> Run:
    """Loads the newest checkpoint of a workdir, or the best on validation; a loaded run is returned as it is.

    Raises:
        UserError: no run there, or none with a checkpoint.
    """
    if isinstance(run, Run):
        return run
    workdir = Workdir(Path(run))
    config, dataset = workdir.read()
    precision = workdir.precision()
    keras.config.set_floatx("float64" if precision == "float64" else "float32")
    keras.config.set_dtype_policy(precision)
    model = build_model(
        config.model,
        num_user_rows=len(dataset.user_vocabulary),
        num_item_rows=len(dataset.item_vocabulary),
    )
    folder = best_folder(workdir.checkpoints) if best else workdir.checkpoints
    step = restore_weights(model, folder, lambda line: print(line, file=sys.stderr))
    if step is None:
        lacks = "no best checkpoint: it needs validation rows" if best else "no checkpoint yet"
        raise UserError(f"{workdir.path}: holds {lacks}; run `reeltrain train` first")
    return Run(workdir=workdir.path, config=config, dataset=dataset, model=model, step=step)
