"""The verb `versions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from data_pipeline.logs import log
from launch.options import AS_PATH, json_option, print_result
from launch.tables import quoted, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_pipeline.dataset.versions import DatasetVersion


@click.command()
@click.argument("dataset", type=AS_PATH)
@click.option("--drop", multiple=True, metavar="ID", help="Delete this former version; repeatable.")
@click.option("--restore", metavar="ID", help="Make this version the present one: undo an append.")
@json_option
def versions(dataset: Path, drop: tuple[str, ...], restore: str | None, as_json: bool) -> None:
    """List, drop or restore the versions of a prepared dataset.

    An append keeps the version that it replaces, so that runs trained on it can be used and continued. As
    much of an ID is enough as tells it from the others.

    \b
    reeltrain versions prepared
    reeltrain versions prepared --restore 046a      # the version it replaces is kept
    reeltrain versions prepared --drop 55e --drop 9c2
    """
    if drop and restore is not None:
        raise click.UsageError("give --drop or --restore, got both")
    from data_pipeline.dataset.keep_versions import drop_versions, restore_version
    from data_pipeline.dataset.versions import dataset_versions

    if drop:
        log.info(
            f"dropped   {', '.join(drop_versions(dataset, drop))}; runs trained on it can no longer be used"
        )
    if restore is not None:
        log.info(f"present   {restore_version(dataset, restore).version}")
    found = dataset_versions(dataset)
    print_result(
        {"dataset": str(dataset), "versions": [each.fields() for each in found]},
        f"{_table(found)}\ndataset: {quoted(dataset)}",
        as_json,
    )


def _table(versions: Sequence[DatasetVersion]) -> str:
    """One row per version, oldest first."""
    heads = [
        "version",
        "created (UTC)",
        "train",
        "valid.",
        "test",
        "users",
        "items",
        "appended",
        "kB",
        "own kB",
    ]
    cells = []
    for each in versions:
        counts = [*(each.splits.get(split, 0) for split in ("train", "validation", "test")), each.users]
        counts += [each.items, each.appended]
        sizes = [f"{size / 1e3:,.0f}" for size in (each.bytes, each.own_bytes)]
        state = "present" if each.is_present else "damaged" if each.damage else ""
        created = each.created[:19].replace("T", " ")
        cells.append([each.id, created, *(f"{count:,}" for count in counts), *sizes, state])
    return table([*heads, ""], cells, left=(0, 1, 10))
