"""A run again with other seeds, and the baseline that is trained: what a figure is worth beside them."""

from __future__ import annotations

import dataclasses
import signal
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.dataset import PreparedDataset
from trainer.config import Config
from trainer.contenders import Contender, Metrics
from trainer.evaluate import MODEL, Evaluation, evaluate
from trainer.models import ModelFunction
from trainer.run import Run, load_run
from trainer.train import train
from trainer.workdir import Workdir

# The recipe of the trained baseline, by whether the run's objective ranks.
BASELINE_RECIPES = {False: "mf", True: "mf-ranking"}
# From more training rows on it takes longer than an evaluation should, unless it is asked for.
MOST_BASELINE_ROWS = 2_000_000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of every metric over the seeds, and each seed's evaluation.

    Attributes:
        seeds: of training; the data's split is the same.
        mean, sd: name, `model` or a baseline -> metric -> value.
        evaluations: one a seed.
    """

    seeds: list[int]
    mean: dict[str, Metrics]
    sd: dict[str, Metrics]
    evaluations: list[Evaluation]


def with_trained_baseline(
    run: Run, *, wanted: bool | None = None, say: Say = lambda _line: None, **how: Any
) -> Evaluation:
    """`evaluate`, beside matrix factorization trained on the same rows with the run's seed.

    It is kept in the workdir's `baselines/`, so that only the first evaluation waits for it.

    Args:
        wanted: whether it is trained; None: with at most `MOST_BASELINE_ROWS` training rows.
        say: is told what is trained.
        how: of `evaluate`.
    """
    recipe = BASELINE_RECIPES[run.config.objective.is_ranking]
    if wanted is False or run.config.recipe == recipe:  # beside itself
        return evaluate(run, **how)
    rows = run.dataset.num_rows("train")
    if wanted is None and rows > MOST_BASELINE_ROWS:
        result = evaluate(run, **how)
        note = f"{recipe}: left out, training it on {rows:,} rows takes a while; --mf does"
        return dataclasses.replace(result, protocol=f"{result.protocol}\n{note}")
    seed, positive_from = run.config.train.seed, run.config.objective.positive_from
    settings = [
        *([] if positive_from is None else [f"objective.positive_from={positive_from}"]),
        f"train.seed={seed}",
    ]
    folder = run.workdir / "baselines" / f"{recipe}-seed-{seed}"
    trained = _trained(run.dataset, recipe, settings, folder, say)
    other = Contender(None if trained.config.objective.is_ranking else trained.scorer, trained.ranker)
    return evaluate(run, others={recipe: other}, **how)


def evaluate_seeds(
    workdir: Path,
    num_seeds: int,
    *,
    wanted: bool | None = None,
    model: ModelFunction | None = None,
    say: Say = lambda _line: None,
    **how: Any,
) -> Spread:
    """Trains a run's configuration with the seeds 0 to num_seeds - 1 on the same split; evaluates each.

    The run itself is one of them, if it has such a seed; the others are kept in its `seeds/`. They train on
    this process's devices, which the result does not depend on, and without callbacks, which no
    configuration knows.

    Args:
        wanted, say, how: as of `with_trained_baseline`.
        model: the function that made the run's model, where it cannot be imported.
    """
    config, dataset = Workdir(workdir).read()
    evaluations = []
    for seed in range(num_seeds):
        folder = workdir if seed == config.train.seed else workdir / "seeds" / str(seed)
        settings = [*_settings(config), f"train.seed={seed}"]
        run = _trained(dataset, config.recipe, settings, folder, say, model=model)
        evaluations.append(with_trained_baseline(run, wanted=wanted, say=say, **how))
    rows = [{MODEL: each.test, **each.baselines} for each in evaluations]
    return Spread(
        seeds=list(range(num_seeds)),
        mean={name: _over(statistics.fmean, [row[name] for row in rows]) for name in rows[0]},
        sd={name: _over(_sd, [row[name] for row in rows]) for name in rows[0]},
        evaluations=evaluations,
    )


def _trained(
    dataset: PreparedDataset,
    recipe: str,
    settings: Sequence[str],
    folder: Path,
    say: Say,
    *,
    model: ModelFunction | None = None,
) -> Run:
    """The run in a folder, trained to its end if it is not."""
    say(f"training  {recipe}, {settings[-1]}, in {folder}")
    result = train(dataset, recipe=recipe, settings=settings, workdir=folder, model=model, quiet=True)
    if result.stopped_by is not None:
        # It was for the whole evaluation; the same command goes on.
        signal.raise_signal(result.stopped_by)
    return load_run(folder, model=model)


def _settings(config: Config) -> Iterable[str]:
    """What a configuration says, but for the data's and for the devices."""
    for key, value in config.flat().items():
        part, _, name = key.partition(".")
        if part in ("recipe", "data") or name == "replicas":
            continue
        yield f"{key}={'none' if value in (None, ()) else value}"


def _over(statistic: Callable[[list[float]], float], metrics: Sequence[Mapping[str, float]]) -> Metrics:
    return {key: statistic([each[key] for each in metrics]) for key in metrics[0]}


def _sd(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
