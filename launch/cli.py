"""The verbs of the command line. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import click

from launch.evaluate import evaluate
from launch.options import (
    AS_PATH,
    best_option,
    data_argument,
    existing_run,
    json_option,
    print_result,
    recipe_option,
    settings_option,
    workdir_argument,
)
from launch.prepare import prepare
from launch.verify import verify

# TensorFlow takes seconds to import: each verb imports what it needs, after its arguments were checked.


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="reeltrain")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Trains embedding+MLP recommenders on one CPU, all GPUs of a server, or several machines."""


@cli.command()
@data_argument
@click.option("--workdir", type=AS_PATH, help="Where the run is kept.  [default: runs/<data>-<recipe>]")
@recipe_option
@settings_option
@json_option
def train(
    data: str | None, workdir: Path | None, recipe: str, settings: tuple[str, ...], as_json: bool
) -> None:
    """Trains a recipe on DATA; in a workdir that a run was begun in, continues it.

    DATA is what `prepare` takes, or a prepared dataset.
    """
    from data_pipeline.dataset.manifest import MANIFEST
    from data_pipeline.prepare.splitting.rules import check_split
    from data_pipeline.sources.open_source import open_source
    from trainer.config import make_config
    from trainer.recipes import RECIPES
    from trainer.workdir.workdir import Workdir

    # Mistakes are told before the seconds that TensorFlow takes to load.
    data_config = make_config(recipe, RECIPES, settings).data
    check_split(data_config)
    if data not in (None, "generated") and not (Path(data) / MANIFEST).is_file():
        open_source(data, data_config)
    if workdir is not None:
        Workdir(workdir).require_usable()
    print("reeltrain: loading TensorFlow …", file=sys.stderr, flush=True)
    from trainer.train import train

    result = train(data, recipe=recipe, settings=settings, workdir=workdir)
    fields = {
        "workdir": str(result.workdir),
        "recipe": recipe,
        "step": result.step,
        "replicas": result.replicas,
        "workers": result.workers,
        "precision": result.precision,
        "train_loss": result.train_loss,
        "test_rmse": result.test_rmse,
        "test_mae": result.test_mae,
        "test": result.test,
        "examples_per_sec": result.examples_per_sec,
    }
    if result.stopped_by is None:
        errors = (
            "  ".join(f"{name.upper()} {value:.4f}" for name, value in result.test.items())
            or "nothing to judge by"
        )
        text = (
            f"test {errors}  (step {result.step}, train loss {result.train_loss:.4f})\n"
            f"curves: {_tensorboard()} --logdir {result.workdir}"
        )
    else:
        text = f"stopped at step {result.step}, checkpoint saved; the same command continues"
    print_result(fields, text, as_json)
    if result.stopped_by is not None:
        sys.exit(128 + result.stopped_by)


@cli.command()
@workdir_argument
@click.option("--user", help="A raw user id; needs --item.")
@click.option("--item", help="A raw item id; needs --user.")
@click.option("--pairs", type=AS_PATH, help="A CSV file with columns user_id and item_id.")
@best_option
@json_option
def predict(
    workdir: Path | None, user: str | None, item: str | None, pairs: Path | None, best: bool, as_json: bool
) -> None:
    """Predicted ratings: the first ten test rows beside the actual ones, or what is asked for."""
    if (user is None) != (item is None):
        raise click.UsageError(
            f"--user and --item go together, got only {'--item' if user is None else '--user'}"
        )
    if pairs is not None and user is not None:
        raise click.UsageError("give --pairs or --user and --item, got both")
    from data_pipeline.parsing.pairs import read_pairs

    asked = read_pairs(pairs) if pairs is not None else [(user, item)] if user is not None else None
    workdir = existing_run(workdir)
    from trainer.run.trained_run import load_run
    from trainer.serving.predict import predict

    run = load_run(workdir, best=best)
    rows = predict(run, asked).to_dict("records")
    what = "score" if run.config.objective.is_ranking else "predicted"
    lines = [f"{'user':>10}{'item':>10}{what:>11}{'actual':>8}"]
    for row in rows:
        actual = "" if row["actual"] is None else f"{row['actual']:g}"
        unknown = [what for what in ("user", "item") if not row[f"known_{what}"]]
        note = f"  unknown {' and '.join(unknown)}" if unknown else ""
        lines.append(f"{row['user_id']!s:>10}{row['item_id']!s:>10}{row['predicted']:11.2f}{actual:>8}{note}")
    print_result({"workdir": str(workdir), "predictions": rows}, "\n".join(lines), as_json)


