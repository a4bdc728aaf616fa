"""The verb `train`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from data_pipeline.logs import log
from launch.evaluation_tables import head
from launch.options import (
    AS_PATH,
    config_option,
    data_argument,
    data_options,
    json_option,
    model_option,
    print_result,
    recipe_option,
    settings_option,
    with_options,
)
from launch.tables import quoted


@click.command()
@data_argument
@click.option("--workdir", type=AS_PATH, help="Folder of the run.  [default: runs/<data>-<recipe>]")
@recipe_option
@config_option
@data_options
@settings_option
@model_option
@json_option
def train(
    data: str | None,
    workdir: Path | None,
    recipe: str | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    model: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a recipe on ratings, or continue a run.

    DATA is a prepared dataset, or ratings as `prepare` reads them, with the same options. If the workdir has
    a run, training continues from its newest checkpoint.
    """
    from data_pipeline.dataset.manifest import MANIFEST
    from data_pipeline.prepare.splitting.rules import check_split
    from data_pipeline.sources.open_source import open_source
    from data_pipeline.sources.source import RatingsSource
    from trainer.cluster.cluster import read_cluster
    from trainer.config import RECIPES, make_config, read_config
    from trainer.config.own_model import named_model
    from trainer.workdir.workdir import Workdir

    # Invalid input is reported before TensorFlow loads, which takes seconds.
    if model is not None and any(setting.partition("=")[0].strip() == "model.name" for setting in settings):
        raise click.UsageError("give --model or --set model.name, got both")
    given = with_options(settings, options)
    file = read_config(config_file)
    own_model = [f"model.name={model}"] if model is not None else []
    run_config = make_config(recipe, RECIPES, [*given, *own_model], file)
    named_model(run_config.model.name, model, given, file)
    check_split(run_config.data)
    read_cluster()
    source: str | RatingsSource | None = data
    if data is not None and data != "generated" and not (Path(data) / MANIFEST).is_file():
        source = open_source(data, run_config.data)
    if workdir is not None:
        Workdir(workdir).require_usable()
    log.info("loading TensorFlow ...")
    from trainer.train import train

    result = train(source, recipe=recipe, config=file, settings=given, workdir=workdir, model=model)
    fields = {
        "workdir": str(result.workdir),
        "recipe": result.run.config.recipe,
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
        metrics = "  ".join(f"{head(name)} {value:.4f}" for name, value in result.test.items())
        text = (
            f"test {metrics or 'not evaluated: no test rows'}  "
            f"(step {result.step}, train loss {result.train_loss:.4f})\n"
            f"curves: {quoted(_tensorboard(), '--logdir', result.workdir)}"
        )
    else:
        text = f"stopped at step {result.step}, checkpoint saved; the same command continues"
    print_result(fields, text, as_json)
    if result.stopped_by is not None:
        sys.exit(128 + result.stopped_by)


def _tensorboard() -> str:
    """The command's name, or the shorter form of its path in this environment if it is not on the PATH."""
    path = str(Path(sys.prefix) / "bin/tensorboard")
    return "tensorboard" if shutil.which("tensorboard") else min(os.path.relpath(path), path, key=len)
