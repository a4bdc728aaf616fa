"""A trained run, loaded for evaluation, prediction and recommendation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import keras

from data_pipeline import advice
from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.summary import former_version_note
from data_pipeline.errors import UserError
from data_pipeline.files import path_of
from data_pipeline.logs import log
from trainer.config import Config, import_model, require_named_model
from trainer.models import ModelFunction
from trainer.ranking.model_ranker import model_ranker
from trainer.ranking.scorer import Scorer, scorer_for
from trainer.ranking.top_items import Ranker
from trainer.run.build import model_for
from trainer.run.caller import keras_in, seeded
from trainer.run.devices import let_memory_grow
from trainer.workdir.checkpoint import best_folder, restore_weights
from trainer.workdir.workdir import Workdir


@dataclass(frozen=True)
class Run:
    """A trained model with its data.

    Attributes:
        workdir: the run's folder.
        step: steps that the model was trained.
    """

    workdir: Path
    config: Config = field(repr=False)
    dataset: PreparedDataset
    model: keras.Model
    step: int

    @cached_property
    def scorer(self) -> Scorer:
        with keras_in(self.model.dtype_policy.name):
            return scorer_for(self.model, self.dataset)

    @cached_property
    def ranker(self) -> Ranker:
        with keras_in(self.model.dtype_policy.name):
            return model_ranker(self.model, self.scorer)


def load_run(run: Run | str | Path, *, best: bool = False, model: ModelFunction | str | None = None) -> Run:
    """Loads the newest checkpoint of a workdir, or the best on validation; returns a loaded run unchanged.

    The run has the version of the dataset that it was trained on, also after appends.

    Args:
        model: the function that makes the run's model, or its `module:function`, if it is your own. The name
            that the run stores is never imported.

    Raises:
        UserError: there is no run, it has no checkpoint, or its model is your own and not given.
    """
    if isinstance(run, Run):
        return run
    workdir = Workdir(path_of(run, "run"))
    config, dataset = workdir.read()
    require_named_model(config.model.name, model, where=workdir.path)
    if note := former_version_note(dataset):
        log.info(f"data      {note}")
    let_memory_grow()
    with keras_in(workdir.precision()):
        with seeded(config.train.seed):
            built = model_for(config, dataset, None if model is None else import_model(model))
        folder = best_folder(workdir.checkpoints) if best else workdir.checkpoints
        step = restore_weights(built, folder)
    if step is None:
        lacks = "no best checkpoint: it needs validation rows" if best else "no checkpoint yet"
        train = advice.words("reeltrain train", "reeltrain.train")
        raise UserError(f"{workdir.path}: holds {lacks}; run `{train}` first")
    return Run(workdir=workdir.path, config=config, dataset=dataset, model=built, step=step)
