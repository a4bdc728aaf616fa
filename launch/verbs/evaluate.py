"""The verb `evaluate`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from launch.options import (
    best_option,
    existing_run,
    json_option,
    model_option,
    print_result,
    workdir_argument,
)
from launch.tables import spread_table, table

# A line at least this often while rankings are made.
LINE_EVERY_SECS = 10.0


class _Lengths(click.ParamType):
    """`5,10,20`"""

    name = "K,K,…"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            lengths = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            lengths = ()
        if not lengths or min(lengths) < 1:
            self.fail(f"k must be whole numbers of at least 1 with commas between, got {value}", param, ctx)
        return lengths


@click.command()
@workdir_argument
@click.option("-k", "ks", type=_Lengths(), help="Lengths of the lists.  [default: 5,10,20]")
@click.option(
    "--negatives",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Items that each test item is ranked among in the sampled protocol; 0 leaves it out.",
)
@click.option(
    "--positive-from",
    type=float,
    help="Lowest rating that makes a test item relevant.  [default: objective.positive_from, else any]",
)
@click.option(
    "--max-users", type=click.IntRange(min=1), help="Rank for so many users, drawn at random.  [default: all]"
)
@click.option("--no-ranking", is_flag=True, help="Only RMSE and MAE.")
@click.option(
    "--mf/--no-mf",
    "trained",
    default=None,
    help="Also train matrix factorization as a baseline.  [default: on up to 2,000,000 training rows]",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="Train the run again with the seeds 0 to N - 1, and tell mean and standard deviation.",
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
    best: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """Errors and rankings on the test split, beside baselines fitted on the same training rows.

    WORKDIR is a trained run; by default the newest under runs/.
    """
    workdir = existing_run(workdir, model)
    from trainer.run.trained_run import load_run
    from trainer.studies.seeds import evaluate_seeds
    from trainer.studies.trained_baseline import with_trained_baseline

    how: dict[str, Any] = {
        "ks": ks,
        "num_negatives": negatives,
        "ranking": not no_ranking,
        "positive_from": positive_from,
        "max_users": max_users,
        "progress": _Lines(),
    }
    if seeds is not None:
        spread = evaluate_seeds(workdir, seeds, best=best, model=model, wanted=trained, say=_say, **how)
        fields = {
            "workdir": str(workdir),
            "seeds": spread.seeds,
            "test": spread.mean["model"],
            "test_sd": spread.sd["model"],
            "baselines": {name: metrics for name, metrics in spread.mean.items() if name != "model"},
            "baselines_sd": {name: metrics for name, metrics in spread.sd.items() if name != "model"},
            "protocol": spread.evaluations[0].protocol,
        }
        print_result(fields, spread_table(spread), as_json)
        return
    result = with_trained_baseline(load_run(workdir, best=best, model=model), wanted=trained, say=_say, **how)
    fields = {
        "workdir": str(workdir),
        "test": result.test,
        "baselines": result.baselines,
        "slices": result.slices,
        "counts": result.counts,
        "protocol": result.protocol,
    }
    print_result(fields, table(result), as_json)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Lines:
    """Tells on stderr how far rankings are, where they take long."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, name: str, done: int, total: int) -> None:
        if done < total and time.monotonic() - self._shown > LINE_EVERY_SECS:
            self._shown = time.monotonic()
            print(f"ranking   {name}: {done:,} of {total:,} users", file=sys.stderr, flush=True)
