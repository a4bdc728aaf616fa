"""Trains and evaluates a run with several seeds, to report the spread of its metrics."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.errors import UserError
from data_pipeline.files import path_of
from data_pipeline.logs import shown
from trainer.config import Config
from trainer.evaluation.evaluate import MODEL, Evaluation
from trainer.evaluation.slice_metrics import Metrics
from trainer.models import ModelFunction
from trainer.run.plan import plan_steps
from trainer.run.trained_run import load_run
from trainer.studies.trained_baseline import trained_run, with_trained_baseline
from trainer.workdir.workdir import Workdir


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of every metric over the seeds, and each seed's evaluation.

    Attributes:
        seeds: of training; all have the same split.
        mean, sd: name, `model` or a baseline -> metric -> value.
        evaluations: one per seed; only the first has the baselines that do not depend on it.
    """

    seeds: list[int]
    mean: dict[str, Metrics]
    sd: dict[str, Metrics]
    evaluations: list[Evaluation]


def evaluate_seeds(
    workdir: str | Path,
    num_seeds: int,
    *,
    best: bool = False,
    wanted: bool | None = None,
    model: ModelFunction | str | None = None,
    quiet: bool = False,
    **how: Any,
) -> Spread:
    """Trains a run's configuration with the seeds 0 to num_seeds - 1 on the same split; evaluates each.

    The run itself stands for its own seed and is not changed; the other runs are kept in its `seeds/`. They
    train in its precision on this process's devices, which do not affect the result, and without callbacks,
    which are not part of the configuration.

    Args:
        best: uses each seed's best checkpoint on validation, not the newest.
        wanted, how: see `with_trained_baseline`.
        quiet: logs nothing.
        model: the function that makes the run's model, or its `module:function`, if it is your own.

    Raises:
        UserError: the run is not trained to its end.
    """
    workdir = path_of(workdir, "run")
    own = load_run(workdir, model=model)
    end = plan_steps(own.config.train, own.dataset).last_step
    if own.step < end:
        raise UserError(
            f"{workdir}: must be trained to its end to compare seeds, got step {own.step} of {end}"
        )
    settings = [*_settings(own.config), f"train.precision={Workdir(workdir).precision()}"]
    evaluations: list[Evaluation] = []
    for seed in range(num_seeds):
        if seed == own.config.train.seed:
            run = load_run(workdir, best=True, model=model) if best else own
        else:
            folder = workdir / "seeds" / str(seed)
            with shown(quiet=quiet):
                run = trained_run(
                    own.dataset, own.config.recipe, settings, seed, folder, model=model, best=best
                )
        # Only the trained baseline depends on the seed.
        how["with_baselines"] = not evaluations
        evaluations.append(with_trained_baseline(run, wanted=wanted, quiet=quiet, **how))
    rows = [{MODEL: each.test, **each.baselines} for each in evaluations]
    return Spread(
        seeds=list(range(num_seeds)),
        mean={name: _over(statistics.fmean, name, rows) for name in rows[0]},
        sd={name: _over(_sd, name, rows) for name in rows[0]},
        evaluations=evaluations,
    )


def _settings(config: Config) -> Iterable[str]:
    """A configuration's settings, except those of data, devices, precision and seed."""
    for key, value in config.flat().items():
        part, _, name = key.partition(".")
        if part in ("recipe", "data") or name in ("replicas", "precision", "seed"):
            continue
        yield f"{key}={'none' if value in (None, ()) else value}"


def _over(
    statistic: Callable[[list[float]], float], name: str, rows: Sequence[Mapping[str, Metrics]]
) -> Metrics:
    metrics = [row[name] for row in rows if name in row]
    # A seed may lack a metric: there is no diversity if no list has two items with features.
    keys = [key for key in metrics[0] if all(key in each for each in metrics)]
    return {key: statistic([each[key] for each in metrics]) for key in keys}


def _sd(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