@cli.command()
@workdir_argument
@click.option("--user", help="A raw user id.  [default: the user of the first test row]")
@click.option("-k", default=10, show_default=True, help="How many items.")
@best_option
@json_option
def recommend(workdir: Path | None, user: str | None, k: int, best: bool, as_json: bool) -> None:
    """The k best items that a user has not rated yet."""
    if k < 1:
        raise click.BadParameter(f"k must be at least 1, got {k}", param_hint="-k")
    workdir = existing_run(workdir)
    from trainer.run.trained_run import load_run
    from trainer.serving.recommend import recommend

    result = recommend(load_run(workdir, best=best), user, k=k)
    items = result.items.to_dict("records")
    lines = [
        f"for user {result.user_id}, nothing already rated"
        if result.known_user
        else f"user {result.user_id} is not in the training data: the items best liked by everybody"
    ]
    for rank, item in enumerate(items, start=1):
        lines.append(f"{rank:3}. {item['title'] or item['item_id']}  ({item['score']:.2f})")
    if len(items) < k:
        lines.append(f"{len(items)} of {k} asked for: training knows no more that the user has not rated")
    fields = {
        "workdir": str(workdir),
        "user_id": result.user_id,
        "known_user": result.known_user,
        "items": items,
    }
    print_result(fields, "\n".join(lines), as_json)


cli.add_command(evaluate)
cli.add_command(prepare)
cli.add_command(verify)


@cli.group()
def launch() -> None:
    """Starts training in several processes."""


@launch.command("local", context_settings={"ignore_unknown_options": True})
@click.option("--workers", type=click.IntRange(min=1), required=True, help="How many processes.")
@click.option(
    "--restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How often all are started again, from the newest checkpoint, when one dies or fails.",
)
@click.option(
    "--log-dir", type=AS_PATH, help="For worker-<i>.log.  [default: <--workdir>/logs, or runs/logs]"
)
@json_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def launch_local(
    workers: int, restarts: int, log_dir: Path | None, as_json: bool, arguments: tuple[str, ...]
) -> None:
    """Runs `reeltrain train ...` in several worker processes on this machine.

    \b
    Example: reeltrain launch local --workers 2 -- train ratings.csv --workdir runs/two
    """
    from launch.local import run_workers

    if not arguments or arguments[0] != "train":
        raise click.UsageError(f"launch starts `train` with its arguments after --, got {list(arguments)}")
    log_dir = log_dir or _workdir_of(arguments) / "logs"
    print(f"launch    {workers} worker(s); what each prints is in {log_dir}", file=sys.stderr, flush=True)
    as_json = as_json or "--json" in arguments
    arguments = (*arguments, *(["--json"] if as_json else []))
    result = run_workers(workers, list(arguments), log_dir=log_dir, restarts=restarts)
    lines = result.chief_stdout.splitlines()
    fields = {
        "workers": workers,
        "exit_statuses": result.exit_statuses,
        "restarts": result.restarts,
        "log_dir": str(log_dir),
        "result": json.loads(lines[-1]) if as_json and lines else None,
    }
    print_result(fields, "\n".join(lines), as_json)
    if result.first_failed is not None:
        log = log_dir / f"worker-{result.first_failed}.log"
        ended = f"worker {result.first_failed} ended with status {result.exit_status}; see {log}"
        print(f"reeltrain: {ended}", file=sys.stderr)
        sys.exit(result.exit_status)


def _workdir_of(arguments: tuple[str, ...]) -> Path:
    """The --workdir among the arguments of `train`, or `runs`."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--workdir" and following:
            return Path(following)
        if argument.startswith("--workdir="):
            return Path(argument.removeprefix("--workdir="))
    return Path("runs")


def _tensorboard() -> str:
    """The command as it can be typed here: of our environment, where that is not on the PATH."""
    return (
        "tensorboard"
        if shutil.which("tensorboard")
        else os.path.relpath(Path(sys.prefix) / "bin/tensorboard")
    )
