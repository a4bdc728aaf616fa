"""The verb `evaluate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from data_pipeline.logs import log
from launch.evaluation_tables import full, full_spread, screen
from launch.metrics_file import MetricsPath, metrics_of, write_metrics
from launch.options import (
    best_option,
    existing_run,
    json_option,
    model_option,
    print_result,
    workdir_argument,
)
from launch.tables import quoted

# While rankings are computed, a line is logged at most this often.
LINE_EVERY_SECS = 10.0


class _Lengths(click.ParamType):
    """`5,10,20`"""

    name = "K,K,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            lengths = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            lengths = ()
        if not lengths or min(lengths) < 1:
            self.fail(f"k must be integers of at least 1, separated by commas, got {value}", param, ctx)
        return lengths


@click.command()
@workdir_argument
@click.option("-k", "ks", type=_Lengths(), help="Lengths of the ranked lists.  [default: 5,10,20]")
@click.option(
    "--negatives",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Number of negatives per test item in the sampled protocol; 0 turns it off.",
)
@click.option(
    "--positive-from",
    type=float,
    help="Lowest rating of a relevant test item.  [default: objective.positive_from, else any rating]",
)
@click.option(
    "--max-users", type=click.IntRange(min=1), help="Rank for a random sample of this size.  [default: all]"
)
@click.option("--no-ranking", is_flag=True, help="Compute only RMSE and MAE.")
@click.option(
    "--mf/--no-mf",
    "trained",
    default=None,
    help="Also train matrix factorization as a baseline.  [default: up to 2,000,000 training rows]",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="Train the run again with the seeds 0 to N - 1; print mean and standard deviation.",
)
@click.option(
    "--full", "in_full", is_flag=True, help="Print more metrics, the slices and the whole protocol."
)
@click.option(
    "--out",
    type=MetricsPath(),
    help="Also write all metrics to this .csv, .parquet or .json file, one value per row.",
)
@best_option
@model_option
@json_option
def evaluate(
    workdir: Path | None,
    ks: tuple[int, ...] | None,
    negatives: int,
    positive_from: float | None,
    max_users: int | None,
    no_ranking: bool,
    trained: bool | None,
    seeds: int | None,
    in_full: bool,
    out: Path | None,
    best: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """Compute test metrics of a run and of baselines.

    WORKDIR is a trained run; by default the newest one under runs/. The baselines are fitted to the same
    training rows: global mean, user and item bias, popularity, EASE and matrix factorization.
    """
    workdir = existing_run(workdir, model)
    from trainer.run.trained_run import load_run
    from trainer.studies.seeds import evaluate_seeds
    from trainer.studies.trained_baseline import with_trained_baseline
    from trainer.workdir.workdir import Workdir

    how: dict[str, Any] = {
        "ks": ks,
        "num_negatives": negatives,
        "ranking": not no_ranking,
        "positive_from": positive_from,
        "max_users": max_users,
        "progress": _Lines(),
    }
    if seeds is not None:
        spread = evaluate_seeds(workdir, seeds, best=best, model=model, wanted=trained, **how)
        evaluations = spread.evaluations
        fields = {
            "workdir": str(workdir),
            "seeds": spread.seeds,
            "test": spread.mean["model"],
            "test_sd": spread.sd["model"],
            "baselines": {name: metrics for name, metrics in spread.mean.items() if name != "model"},
            "baselines_sd": {name: metrics for name, metrics in spread.sd.items() if name != "model"},
            "protocol": evaluations[0].protocol,
            "dataset": evaluations[0].dataset,
        }
        text = full_spread(spread) if in_full else ""
    else:
        result = with_trained_baseline(load_run(workdir, best=best, model=model), wanted=trained, **how)
        evaluations = [result]
        fields = {
            "workdir": str(workdir),
            "test": result.test,
            "baselines": result.baselines,
            "slices": result.slices,
            "counts": result.counts,
            "protocol": result.protocol,
            "dataset": result.dataset,
        }
        text = full(result) if in_full else ""
    if not (in_full or as_json):
        config, dataset = Workdir(workdir).read()
        objective = config.objective
        if positive_from is None:
            positive_from = objective.positive_from
        text = screen(evaluations, dataset, is_ranking=objective.is_ranking, positive_from=positive_from)
    print_result(fields, text, as_json)
    if out is not None:  # after the output, which a full disk must not lose
        write_metrics(out, metrics_of(evaluations))
        log.info(f"metrics   {quoted(out)}")


class _Lines:
    """Logs the progress of rankings that take long."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, name: str, done: int, total: int) -> None:
        if done < total and time.monotonic() - self._shown > LINE_EVERY_SECS:
            self._shown = time.monotonic()
            log.info(f"ranking   {name}: {done:,} of {total:,} users")
