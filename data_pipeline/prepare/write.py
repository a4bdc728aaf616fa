"""From staged rows to a prepared dataset's files: indices for codes, rows in random order, part by part."""

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

# Rows of a range of buckets that one thread works on: about 25 MB with all its copies.
BUCKET_GROUP_ROWS = 1 << 19


@dataclass(frozen=True)
class EntityIndex:
    """Users or items.

    Attributes:
        vocabulary: ids of the training rows; after `num_old` ids that had their index before, sorted.
        index_of: int32, code -> index.
        ids: the id of each code.
    """

    vocabulary: Vocabulary
    index_of: np.ndarray
    ids: pa.Array


def training_vocabularies(
    staging: Staging, labels: np.ndarray, *, old_users: int = 0, old_items: int = 0
) -> tuple[EntityIndex, EntityIndex]:
    """Users and items of the training rows.

    Args:
        old_users, old_items: so many ids, the first codes, have their code + 1 as index already and keep it.
    """
    seen_user = np.zeros(len(staging.users), bool)
    seen_item = np.zeros(len(staging.items), bool)
    seen_user[:old_users] = seen_item[:old_items] = True

    def see(chunk: dict[str, np.ndarray]) -> None:
        in_train = labels[chunk["row"]] == TRAIN
        seen_user[chunk["user"][in_train]] = True
        seen_item[chunk["item"][in_train]] = True

    staging.each_chunk(["row", "user", "item"], see)
    return (
        _side(staging.users.ids(), seen_user, num_old=old_users),
        _side(staging.items.ids(), seen_item, num_old=old_items),
    )


def _side(ids: pa.Array, seen: np.ndarray, *, num_old: int) -> EntityIndex:
    new = np.flatnonzero(seen[num_old:]) + num_old
    new_ids = ids.take(pa.array(new))
    order = pc.sort_indices(new_ids).to_numpy()
    index_of = np.full(len(ids), UNKNOWN_INDEX, np.int32)
    index_of[:num_old] = np.arange(1, num_old + 1)
    index_of[new[order]] = np.arange(num_old + 1, num_old + 1 + len(new))
    known = pa.concat_arrays([ids.slice(0, num_old), new_ids.take(pa.array(order))])
    return EntityIndex(Vocabulary(known), index_of, ids)


def write_parts(
    folder: Path,
    staging: Staging,
    selection: SplitAssignment,
    users: EntityIndex,
    items: EntityIndex,
    *,
    done: Callable[[int], None] = lambda _rows: None,
) -> dict[str, Any]:
    """Writes train, validation and test; returns what the manifest says of them.

    Args:
        done: is told how many rows are dealt with.
    """
    labels = selection.labels
    schemas = [_schema(staging, users, items, raw_ids=split != "train") for split in SPLITS]
    files = [ArrowFile(folder / f"{split}.arrow", s) for split, s in zip(SPLITS, schemas, strict=True)]
    cold = [_Cold(users, items) for _ in SPLITS]
    scale = [np.inf, -np.inf]
    num_done = 0
    try:
        for num_rows, parts in _ordered_parts(staging, labels, selection, users, items):
            for label, columns in enumerate(parts):
                rating = columns["rating"]
                if label == TRAIN and len(rating):
                    scale = [min(scale[0], rating.min()), max(scale[1], rating.max())]
                elif label != TRAIN:
                    cold[label].count(columns)
                files[label].write(columns)
            num_done += num_rows
            done(num_done)
        return {
            "rating_scale": [float(scale[0]), float(scale[1])],
            "splits": {split: file.num_rows for split, file in zip(SPLITS, files, strict=True)},
            "cold": {split: cold[label].counts() for label, split in enumerate(SPLITS) if label != TRAIN},
            "files": {f"{split}.arrow": file.finish() for split, file in zip(SPLITS, files, strict=True)},
        }
    finally:
        for file in files:
            file.close()


def write_sides(
    folder: Path,
    users: EntityIndex,
    items: EntityIndex,
    user_table: pa.Table | None,
    item_table: pa.Table | None,
) -> dict[str, Any]:
    """Writes users and items; returns what the manifest says of the files.

    What the side tables tell of ids that no training row has goes to files of its own, if there is any:
    ratings that are appended later may have these ids.
    """
    tables = {
        "users.arrow": _side_table("user_id", users.vocabulary, user_table),
        "items.arrow": _side_table("item_id", items.vocabulary, item_table),
    }
    if "title" not in tables["items.arrow"].column_names:
        nulls = pa.nulls(len(items.vocabulary.ids), pa.string())
        tables["items.arrow"] = tables["items.arrow"].append_column("title", nulls)
    for name, key, side, table in (
        (OTHER_USERS, "user_id", users, user_table),
        (OTHER_ITEMS, "item_id", items, item_table),
    ):
        if table is not None:
            others = table.filter(pa.array(side.vocabulary.index(table[key]) == UNKNOWN_INDEX))
            if len(others):
                tables[name] = others
    return {name: write_table(folder / name, table) for name, table in tables.items()}


