"""New ratings for a prepared dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset.dataset import OTHER_ITEMS, OTHER_USERS, PreparedDataset, open_dataset
from data_pipeline.dataset.manifest import write_manifest
from data_pipeline.dataset.new_folder import replaced_folder
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.errors import UserError
from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.prepare.prepare import ExistingRows, close_staging, open_staging, stage, write_files
from data_pipeline.prepare.progress import PrepareProgress
from data_pipeline.prepare.splitting.assign import select_rows
from data_pipeline.sources.fingerprint import computed_beside
from data_pipeline.sources.source import RatingsSource


def append_ratings(source: RatingsSource, path: Path, *, quiet: bool = True) -> PreparedDataset:
    """Adds ratings to the prepared dataset in the folder `path`, which is replaced whole or left alone.

    Rows that are there stay in their part: what was tested on is never trained on. The new rows are split
    among themselves by the dataset's own rule and seed, shares rounded down, so that of one new row none is
    test; with a predefined pair all of them are for training.
    Ids that have an index keep it, new ids of training rows get the next ones, sorted. A new rating of a pair
    that is there takes part in `data.duplicates` with the stored one, and if it stays, it takes that one's
    part; a `mean` is that of the stored rating, itself maybe a mean, and the new ones, weighted alike. A
    k-core drops new rows only. The rows are stored in a random order anew.

    Raises:
        UserError: no dataset there, or ratings that do not fit it.
        OSError: the disk is full, in words.
    """
    if source.test is not None:
        raise UserError(f"{path}: takes ratings of one part, got a predefined pair of two")
    open_dataset(path)
    progress = PrepareProgress(quiet=quiet)
    try:
        with replaced_folder(path) as folder, computed_beside(lambda: source.fingerprint) as fingerprint:
            # Only now: another process may have replaced it before this one had the lock.
            dataset = open_dataset(path)
            config = dataset.settings
            users, items = dataset.user_vocabulary.ids, dataset.item_vocabulary.ids
            staging = open_staging(folder, seed=config.split_seed, users=users, items=items)
            try:
                labels = []
                for label, batch in _stored_rows(dataset):
                    staging.append(batch)
                    labels.append(np.full(len(batch), label, np.uint8))
                num_old = staging.num_rows
                report = ReadReport()
                stage(_same_columns(source, dataset), staging, report, progress)
                staging.finish()
                old = ExistingRows(np.concatenate(labels), num_users=len(users), num_items=len(items))
                selection = select_rows(
                    staging,
                    config,
                    old_labels=old.labels,
                    say=lambda what: progress.selecting(what, staging.num_rows),
                )
                facts = write_files(
                    folder,
                    staging,
                    selection,
                    _side("user_id", dataset.users, dataset.others(OTHER_USERS), source.users),
                    _side("item_id", dataset.items, dataset.others(OTHER_ITEMS), source.items),
                    progress,
                    old=old,
                )
            finally:
                close_staging(staging)
            before = dataset.manifest
            new = {
                "source_fingerprint": fingerprint.result(),
                "source_files": [file.name for file in source.files],
                "rows_read": staging.num_rows - num_old,
                "dropped_rows": report.dropped_rows,
                "first_dropped": report.first_dropped,
                "dropped_duplicates": facts["dropped_duplicates"],
                "dropped_rare": facts["dropped_rare"],
            }
            both = before["source_fingerprint"] + new["source_fingerprint"]
            sums = ("dropped_duplicates", "dropped_rare")
            write_manifest(
                folder,
                {
                    "name": before["name"],
                    "dropped_rows": before["dropped_rows"] + report.dropped_rows,
                    "first_dropped": before["first_dropped"],
                    "rmse_floor": None,
                    "settings": before["settings"],
                    **facts,
                    **{key: before[key] + facts[key] for key in sums},
                    "source_fingerprint": hashlib.sha256(both.encode()).hexdigest(),
                    "source_files": before["source_files"],
                    "appended": [*before["appended"], new],
                },
            )
    finally:
        progress.close()
    return open_dataset(path)


def _stored_rows(dataset: PreparedDataset) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(part, rows with raw ids) of all rows, in stored order."""
    for label, split in enumerate(SPLITS):
        for batch in dataset.table(split).to_batches():
            yield label, dataset.with_raw_ids(batch)


def _same_columns(source: RatingsSource, dataset: PreparedDataset) -> RatingsSource:
    """The source, whose batches must have the columns that the dataset has."""
    wanted = {"timestamp", "weight"} & set(dataset.table("train").column_names)

    def batches(report: ReadReport) -> Iterator[pa.RecordBatch]:
        for batch in source.batches(report):
            found = {"timestamp", "weight"} & set(batch.schema.names)
            if found != wanted:
                raise UserError(
                    f"{dataset.path}: what is appended must have the dataset's columns (user_id, item_id, "
                    f"{', '.join(['rating', *sorted(wanted)])}), got {', '.join(batch.schema.names)}"
                )
            yield batch

    return RatingsSource(
        name=source.name,
        described=source.described,
        files=source.files,
        batches=batches,
        digest=lambda: source.fingerprint,
    )


def _side(key: str, told: pa.Table, others: pa.Table | None, new: pa.Table | None) -> pa.Table:
    """What is known of old and new ids: what the dataset has, and where it has nothing what is new."""
    table = told if others is None else _joined(key, told, others)
    return table if new is None else _joined(key, table, new)


def _joined(key: str, old: pa.Table, new: pa.Table) -> pa.Table:
    """The rows of both; of an id that both have each value is the old one, or the new one for null."""
    if new[key].type != old[key].type:
        old = old.set_column(old.column_names.index(key), key, old[key].cast(pa.string()))
        new = new.set_column(new.column_names.index(key), key, new[key].cast(pa.string()))
    try:
        both = pa.concat_tables([old, new], promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"side table of {key}: must fit the dataset's, got {reason}") from None
    first, second = both.slice(0, len(old)), both.slice(len(old))
    place = pc.index_in(first[key], value_set=second[key].combine_chunks())
    filled = {n: pc.coalesce(first[n], second[n].take(place)) for n in both.column_names}
    known = pc.is_in(second[key], value_set=first[key].combine_chunks())
    return pa.concat_tables([pa.table(filled, schema=both.schema), second.filter(pc.invert(known))])
