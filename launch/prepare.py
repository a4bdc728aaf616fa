"""The verb `prepare`."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from launch.options import AS_PATH, data_argument, json_option, print_result, settings_option


def _choice(key: str) -> click.Choice:
    from data_pipeline.config import DataConfig

    return click.Choice(typing.get_args(typing.get_type_hints(DataConfig)[key]))


# Sugar for settings: option -> key of `data`.
_READING = {
    "--format": ("format", _choice("format"), "How DATA is laid out.  [default: auto]"),
    "--columns": (
        "columns",
        str,
        "Which column is which: user=…,item=…,rating=…,timestamp=…,weight=…; rating=none where every row "
        "counts as 1; positions from 1 where a file has no header line.",
    ),
    "--bad-rows": (
        "bad_rows",
        _choice("bad_rows"),
        "End with the first bad row, or go on without it, count and report.  [default: error]",
    ),
    "--users": ("users", str, "A table of users' features: CSV, TSV or Parquet."),
    "--items": ("items", str, "A table of items' features: CSV, TSV or Parquet."),
    "--duplicates": (
        "duplicates",
        _choice("duplicates"),
        "Which of several ratings of one user and item stays.  [default: keep-last]",
    ),
}


def reading_options(command: Callable) -> Callable:
    """The options that are sugar for `--set data.key=value`."""
    for option, (key, kind, text) in reversed(_READING.items()):
        command = click.option(option, key, type=kind, help=text)(command)
    return command


def with_options(settings: tuple[str, ...], options: dict[str, Any]) -> list[str]:
    """The settings, and those that the options stand for; both of one key is an error."""
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if any(setting.partition("=")[0].strip() == f"data.{key}" for setting in settings):
            raise click.UsageError(f"give --{key.replace('_', '-')} or --set data.{key}, got both")
    return [*settings, *(f"data.{key}={value}" for key, value in given.items())]


@click.command()
@data_argument
@click.option("--out", type=AS_PATH, required=True, help="The new folder.")
@reading_options
@settings_option
@json_option
def prepare(data: str | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Splits and indexes ratings into a prepared dataset.

    DATA is a MovieLens folder or file (ML-100K, 1M, 10M, the CSV ones), a CSV, TSV (also .gz, .zst) or
    Parquet file, a folder or a glob of such files, or `generated`. Without it: MovieLens-100K if it can be
    had, else generated ratings.
    """
    from data_pipeline.dataset import require_empty
    from data_pipeline.prepare import prepare_dataset, read_ratings, resolve_data
    from trainer.config import make_config
    from trainer.recipes import RECIPES

    for setting in settings:
        if not setting.startswith("data."):
            raise click.UsageError(f"prepare takes only data.* settings, got {setting!r}")
    config = make_config("article", RECIPES, with_options(settings, options)).data
    require_empty(out)
    source, described = resolve_data(data)
    print(f"data      {described}", file=sys.stderr)
    ratings, test = read_ratings(source, config)
    dataset = prepare_dataset(ratings, test, config, out)
    manifest = dataset.manifest
    result = {
        key: manifest[key] for key in ("rows", "dropped_rows", "users", "items", "splits", "rmse_floor")
    }
    result["dataset"] = str(out)
    splits = ", ".join(f"{name} {rows:,}" for name, rows in manifest["splits"].items())
    text = f"{manifest['rows']:,} ratings, {manifest['users']:,} users, {manifest['items']:,} items: {splits}"
    if manifest["rmse_floor"] is not None:
        text += f"\nplanted noise: no model can reach a test RMSE much below {manifest['rmse_floor']:.4f}"
    print_result(result, f"{text}\nprepared dataset: {out}", as_json)
