"""The verb `embeddings`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from launch.options import (
    AS_PATH,
    best_option,
    existing_run,
    json_option,
    model_option,
    print_result,
    workdir_argument,
)
from launch.tables import quoted


@click.command()
@workdir_argument
@click.option(
    "--out",
    type=AS_PATH,
    required=True,
    help="A folder for users.parquet and items.parquet, or a file that ends in .parquet for one side.",
)
@click.option("--side", type=click.Choice(["users", "items"]), help="Write one side.  [default: both]")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@best_option
@model_option
@json_option
def embeddings(
    workdir: Path | None,
    out: Path,
    side: Literal["users", "items"] | None,
    overwrite: bool,
    best: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """Write the vectors of users and items as Parquet.

    WORKDIR is a trained run; by default the newest one under runs/.
    """
    workdir = existing_run(workdir, model)
    from trainer.run.trained_run import load_run
    from trainer.serving.embeddings import embedding_files, write_embeddings

    embedding_files(out, side, overwrite=overwrite)  # refused before the checkpoint is read
    run = load_run(workdir, best=best, model=model)
    files = write_embeddings(run, out, side=side, overwrite=overwrite)
    fields = {"workdir": str(workdir), "files": {name: str(path) for name, path in files.items()}}
    print_result(fields, "\n".join(f"{name:9} {quoted(path)}" for name, path in files.items()), as_json)
