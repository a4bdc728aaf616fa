"""Adds new ratings to a prepared dataset."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset.dataset import OTHER_ITEMS, OTHER_USERS, PreparedDataset, open_dataset
from data_pipeline.dataset.keep_versions import keep_versions, require_replaceable
from data_pipeline.dataset.manifest import write_manifest
from data_pipeline.dataset.new_folder import replaced_folder
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.errors import UserError
from data_pipeline.logs import shown
from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.prepare.prepare import ExistingRows, close_staging, open_staging, stage, write_files
from data_pipeline.prepare.progress import PrepareProgress
from data_pipeline.prepare.splitting.assign import assign_splits
from data_pipeline.sources.fingerprint import computed_in_background
from data_pipeline.sources.source import RatingsSource


def append_ratings(source: RatingsSource, path: Path, *, quiet: bool = True) -> PreparedDataset:
    """Adds ratings to the prepared dataset in the folder `path`, which is replaced atomically.

    - Existing rows stay in their split, so test rows are never trained on.
    - New rows are split among themselves with the dataset's own rule and seed. Shares are rounded down, so a
      single new row is a training row. With a predefined pair all new rows are training rows.
    - Existing ids keep their index. New ids of training rows get the next indices, in sorted order.
    - `data.duplicates` applies to new and existing ratings of a (user, item) pair together; the remaining row
      takes the split of the existing one. `mean` is the unweighted mean of the stored rating, possibly a mean
      itself, and the new ones.
    - The k-core drops new rows only.
    - All rows are stored in a new random order.
    - The former version is kept in the folder, as are those before it; see `keep_versions`.

    Raises:
        UserError: not a prepared dataset, or ratings that do not fit it.
        OSError: the disk is full; the message says so.
    """
    if source.test is not None:
        raise UserError(f"{path}: appended ratings must be one set, got a predefined pair of train and test")
    require_replaceable(path)
    open_dataset(path)
    progress = PrepareProgress(quiet=quiet)
    with (
        shown(quiet=quiet),
        contextlib.closing(progress),
        replaced_folder(path) as folder,
        computed_in_background(lambda: source.fingerprint) as fingerprint,
    ):
        # Opened again, now under the lock: another process may have replaced the dataset meanwhile.
        dataset = open_dataset(path)
        config = dataset.settings
        users, items = dataset.user_vocabulary.ids, dataset.item_vocabulary.ids
        staging = open_staging(folder, seed=config.split_seed, users=users, items=items)
        try:
            split_numbers = []
            for split_number, batch in _stored_rows(dataset):
                staging.append(batch)
                split_numbers.append(np.full(len(batch), split_number, np.uint8))
            num_existing = staging.num_rows
            report = ReadReport()
            stage(_same_columns(source, dataset), staging, report, progress)
            staging.finish()
            existing = ExistingRows(np.concatenate(split_numbers), num_users=len(users), num_items=len(items))
            assignment = assign_splits(
                staging,
                config,
                existing_splits=existing.split_of_row,
                on_phase=lambda phase: progress.selecting(phase, staging.num_rows),
            )
            facts = write_files(
                folder,
                staging,
                assignment,
                _merged_side_table("user_id", dataset.users, dataset.others(OTHER_USERS), source.users),
                _merged_side_table("item_id", dataset.items, dataset.others(OTHER_ITEMS), source.items),
                progress,
                existing=existing,
            )
        finally:
            close_staging(staging)
        new = {
            "source_fingerprint": fingerprint.result(),
            "source_files": [file.name for file in source.files],
            "rows_read": staging.num_rows - num_existing,
            "dropped_rows": report.dropped_rows,
            "first_dropped": report.first_dropped,
            "dropped_duplicates": facts["dropped_duplicates"],
            "dropped_rare": facts["dropped_rare"],
        }
        write_manifest(folder, _manifest_of_both(dataset.manifest, facts, new))
        keep_versions(folder, path.resolve())
    return open_dataset(path)


def _manifest_of_both(before: dict[str, Any], facts: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a dataset after an append; `facts` describe its files, `new` the appended rows."""
    both = before["source_fingerprint"] + new["source_fingerprint"]
    return {
        "name": before["name"],
        "dropped_rows": before["dropped_rows"] + new["dropped_rows"],
        "first_dropped": before["first_dropped"],
        "rmse_floor": None,
        "settings": before["settings"],
        **facts,
        **{key: before[key] + facts[key] for key in ("dropped_duplicates", "dropped_rare")},
        "source_fingerprint": hashlib.sha256(both.encode()).hexdigest(),
        "source_files": before["source_files"],
        "appended": [*before["appended"], new],
    }


def _stored_rows(dataset: PreparedDataset) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(split number, rows with raw ids) for all record batches of the dataset, in stored order."""
    for split_number, split in enumerate(SPLITS):
        for batch in dataset.table(split).to_batches():
            yield split_number, dataset.with_raw_ids(batch)


def _same_columns(source: RatingsSource, dataset: PreparedDataset) -> RatingsSource:
    """Wraps the source: its batches must have exactly the optional columns of the dataset."""
    required = {"timestamp", "weight"} & set(dataset.table("train").column_names)

    def batches(report: ReadReport) -> Iterator[pa.RecordBatch]:
        for batch in source.batches(report):
            optional = {"timestamp", "weight"} & set(batch.schema.names)
            if optional != required:
                raise UserError(
                    f"{dataset.path}: appended ratings must have the dataset's columns (user_id, item_id, "
                    f"{', '.join(['rating', *sorted(required)])}), got {', '.join(batch.schema.names)}"
                )
            yield batch

    return RatingsSource(
        name=source.name,
        described=source.described,
        files=source.files,
        batches=batches,
        digest=lambda: source.fingerprint,
    )


def _merged_side_table(key: str, known: pa.Table, others: pa.Table | None, new: pa.Table | None) -> pa.Table:
    """Side features of all ids: those of the dataset, completed by new ones."""
    table = known if others is None else _merged(key, known, others)
    return table if new is None else _merged(key, table, new)


def _merged(key: str, old: pa.Table, new: pa.Table) -> pa.Table:
    """Merges two side tables; for ids in both, old values win, and their nulls are filled with new values."""
    if new[key].type != old[key].type:
        old = old.set_column(old.column_names.index(key), key, old[key].cast(pa.string()))
        new = new.set_column(new.column_names.index(key), key, new[key].cast(pa.string()))
    try:
        both = pa.concat_tables([old, new], promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"side table of {key}: must fit the dataset's, got {reason}") from None
    first, second = both.slice(0, len(old)), both.slice(len(old))
    position = pc.index_in(first[key], value_set=second[key].combine_chunks())
    filled = {n: pc.coalesce(first[n], second[n].take(position)) for n in both.column_names}
    known = pc.is_in(second[key], value_set=first[key].combine_chunks())
    return pa.concat_tables([pa.table(filled, schema=both.schema), second.filter(pc.invert(known))])
