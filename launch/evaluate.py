"""The verb `evaluate`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launch.options import best_option, existing_run, json_option, print_result, workdir_argument

if TYPE_CHECKING:
    from trainer.evaluation.evaluate import Evaluation
    from trainer.studies.seeds import Spread

# A line at least this often while rankings are made.
LINE_EVERY_SECS = 10.0
RANKING = ("ndcg", "recall", "precision", "hr", "map", "mrr", "coverage", "gini", "novelty", "diversity")
HEADS = {"rmse": "RMSE", "mae": "MAE", "ndcg": "NDCG", "hr": "HR", "map": "MAP", "mrr": "MRR", "gini": "Gini"}


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
    as_json: bool,
) -> None:
    """Errors and rankings on the test split, beside baselines fitted on the same training rows.

    WORKDIR is a trained run; by default the newest under runs/.
    """
    workdir = existing_run(workdir)
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
        spread = evaluate_seeds(workdir, seeds, best=best, wanted=trained, say=_say, **how)
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
    result = with_trained_baseline(load_run(workdir, best=best), wanted=trained, say=_say, **how)
    fields = {
        "workdir": str(workdir),
        "test": result.test,
        "baselines": result.baselines,
        "slices": result.slices,
        "counts": result.counts,
        "protocol": result.protocol,
    }
    print_result(fields, table(result), as_json)


def table(result: Evaluation) -> str:
    """What a person reads: the model beside the baselines, metric by metric; then the slices."""
    ks = result.ks
    rows = {"model": result.test, **result.baselines}
    lines = [*result.protocol.splitlines(), "", *_block("ratings", rows, ["rmse", "mae"])]
    for k in ks:
        lines += _block(f"all unseen items, k = {k}", rows, [f"{metric}@{k}" for metric in RANKING])
    sampled = [f"sampled/{metric}@{k}" for k in ks for metric in ("ndcg", "hr")]
    lines += _block("sampled", rows, [*sampled, f"sampled/mrr@{ks[-1]}"], with_k=True)
    # Slices at one k, the middle one: all are in the JSON object.
    k = ks[len(ks) // 2]
    keys = ["rmse", "mae", *(f"{metric}@{k}" for metric in RANKING[:6])]
    for name, metrics in result.slices.items():
        counts = ", ".join(f"{count:,} {what}" for what, count in result.counts[name].items())
        title = f"{name.replace('_', ' ')}: {counts}"
        lines += _block(title, metrics, keys) or [title, ""]
    return "\n".join(lines).rstrip()


def spread_table(spread: Spread) -> str:
    """The same over seeds: mean +- standard deviation, metric by metric."""
    ks = spread.evaluations[0].ks
    seeds = f"seeds {spread.seeds[0]} to {spread.seeds[-1]} of training, the split stays; mean +- sd (n - 1)"
    lines = [*spread.evaluations[0].protocol.splitlines(), seeds, ""]
    k = ks[len(ks) // 2]
    ranking = [f"{metric}@{k}" for metric in RANKING]
    for keys in (["rmse", "mae"], ranking[:5], ranking[5:], [f"sampled/ndcg@{k}", f"sampled/hr@{k}"]):
        keys = [key for key in keys if any(key in metrics for metrics in spread.mean.values())]
        if not keys:
            continue
        lines.append(f"{'':16}" + "".join(f"{_head(key):>18}" for key in keys))
        for name, means in spread.mean.items():
            cells = [
                _with_sd(means[key], spread.sd[name][key]) if key in means else f"{'-':>18}" for key in keys
            ]
            if any(key in means for key in keys):
                lines.append(f"{name:16}" + "".join(cells))
        lines.append("")
    return "\n".join(lines).rstrip()


def _with_sd(mean: float, sd: float) -> str:
    """18 characters; what no seed changes has no spread."""
    return f"{mean:9.4f} +-{sd:7.4f}" if sd else f"{mean:9.4f}{'':9}"


def _head(key: str) -> str:
    metric, _, k = key.removeprefix("sampled/").partition("@")
    prefix = "sampled " if key.startswith("sampled/") else ""
    return prefix + HEADS.get(metric, metric) + (f"@{k}" if k else "")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _block(
    title: str, rows: Mapping[str, Mapping[str, float]], keys: Sequence[str], *, with_k: bool = False
) -> list[str]:
    """A table of those keys and rows that there are, under its title."""
    keys = [key for key in keys if any(key in metrics for metrics in rows.values())]
    if not keys:
        return []
    heads = [_head(key).removeprefix("sampled ") for key in keys]
    heads = heads if with_k else [head.partition("@")[0] for head in heads]
    lines = [title, f"{'':16}" + "".join(f"{head:>10}" for head in heads)]
    for name, metrics in rows.items():
        if any(key in metrics for key in keys):
            cells = [f"{metrics[key]:10.4f}" if key in metrics else f"{'-':>10}" for key in keys]
            lines.append(f"{name:16}" + "".join(cells))
    return [*lines, ""]


class _Lines:
    """Tells on stderr how far rankings are, where they take long."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, name: str, done: int, total: int) -> None:
        if done < total and time.monotonic() - self._shown > LINE_EVERY_SECS:
            self._shown = time.monotonic()
            print(f"ranking   {name}: {done:,} of {total:,} users", file=sys.stderr, flush=True)
