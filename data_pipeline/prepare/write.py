"""Writes staged rows as the files of a dataset: codes become indices, rows are stored in random order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset.arrow_file import ArrowFile, write_table
from data_pipeline.dataset.dataset import OTHER_ITEMS, OTHER_USERS
from data_pipeline.dataset.splits import SPLITS, TRAIN
from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX, Vocabulary
from data_pipeline.prepare.splitting.assign import SplitAssignment
from data_pipeline.prepare.staging import NUM_THREADS, Staging
from data_pipeline.prepare.stored_order import order_keys
from data_pipeline.threads import in_order

# Rows in a group of buckets, which one thread processes at a time: about 25 MB with all copies.
BUCKET_GROUP_ROWS = 1 << 19


@dataclass(frozen=True)
class EntityIndex:
    """The ids and indices of the users, or of the items.

    Attributes:
        vocabulary: existing ids in index order (only in `append`), then the other ids of training rows,
            sorted.
        index_of_code: int32, code -> index.
        id_of_code: code -> raw id.
    """

    vocabulary: Vocabulary
    index_of_code: np.ndarray
    id_of_code: pa.Array


def training_vocabularies(
    staging: Staging,
    split_of_row: np.ndarray,
    *,
    num_existing_users: int = 0,
    num_existing_items: int = 0,
) -> tuple[EntityIndex, EntityIndex]:
    """Indexes the users and items of the training rows.

    Args:
        num_existing_users, num_existing_items: the number of ids that already have an index. They have the
            first codes and keep their index, code + 1.
    """
    seen_user = np.zeros(len(staging.users), bool)
    seen_item = np.zeros(len(staging.items), bool)
    seen_user[:num_existing_users] = seen_item[:num_existing_items] = True

    def see(chunk: dict[str, np.ndarray]) -> None:
        in_train = split_of_row[chunk["row"]] == TRAIN
        seen_user[chunk["user"][in_train]] = True
        seen_item[chunk["item"][in_train]] = True

    staging.each_chunk(["row", "user", "item"], see)
    return (
        _entity_index(staging.users.ids(), seen_user, num_existing=num_existing_users),
        _entity_index(staging.items.ids(), seen_item, num_existing=num_existing_items),
    )


def _entity_index(ids: pa.Array, seen: np.ndarray, *, num_existing: int) -> EntityIndex:
    new = np.flatnonzero(seen[num_existing:]) + num_existing
    new_ids = ids.take(pa.array(new))
    order = pc.sort_indices(new_ids).to_numpy()
    index_of_code = np.full(len(ids), UNKNOWN_INDEX, np.int32)
    index_of_code[:num_existing] = np.arange(1, num_existing + 1)
    index_of_code[new[order]] = np.arange(num_existing + 1, num_existing + 1 + len(new))
    known = pa.concat_arrays([ids.slice(0, num_existing), new_ids.take(pa.array(order))])
    return EntityIndex(Vocabulary(known), index_of_code, ids)


def write_splits(
    folder: Path,
    staging: Staging,
    assignment: SplitAssignment,
    users: EntityIndex,
    items: EntityIndex,
    *,
    done: Callable[[int], None] = lambda _rows: None,
) -> dict[str, Any]:
    """Writes train, validation and test; returns their entries for the manifest.

    Args:
        done: called with the number of rows processed so far.
    """
    split_of_row = assignment.split_of_row
    schemas = [_schema(staging, users, items, raw_ids=split != "train") for split in SPLITS]
    files = [ArrowFile(folder / f"{split}.arrow", s) for split, s in zip(SPLITS, schemas, strict=True)]
    cold = [_ColdStartCounts(users, items) for _ in SPLITS]
    scale = [np.inf, -np.inf]
    num_done = 0
    try:
        for num_rows, parts in _ordered_parts(staging, split_of_row, assignment, users, items):
            for split_number, columns in enumerate(parts):
                rating = columns["rating"]
                if split_number == TRAIN and len(rating):
                    scale = [min(scale[0], rating.min()), max(scale[1], rating.max())]
                elif split_number != TRAIN:
                    cold[split_number].count(columns)
                files[split_number].write(columns)
            num_done += num_rows
            done(num_done)
        return {
            "rating_scale": [float(scale[0]), float(scale[1])],
            "splits": {split: file.num_rows for split, file in zip(SPLITS, files, strict=True)},
            "cold": {split: cold[number].counts() for number, split in enumerate(SPLITS) if number != TRAIN},
            "files": {f"{split}.arrow": file.finish() for split, file in zip(SPLITS, files, strict=True)},
        }
    finally:
        for file in files:
            file.close()


def write_users_and_items(
    folder: Path,
    users: EntityIndex,
    items: EntityIndex,
    user_table: pa.Table | None,
    item_table: pa.Table | None,
) -> dict[str, Any]:
    """Writes the users and items; returns the entries of their files for the manifest.

    Side features of ids without a training row are kept in separate files, because ratings that are appended
    later may have these ids.
    """
    tables = {
        "users.arrow": _entity_table("user_id", users.vocabulary, user_table),
        "items.arrow": _entity_table("item_id", items.vocabulary, item_table),
    }
    if "title" not in tables["items.arrow"].column_names:
        nulls = pa.nulls(len(items.vocabulary.ids), pa.string())
        tables["items.arrow"] = tables["items.arrow"].append_column("title", nulls)
    for name, key, entities, table in (
        (OTHER_USERS, "user_id", users, user_table),
        (OTHER_ITEMS, "item_id", items, item_table),
    ):
        if table is not None:
            others = table.filter(pa.array(entities.vocabulary.index(table[key]) == UNKNOWN_INDEX))
            if len(others):
                tables[name] = others
    return {name: write_table(folder / name, table) for name, table in tables.items()}


class _ColdStartCounts:
    """Counts the users and items of a split that have no training row, and their rows."""

    def __init__(self, users: EntityIndex, items: EntityIndex) -> None:
        self._seen = {
            "user": np.zeros(len(users.id_of_code), bool),
            "item": np.zeros(len(items.id_of_code), bool),
        }
        self._rows = {"user": 0, "item": 0}
        self._either = 0

    def count(self, columns: dict[str, Any]) -> None:
        unknown = {entity: columns[f"{entity}_index"] == UNKNOWN_INDEX for entity in self._seen}
        for entity, seen in self._seen.items():
            seen[columns[f"{entity}_code"][unknown[entity]]] = True
            self._rows[entity] += int(np.count_nonzero(unknown[entity]))
        self._either += int(np.count_nonzero(unknown["user"] | unknown["item"]))

    def counts(self) -> dict[str, int]:
        return {
            "users": int(self._seen["user"].sum()),
            "items": int(self._seen["item"].sum()),
            "rows_of_cold_users": self._rows["user"],
            "rows_of_cold_items": self._rows["item"],
            "rows": self._either,
        }


def _schema(staging: Staging, users: EntityIndex, items: EntityIndex, *, raw_ids: bool) -> pa.Schema:
    fields = [("user_id", users.id_of_code.type), ("item_id", items.id_of_code.type)] if raw_ids else []
    fields += [("user_index", pa.int32()), ("item_index", pa.int32()), ("rating", pa.float32())]
    kinds = {"timestamp": pa.int64(), "weight": pa.float32()}
    fields += [(name, kind) for name, kind in kinds.items() if name in staging.names]
    return pa.schema(fields)


def _ordered_parts(
    staging: Staging,
    split_of_row: np.ndarray,
    assignment: SplitAssignment,
    users: EntityIndex,
    items: EntityIndex,
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """For each group of buckets: (number of rows, columns of its rows for each split), in stored order."""

    def ordered(group: tuple[int, int]) -> tuple[int, list[dict[str, Any]]]:
        columns = staging.rows_of_buckets(group)
        row = columns["row"]
        split = split_of_row[row]
        if len(assignment.duplicates.mean_rows):
            _set_means(columns, assignment)
        order = _argsort(order_keys(row, staging.seed))
        split = split[order]
        return len(row), [
            _part(columns, order[split == number], users, items, raw_ids=number != TRAIN)
            for number in range(len(SPLITS))
        ]

    tasks = (partial(ordered, group) for group in staging.bucket_groups(BUCKET_GROUP_ROWS))
    with ThreadPoolExecutor(NUM_THREADS, "write") as threads:
        yield from in_order(tasks, threads, ahead=NUM_THREADS)


def _argsort(keys: np.ndarray) -> np.ndarray:
    """A stable `np.argsort` of uint32 in two passes, because NumPy has a radix sort only up to 16 bits."""
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    upper = (keys >> np.uint32(16)).astype(np.uint16)
    return order[np.argsort(upper[order], kind="stable")]


def _part(
    columns: dict[str, np.ndarray],
    rows: np.ndarray,
    users: EntityIndex,
    items: EntityIndex,
    *,
    raw_ids: bool,
) -> dict[str, Any]:
    user, item = columns["user"][rows], columns["item"][rows]
    part: dict[str, Any] = {"user_index": users.index_of_code[user], "item_index": items.index_of_code[item]}
    part |= {name: columns[name][rows] for name in ("rating", "timestamp", "weight") if name in columns}
    if raw_ids:
        part |= {
            "user_id": users.id_of_code.take(pa.array(user)),
            "item_id": items.id_of_code.take(pa.array(item)),
        }
        part |= {"user_code": user, "item_code": item}
    return part


def _set_means(columns: dict[str, np.ndarray], assignment: SplitAssignment) -> None:
    """Replaces the rating of rows that stand for several ratings by their mean."""
    rows, means = assignment.duplicates.mean_rows, assignment.duplicates.mean_ratings
    position = np.minimum(np.searchsorted(rows, columns["row"]), len(rows) - 1)
    is_mean = rows[position] == columns["row"]
    columns["rating"][is_mean] = means[position[is_mean]]


def _entity_table(key: str, vocabulary: Vocabulary, side_table: pa.Table | None) -> pa.Table:
    """One row per known id, in index order, with the columns of the side table; null for ids it lacks."""
    columns = {key: vocabulary.ids}
    if side_table is not None:
        side_row = Vocabulary(side_table[key].combine_chunks()).index(vocabulary.ids) - 1
        rows = pa.array(side_row, mask=side_row < 0)
        columns |= {name: side_table[name].take(rows) for name in side_table.column_names if name != key}
    return pa.table(columns)
