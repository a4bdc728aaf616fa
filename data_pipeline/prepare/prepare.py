"""From whatever holds ratings to a prepared dataset, without ever holding them all."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.config import DataConfig
from data_pipeline.dataset.dataset import PreparedDataset, open_dataset
from data_pipeline.dataset.manifest import MANIFEST, write_manifest
from data_pipeline.dataset.new_folder import new_folder
from data_pipeline.dataset.splits import DROPPED
from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.prepare.progress import PrepareProgress
from data_pipeline.prepare.splitting.assign import SplitAssignment, select_rows
from data_pipeline.prepare.splitting.rules import check_split
from data_pipeline.prepare.staging import Staging
from data_pipeline.prepare.write import training_vocabularies, write_parts, write_sides
from data_pipeline.sources.fingerprint import computed_beside
from data_pipeline.sources.source import RatingsSource


@dataclass(frozen=True)
class ExistingRows:
    """What a dataset that is added to has already.

    Attributes:
        labels: uint8, the parts of the rows that were staged first.
        num_users, num_items: ids that have an index, which stays.
    """

    labels: np.ndarray
    num_users: int
    num_items: int


def prepare_dataset(
    source: RatingsSource, config: DataConfig, out: Path, *, distinct: bool = False, quiet: bool = True
) -> PreparedDataset:
    """Reads, splits, indexes and writes ratings to the new folder `out`, whole or not at all.

    Args:
        distinct: pairs of user and item are taken as they are, also where some repeat.
        quiet: shows no progress on stderr.

    Raises:
        UserError: a mistake in the ratings or the settings, or `out` is not empty.
        OSError: the disk is full, in words.
    """
    check_split(config)
    progress = PrepareProgress(quiet=quiet)
    try:
        with (
            new_folder(out, last=MANIFEST) as folder,
            computed_beside(lambda: source.fingerprint) as fingerprint,
        ):
            staging = open_staging(folder, seed=config.split_seed)
            try:
                report = ReadReport()
                stage(source, staging, report, progress)
                num_train = None
                if source.test is not None:
                    num_train = staging.num_rows
                    stage(source.test, staging, report, progress)
                staging.finish()
                progress.selecting("selecting", staging.num_rows)
                selection = select_rows(
                    staging,
                    config,
                    num_train=num_train,
                    distinct=distinct,
                    say=lambda what: progress.selecting(what, staging.num_rows),
                )
                facts = write_files(folder, staging, selection, source.users, source.items, progress)
            finally:
                close_staging(staging)
            write_manifest(
                folder,
                {
                    "name": source.name,
                    "dropped_rows": report.dropped_rows,
                    "first_dropped": report.first_dropped,
                    "rmse_floor": source.rmse_floor,
                    "settings": asdict(config),
                    **facts,
                    "source_fingerprint": fingerprint.result(),
                    "source_files": [path.name for path in source.files],
                    "appended": [],
                },
            )
    finally:
        progress.close()
    return open_dataset(out)


def open_staging(
    folder: Path, *, seed: int, users: pa.Array | None = None, items: pa.Array | None = None
) -> Staging:
    """Staging in a folder of its own."""
    (folder / "staging").mkdir()
    return Staging(folder / "staging", seed=seed, users=users, items=items)


def close_staging(staging: Staging) -> None:
    """Gives the room on the disk back."""
    staging.close()
    shutil.rmtree(staging.folder, ignore_errors=True)


def stage(source: RatingsSource, staging: Staging, report: ReadReport, progress: PrepareProgress) -> None:
    """Reads the source to its end."""
    for batch in source.batches(report):
        staging.append(batch)
        progress.reading(report, staging.num_rows)


def write_files(
    folder: Path,
    staging: Staging,
    selection: SplitAssignment,
    user_table: pa.Table | None,
    item_table: pa.Table | None,
    progress: PrepareProgress,
    *,
    old: ExistingRows | None = None,
) -> dict[str, Any]:
    """Writes all files but the manifest; returns what that says of them."""
    progress.selecting("indexing", staging.num_rows)
    users, items = training_vocabularies(
        staging,
        selection.labels,
        old_users=old.num_users if old else 0,
        old_items=old.num_items if old else 0,
    )
    facts = write_parts(
        folder,
        staging,
        selection,
        users,
        items,
        done=lambda rows: progress.writing(rows, staging.num_rows),
    )
    facts["files"] |= write_sides(folder, users, items, user_table, item_table)
    num_users, num_items = len(users.vocabulary.ids), len(items.vocabulary.ids)
    return {
        "rows": int(np.count_nonzero(selection.labels != DROPPED)),
        "dropped_duplicates": selection.distinct.num_dropped,
        "dropped_rare": selection.num_rare,
        "users": num_users,
        "items": num_items,
        "sparsity": 1 - facts["splits"]["train"] / (num_users * num_items),
        **facts,
    }
