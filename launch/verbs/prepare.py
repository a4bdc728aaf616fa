"""The verb `prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data_pipeline.logs import log
from launch.options import (
    AS_PATH,
    data_argument,
    data_options,
    json_option,
    print_result,
    settings_option,
    with_options,
)
from launch.tables import quoted, table

if TYPE_CHECKING:
    from data_pipeline.dataset.dataset import PreparedDataset


@click.command()
@data_argument
@click.option("--out", type=AS_PATH, help="The new folder.")
@click.option("--append", type=AS_PATH, metavar="DIR", help="Add DATA to this prepared dataset.")
@click.option("--check", is_flag=True, help="Read and verify DATA, a prepared dataset.")
@data_options
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
    """Split and index ratings into a prepared dataset.

    DATA is a MovieLens folder or file (ML-100K, 1M, 10M, or a CSV release), a CSV, TSV (also .gz, .zst) or
    Parquet file, a folder or a glob of such files, or `generated`. Default: MovieLens-100K if it can be
    downloaded, else generated ratings.

    \b
    reeltrain prepare ratings.csv --out prepared
    reeltrain prepare new.csv --append prepared     # keeps existing indices and splits
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
            raise click.UsageError(f"--check takes no settings, got {given[0]!r}")
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
        {key: manifest[key] for key in _SHOWN} | {"dataset": str(dataset.path)}, _text(dataset), as_json
    )


# Keys of the manifest that are printed as they are.
_SHOWN = (
    *("rows", "dropped_rows", "first_dropped", "dropped_duplicates", "dropped_rare"),
    *("users", "items", "sparsity", "splits", "cold", "rating_scale", "rmse_floor", "fingerprint"),
    "appended",
)
# Settings of reading: those of appended ratings may differ from those of the dataset.
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
    log.info(f"data      {source.described}")
    return prepare_dataset(source, config, out, quiet=False)


def _append(data: str | None, folder: Path, settings: list[str]) -> PreparedDataset:
    from data_pipeline.config import data_config
    from data_pipeline.dataset.dataset import open_dataset
    from data_pipeline.dataset.keep_versions import require_replaceable
    from data_pipeline.prepare.append import append_ratings
    from data_pipeline.sources.open_source import open_source

    if data is None:
        raise click.UsageError("--append needs DATA, the new ratings")
    for setting in settings:
        if setting.partition("=")[0].strip().removeprefix("data.") not in _OF_READING:
            raise click.UsageError(f"{folder} is prepared, its split is fixed: {setting!r} has no effect")
    open_dataset(folder)
    require_replaceable(folder)
    source = open_source(data, data_config(settings))
    log.info(f"data      {source.described}")
    before = open_dataset(folder).version
    dataset = append_ratings(source, folder, quiet=False)
    log.info(
        f"version   {dataset.version}; {before} is kept for runs trained on it, see `reeltrain versions`"
    )
    return dataset


def _check(folder: Path) -> PreparedDataset:
    from data_pipeline.dataset.check import check_dataset
    from data_pipeline.dataset.versions import former_folders, is_former

    dataset = check_dataset(folder)
    former = 0 if is_former(folder) else len(former_folders(folder))
    also = f", also of {former} former version{'s' * (former > 1)}" if former else ""
    log.info(f"checked   {quoted(folder)}: all checksums, counts and indices match{also}")
    return dataset


def _text(dataset: PreparedDataset) -> str:
    """Counts of the dataset and of its splits, what was dropped, and where it is."""
    manifest = dataset.manifest
    lines = [
        f"{manifest['rows']:,} ratings, {manifest['users']:,} users, {manifest['items']:,} items, "
        f"sparsity {manifest['sparsity']:.2%}"
    ]
    cells = []
    for split, rows in manifest["splits"].items():
        cold = manifest["cold"].get(split)
        unknown = ["", "", ""] if cold is None else [f"{cold[key]:,}" for key in ("users", "items", "rows")]
        cells.append([split, f"{rows:,}", *unknown])
    lines.append(table(["split", "rows", "unknown users", "unknown items", "affected rows"], cells))
    lines += _dropped(manifest, "dropped")
    for new in manifest["appended"][-1:]:
        lines += _dropped(new, f"dropped of {new['rows_read']:,} appended ratings")
    if manifest["rmse_floor"] is not None:
        lines.append(f"planted noise: no model can reach a test RMSE much below {manifest['rmse_floor']:.4f}")
    return "\n".join([*lines, f"dataset: {quoted(dataset.path)}"])


def _dropped(counts: dict[str, Any], title: str) -> list[str]:
    """How many rows were dropped for which reason, and the first bad ones."""
    dropped = {
        "bad rows": counts["dropped_rows"],
        "duplicate ratings": counts["dropped_duplicates"],
        "ratings of rare users or items": counts["dropped_rare"],
    }
    reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in dropped.items() if rows)
    return [f"{title}: {reasons}"] * bool(reasons) + [f"  {line}" for line in counts["first_dropped"]]
