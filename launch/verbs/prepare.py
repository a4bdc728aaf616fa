"""The verb `prepare`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launch.options import AS_PATH, data_argument, json_option, print_result, settings_option

if TYPE_CHECKING:
    from data_pipeline.dataset.dataset import PreparedDataset
    from data_pipeline.settings import Setting


# Options that stand for `--set data.key=value`, and those of them that take one of a few values.
_READING = ("format", "columns", "bad_rows", "users", "items", "test", "duplicates")
_CHOICES = ("format", "bad_rows", "duplicates")


def _declared(key: str) -> Setting:
    """The declaration of `data.key`, loaded only when its text or values are needed."""
    from data_pipeline.config import DataConfig
    from data_pipeline.settings import declared_settings

    return declared_settings("data", DataConfig)[f"data.{key}"]


class _Choice(click.Choice):
    """The values of a declared setting."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.case_sensitive = True

    @cached_property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        return _declared(self.key).choices


class _SettingOption(click.Option):
    """An option with the text and default of a declared setting."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        declared = _declared(str(self.name))
        default = f"  [default: {declared.default}]" if declared.default else ""
        self.help = f"{declared.help_text}{default}".replace("`", "")
        return super().get_help_record(ctx)


def reading_options(command: Callable) -> Callable:
    """The options that are sugar for `--set data.key=value`."""
    for key in reversed(_READING):
        kind = _Choice(key) if key in _CHOICES else str
        command = click.option(f"--{key.replace('_', '-')}", key, cls=_SettingOption, type=kind)(command)
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
@click.option("--out", type=AS_PATH, help="The new folder.")
@click.option("--append", type=AS_PATH, metavar="DIR", help="Add DATA to this prepared dataset instead.")
@click.option("--check", is_flag=True, help="DATA is a prepared dataset: read and verify all of it instead.")
@reading_options
@settings_option
@json_option
def prepare(
    data: str | None,
    out: Path | None,
    append: Path | None,
    check: bool,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Splits and indexes ratings into a prepared dataset.

    DATA is a MovieLens folder or file (ML-100K, 1M, 10M, the CSV ones), a CSV, TSV (also .gz, .zst) or
    Parquet file, a folder or a glob of such files, or `generated`. Without it: MovieLens-100K if it can be
    had, else generated ratings.

    \b
    reeltrain prepare ratings.csv --out prepared
    reeltrain prepare new.csv --append prepared     # old indices and splits stay
    reeltrain prepare --check prepared
    """
    if sum([out is not None, append is not None, check]) > 1:
        raise click.UsageError("give one of --out, --append and --check, got several")
    given = with_options(settings, options)
    for setting in given:
        if not setting.startswith("data."):
            raise click.UsageError(f"prepare takes only data.* settings, got {setting!r}")
    if check:
        if given:
            raise click.UsageError(f"--check reads what is there, got the setting {given[0]!r}")
        if data is None:
            raise click.UsageError("--check needs DATA, the folder of a prepared dataset")
        dataset = _check(Path(data))
    elif append is not None:
        dataset = _append(data, append, given)
    elif out is not None:
        dataset = _prepare(data, out, given)
    else:
        raise click.UsageError("Missing option '--out'.")
    manifest = dataset.manifest
    print_result(
        {key: manifest[key] for key in _SHOWN} | {"dataset": str(dataset.path)}, _told(dataset), as_json
    )


# Of the manifest, as it is.
_SHOWN = (
    *("rows", "dropped_rows", "first_dropped", "dropped_duplicates", "dropped_rare"),
    *("users", "items", "sparsity", "splits", "cold", "rating_scale", "rmse_floor", "fingerprint"),
    "appended",
)
# Settings of reading alone: another value for what is appended changes nothing of what is there.
_OF_READING = ("format", "columns", "bad_rows", "users", "items")


def _prepare(data: str | None, out: Path, settings: list[str]) -> PreparedDataset:
    from data_pipeline.config import data_config
    from data_pipeline.dataset.new_folder import require_empty
    from data_pipeline.prepare.prepare import prepare_dataset
    from data_pipeline.prepare.splitting.rules import check_split
    from data_pipeline.sources.open_source import open_source

    config = data_config(settings)
    check_split(config)
    require_empty(out)
    source = open_source(data, config)
    print(f"data      {source.described}", file=sys.stderr)
    return prepare_dataset(source, config, out, quiet=False)


def _append(data: str | None, folder: Path, settings: list[str]) -> PreparedDataset:
    from data_pipeline.config import data_config
    from data_pipeline.dataset.dataset import open_dataset
    from data_pipeline.prepare.append import append_ratings
    from data_pipeline.sources.open_source import open_source

    if data is None:
        raise click.UsageError("--append needs DATA, the new ratings")
    for setting in settings:
        if setting.partition("=")[0].strip().removeprefix("data.") not in _OF_READING:
            raise click.UsageError(f"{folder} is prepared, its split is fixed: {setting!r} has no effect")
    open_dataset(folder)
    source = open_source(data, data_config(settings))
    print(f"data      {source.described}", file=sys.stderr)
    return append_ratings(source, folder, quiet=False)


def _check(folder: Path) -> PreparedDataset:
    from data_pipeline.dataset.check import check_dataset

    dataset = check_dataset(folder)
    print(f"checked   {folder}: every byte is as it was written", file=sys.stderr)
    return dataset


def _told(dataset: PreparedDataset) -> str:
    """What a person wants to know of a prepared dataset."""
    manifest = dataset.manifest
    splits = ", ".join(f"{name} {rows:,}" for name, rows in manifest["splits"].items())
    lines = [
        f"{manifest['rows']:,} ratings, {manifest['users']:,} users, {manifest['items']:,} items, "
        f"sparsity {manifest['sparsity']:.2%}: {splits}"
    ]
    lines += _dropped(manifest, "")
    for new in manifest["appended"][-1:]:
        lines += _dropped(new, f"of {new['rows_read']:,} appended ratings ")
    for split, cold in manifest["cold"].items():
        if cold["rows"]:
            lines.append(
                f"{split}: {cold['rows']:,} rows have ids that training has not: "
                f"{cold['users']:,} users, {cold['items']:,} items"
            )
    if manifest["rmse_floor"] is not None:
        lines.append(f"planted noise: no model can reach a test RMSE much below {manifest['rmse_floor']:.4f}")
    return "\n".join([*lines, f"prepared dataset: {dataset.path}"])


def _dropped(counts: dict[str, Any], of: str) -> list[str]:
    """How many rows are not there and why, and the names of the first bad ones."""
    dropped = {
        "bad rows": counts["dropped_rows"],
        "repeated ratings": counts["dropped_duplicates"],
        "of users or items with few ratings": counts["dropped_rare"],
    }
    told = ", ".join(f"{rows:,} {what}" for what, rows in dropped.items() if rows)
    return [f"{of}dropped: {told}"] * bool(told) + [f"  {line}" for line in counts["first_dropped"]]
