"""Prepares a dataset in steps: stage the rows, assign splits, index ids, write the files."""

from __future__ import annotations

import contextlib
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
from data_pipeline.logs import shown
from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.prepare.progress import PrepareProgress
from data_pipeline.prepare.splitting.assign import SplitAssignment, assign_splits
from data_pipeline.prepare.splitting.rules import check_split
from data_pipeline.prepare.staging import Staging
from data_pipeline.prepare.write import training_vocabularies, write_splits, write_users_and_items
from data_pipeline.sources.fingerprint import computed_in_background
from data_pipeline.sources.source import RatingsSource


@dataclass(frozen=True)
class ExistingRows:
    """What an existing dataset fixes when ratings are appended to it.

    Attributes:
        split_of_row: uint8, the split numbers of the existing rows, which are staged first.
        num_users, num_items: the number of ids whose index must not change; they have the first codes.
    """

    split_of_row: np.ndarray
    num_users: int
    num_items: int


def prepare_dataset(
    source: RatingsSource, config: DataConfig, out: Path, *, distinct: bool = False, quiet: bool = True
) -> PreparedDataset:
    """Reads, splits and indexes ratings and writes them to the new folder `out`, atomically.

    Args:
        distinct: skips the search for repeated (user, item) pairs and keeps all rows.
        quiet: shows no progress on stderr.

    Raises:
        UserError: bad ratings or settings, or `out` is not empty.
        OSError: the disk is full; the message says so.
    """
    check_split(config)
    progress = PrepareProgress(quiet=quiet)
    with (
        shown(quiet=quiet),
        contextlib.closing(progress),
        new_folder(out, last=MANIFEST) as folder,
        computed_in_background(lambda: source.fingerprint) as fingerprint,
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
            progress.selecting("assigning splits", staging.num_rows)
            assignment = assign_splits(
                staging,
                config,
                num_train=num_train,
                distinct=distinct,
                on_phase=lambda phase: progress.selecting(phase, staging.num_rows),
            )
            facts = write_files(folder, staging, assignment, source.users, source.items, progress)
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
    return open_dataset(out)


def open_staging(
    folder: Path, *, seed: int, users: pa.Array | None = None, items: pa.Array | None = None
) -> Staging:
    """Creates the staging area in a subfolder."""
    (folder / "staging").mkdir()
    return Staging(folder / "staging", seed=seed, users=users, items=items)


def close_staging(staging: Staging) -> None:
    """Closes the staging area and deletes its files."""
    staging.close()
    shutil.rmtree(staging.folder, ignore_errors=True)


def stage(source: RatingsSource, staging: Staging, report: ReadReport, progress: PrepareProgress) -> None:
    """Reads all rows of the source into the staging area."""
    for batch in source.batches(report):
        staging.append(batch)
        progress.reading(report, staging.num_rows)


def write_files(
    folder: Path,
    staging: Staging,
    assignment: SplitAssignment,
    user_table: pa.Table | None,
    item_table: pa.Table | None,
    progress: PrepareProgress,
    *,
    existing: ExistingRows | None = None,
) -> dict[str, Any]:
    """Writes all files except the manifest; returns their entries for the manifest."""
    progress.selecting("indexing", staging.num_rows)
    users, items = training_vocabularies(
        staging,
        assignment.split_of_row,
        num_existing_users=existing.num_users if existing else 0,
        num_existing_items=existing.num_items if existing else 0,
    )
    facts = write_splits(
        folder,
        staging,
        assignment,
        users,
        items,
        done=lambda rows: progress.writing(rows, staging.num_rows),
    )
    facts["files"] |= write_users_and_items(folder, users, items, user_table, item_table)
    num_users, num_items = len(users.vocabulary.ids), len(items.vocabulary.ids)
    return {
        "rows": int(np.count_nonzero(assignment.split_of_row != DROPPED)),
        "dropped_duplicates": assignment.duplicates.num_dropped,
        "dropped_rare": assignment.num_rare,
        "users": num_users,
        "items": num_items,
        "sparsity": 1 - facts["splits"]["train"] / (num_users * num_items),
        **facts,
    }