class _Cold:
    """Rows of a part whose user or item training does not have, and how many users and items that are."""

    def __init__(self, users: EntityIndex, items: EntityIndex) -> None:
        self._seen = {"user": np.zeros(len(users.ids), bool), "item": np.zeros(len(items.ids), bool)}
        self._rows = {"user": 0, "item": 0}
        self._any = 0

    def count(self, columns: dict[str, Any]) -> None:
        unknown = {side: columns[f"{side}_index"] == UNKNOWN_INDEX for side in self._seen}
        for side, seen in self._seen.items():
            seen[columns[f"{side}_code"][unknown[side]]] = True
            self._rows[side] += int(np.count_nonzero(unknown[side]))
        self._any += int(np.count_nonzero(unknown["user"] | unknown["item"]))

    def counts(self) -> dict[str, int]:
        return {
            "users": int(self._seen["user"].sum()),
            "items": int(self._seen["item"].sum()),
            "rows_of_cold_users": self._rows["user"],
            "rows_of_cold_items": self._rows["item"],
            "rows": self._any,
        }


def _schema(staging: Staging, users: EntityIndex, items: EntityIndex, *, raw_ids: bool) -> pa.Schema:
    fields = [("user_id", users.ids.type), ("item_id", items.ids.type)] if raw_ids else []
    fields += [("user_index", pa.int32()), ("item_index", pa.int32()), ("rating", pa.float32())]
    kinds = {"timestamp": pa.int64(), "weight": pa.float32()}
    fields += [(name, kind) for name, kind in kinds.items() if name in staging.names]
    return pa.schema(fields)


def _ordered_parts(
    staging: Staging, labels: np.ndarray, selection: SplitAssignment, users: EntityIndex, items: EntityIndex
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """For each range of buckets its number of rows, and the columns of its rows in each part, in order."""

    def ordered(group: tuple[int, int]) -> tuple[int, list[dict[str, Any]]]:
        columns = staging.rows_of_buckets(group)
        row = columns["row"]
        label = labels[row]
        if len(selection.distinct.mean_rows):
            _put_means(columns, selection)
        place = _ascending(order_keys(row, staging.seed))
        label = label[place]
        return len(row), [
            _part(columns, place[label == number], users, items, raw_ids=number != TRAIN)
            for number in range(len(SPLITS))
        ]

    tasks = (partial(ordered, group) for group in staging.bucket_groups(BUCKET_GROUP_ROWS))
    with ThreadPoolExecutor(NUM_THREADS, "write") as threads:
        yield from in_order(tasks, threads, ahead=NUM_THREADS)


def _ascending(keys: np.ndarray) -> np.ndarray:
    """`np.argsort` of uint32, by halves: NumPy sorts 16 bits stably by their bytes, 32 by comparing."""
    place = np.argsort(keys.astype(np.uint16), kind="stable")
    upper = (keys >> np.uint32(16)).astype(np.uint16)
    return place[np.argsort(upper[place], kind="stable")]


def _part(
    columns: dict[str, np.ndarray],
    place: np.ndarray,
    users: EntityIndex,
    items: EntityIndex,
    *,
    raw_ids: bool,
) -> dict[str, Any]:
    user, item = columns["user"][place], columns["item"][place]
    part: dict[str, Any] = {"user_index": users.index_of[user], "item_index": items.index_of[item]}
    part |= {name: columns[name][place] for name in ("rating", "timestamp", "weight") if name in columns}
    if raw_ids:
        part |= {"user_id": users.ids.take(pa.array(user)), "item_id": items.ids.take(pa.array(item))}
        part |= {"user_code": user, "item_code": item}
    return part


def _put_means(columns: dict[str, np.ndarray], selection: SplitAssignment) -> None:
    """Gives the rows that stand for several ratings their mean."""
    rows, means = selection.distinct.mean_rows, selection.distinct.mean_ratings
    found = np.minimum(np.searchsorted(rows, columns["row"]), len(rows) - 1)
    is_mean = rows[found] == columns["row"]
    columns["rating"][is_mean] = means[found[is_mean]]


def _side_table(key: str, vocabulary: Vocabulary, side: pa.Table | None) -> pa.Table:
    """One row per known id, in the vocabulary's order, with the side table's columns where it has the id."""
    columns = {key: vocabulary.ids}
    if side is not None:
        side_row = Vocabulary(side[key].combine_chunks()).index(vocabulary.ids) - 1
        rows = pa.array(side_row, mask=side_row < 0)
        columns |= {name: side[name].take(rows) for name in side.column_names if name != key}
    return pa.table(columns)
