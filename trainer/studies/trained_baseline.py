"""A trained baseline: matrix factorization on the same rows."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_pipeline import advice
from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.versions import version_id
from data_pipeline.errors import UserError
from data_pipeline.logs import log, shown
from trainer.config import Config, make_config
from trainer.config.recipes import RECIPES
from trainer.evaluation.evaluate import Evaluation, evaluate
from trainer.evaluation.slice_metrics import Recommender
from trainer.models import ModelFunction
from trainer.run.devices import max_replicas
from trainer.run.trained_run import Run, load_run
from trainer.train import train
from trainer.workdir.workdir import Workdir

# Whether the run's objective is a ranking -> the recipe of its baseline.
BASELINE_RECIPES = {False: "mf", True: "mf-ranking"}
# With more training rows it takes longer than an evaluation should, unless requested.
MOST_BASELINE_ROWS = 2_000_000


def with_trained_baseline(
    run: Run, *, wanted: bool | None = None, quiet: bool = False, **how: Any
) -> Evaluation:
    """`evaluate`, compared with matrix factorization trained on the same rows with the run's seed.

    The baseline is kept in the workdir's `baselines/`, so that only the first evaluation waits for it.

    Args:
        wanted: whether to train the baseline; None: only for at most `MOST_BASELINE_ROWS` training rows.
        quiet: logs nothing.
        how: arguments of `evaluate`.
    """
    recipe = BASELINE_RECIPES[run.config.objective.is_ranking]
    if wanted is False or _is_recipe(run.config, recipe):  # the baseline would be the run itself
        return evaluate(run, **how)
    rows = run.dataset.num_rows("train")
    if wanted is None and rows > MOST_BASELINE_ROWS:
        result = evaluate(run, **how)
        use = advice.words("--mf", "trained_baseline=True")
        note = f"{recipe}: not trained, {rows:,} rows take a while; use {use} to train it"
        return dataclasses.replace(result, protocol=f"{result.protocol}\n{note}")
    seed, positive_from = run.config.train.seed, run.config.objective.positive_from
    # A precision that every machine has, so that any machine can use a baseline trained on another.
    settings = ["train.precision=float32"]
    if positive_from is not None:
        settings.append(f"objective.positive_from={positive_from}")
    folder = run.workdir / "baselines" / f"{recipe}-seed-{seed}"
    with shown(quiet=quiet):
        trained = trained_run(run.dataset, recipe, settings, seed, folder)
    other = Recommender(None if trained.config.objective.is_ranking else trained.scorer, trained.ranker)
    others = {**(how.pop("others", None) or {}), recipe: other}
    return evaluate(run, others=others, **how)


def trained_run(
    dataset: PreparedDataset,
    recipe: str,
    settings: Sequence[str],
    seed: int,
    folder: Path,
    *,
    model: ModelFunction | str | None = None,
    best: bool = False,
) -> Run:
    """The run in a folder, trained to its end if necessary.

    Raises:
        UserError: the folder's run was trained on another dataset, or on another version of it.
    """
    known = Workdir(folder).fingerprint() if Workdir(folder).is_started() else dataset.fingerprint
    if known != dataset.fingerprint:
        raise UserError(
            f"{folder}: must be trained on dataset version {dataset.version} as the run is, got "
            f"{version_id(known)}; move the folder away"
        )
    log.info(f"training  {recipe}, train.seed={seed}, in {shlex.quote(str(folder))}")
    replicas = max_replicas(make_config(recipe, RECIPES, settings).train)
    settings = [*settings, f"train.seed={seed}", f"train.replicas={replicas}"]
    result = train(dataset, recipe=recipe, settings=settings, workdir=folder, model=model, quiet=True)
    if result.stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if result.stopped_by is not None:
        sys.exit(128 + result.stopped_by)
    return load_run(folder, best=best, model=model)


def _is_recipe(config: Config, recipe: str) -> bool:
    """Whether a run is what the recipe trains."""
    whole = make_config(recipe, RECIPES)
    return (config.model, config.objective, config.optimizer) == (
        whole.model,
        whole.objective,
        whole.optimizer,
    ) and all(
        getattr(config.train, name) == getattr(whole.train, name)
        for name in ("epochs", "max_steps", "global_batch_size")
    )
