"""A run again with other seeds, and the baseline that is trained: what a figure is worth beside them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.errors import UserError
from trainer.config import Config
from trainer.evaluation.evaluate import MODEL, Evaluation
from trainer.evaluation.slice_metrics import Metrics
from trainer.models import ModelFunction
from trainer.run.plan import batch_order, last_step
from trainer.run.trained_run import load_run
from trainer.studies.trained_baseline import Say, _trained, with_trained_baseline
from trainer.workdir.workdir import Workdir


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of every metric over the seeds, and each seed's evaluation.

    Attributes:
        seeds: of training; the data's split is the same.
        mean, sd: name, `model` or a baseline -> metric -> value.
        evaluations: one a seed; baselines that are not trained are in the first alone.
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
    say: Say = lambda _line: None,
    **how: Any,
) -> Spread:
    """Trains a run's configuration with the seeds 0 to num_seeds - 1 on the same split; evaluates each.

    The run itself, which stays as it is, is one of them, if it has such a seed; the others are kept in its
    `seeds/`. They train in its precision on this process's devices, which the result does not depend on, and
    without callbacks, which no configuration knows.

    Args:
        best: takes each seed's checkpoint that is best on validation, not the newest.
        wanted, say, how: as of `with_trained_baseline`.
        model: the function that made the run's model, or its `module:function`, where it is one of your own.

    Raises:
        UserError: the run is not trained to its end, as the others will be.
    """
    workdir = Path(workdir)
    own = load_run(workdir, model=model)
    end = last_step(own.config.train, batch_order(own.config.train, own.dataset))
    if own.step < end:
        raise UserError(
            f"{workdir}: seeds are compared when trained to their end, got a run at step {own.step} of {end}"
        )
    settings = [*_settings(own.config), f"train.precision={Workdir(workdir).precision()}"]
    evaluations: list[Evaluation] = []
    for seed in range(num_seeds):
        if seed == own.config.train.seed:
            run = load_run(workdir, best=True, model=model) if best else own
        else:
            folder = workdir / "seeds" / str(seed)
            run = _trained(
                own.dataset, own.config.recipe, settings, seed, folder, say, model=model, best=best
            )
        # What is not trained no seed changes: it is judged with the first.
        how["with_baselines"] = not evaluations
        evaluations.append(with_trained_baseline(run, wanted=wanted, say=say, **how))
    rows = [{MODEL: each.test, **each.baselines} for each in evaluations]
    return Spread(
        seeds=list(range(num_seeds)),
        mean={name: _over(statistics.fmean, name, rows) for name in rows[0]},
        sd={name: _over(_sd, name, rows) for name in rows[0]},
        evaluations=evaluations,
    )


def _settings(config: Config) -> Iterable[str]:
    """What a configuration says, but for the data's, and for devices, precision and seed."""
    for key, value in config.flat().items():
        part, _, name = key.partition(".")
        if part in ("recipe", "data") or name in ("replicas", "precision", "seed"):
            continue
        yield f"{key}={'none' if value in (None, ()) else value}"


def _over(
    statistic: Callable[[list[float]], float], name: str, rows: Sequence[Mapping[str, Metrics]]
) -> Metrics:
    metrics = [row[name] for row in rows if name in row]
    # Not every seed need have all: there is no diversity where no list has two items with features.
    keys = [key for key in metrics[0] if all(key in each for each in metrics)]
    return {key: statistic([each[key] for each in metrics]) for key in keys}


def _sd(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
