"""The prepared dataset: a folder of memory-mappable Arrow columns and a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.columns import Columns
from data_pipeline.errors import UserError
from data_pipeline.vocabulary import Vocabulary

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset on disk. `open_dataset` makes one; nothing is read before it is asked for."""

    path: Path
    manifest: dict

    @property
    def name(self) -> str:
        return self.manifest["name"]

    @property
    def fingerprint(self) -> str:
        """Changes with any byte of any column, vocabulary or split."""
        return self.manifest["fingerprint"]

    @property
    def rating_scale(self) -> tuple[float, float]:
        """Lowest and highest rating of the training rows."""
        low, high = self.manifest["rating_scale"]
        return low, high

    def num_rows(self, split: str) -> int:
        return self.manifest["splits"][split]

    @cached_property
    def users(self) -> pa.Table:
        """Row i describes the user of index i + 1: `user_id` and what else the source told."""
        return _read_table(self.path / "users.arrow")

    @cached_property
    def items(self) -> pa.Table:
        """Row i describes the item of index i + 1: `item_id`, `title` (null where unknown) and more."""
        return _read_table(self.path / "items.arrow")

    @cached_property
    def user_vocabulary(self) -> Vocabulary:
        return Vocabulary(self.users["user_id"].combine_chunks())

    @cached_property
    def item_vocabulary(self) -> Vocabulary:
        return Vocabulary(self.items["item_id"].combine_chunks())

    def table(self, split: str) -> pa.Table:
        """One split memory-mapped: raw ids, indices, rating and, where there are, timestamp and weight."""
        return _read_table(self.path / f"{split}.arrow")

    def columns(self, split: str) -> Columns:
        """One split's columns over the memory-mapped file."""
        return Columns.open(self.path / f"{split}.arrow")

    def titles(self, item_indices: np.ndarray) -> list[str | None]:
        """Titles of known items (indices of at least 1)."""
        return self.items["title"].take(pa.array(np.asarray(item_indices) - 1)).to_pylist()


def open_dataset(path: Path) -> PreparedDataset:
    """Opens a prepared dataset.

    Raises:
        UserError: no dataset there, made by a newer version, or a file is missing or of another length.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        version, files = manifest["format_version"], manifest["files"]
    except FileNotFoundError:
        raise UserError(f"{path}: a prepared dataset has a {MANIFEST}, none found") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / MANIFEST}: not a reeltrain manifest: {error}") from None
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: this reeltrain reads dataset format {FORMAT_VERSION}, got {version}")
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise UserError(f"{path}: the prepared dataset's file {name} is missing")
        if file.stat().st_size != expected["bytes"]:
            raise UserError(f"{file}: must have {expected['bytes']} bytes, got {file.stat().st_size}")
    return PreparedDataset(path=path, manifest=manifest)


def write_dataset(
    path: Path,
    *,
    name: str,
    parts: dict[str, pa.Table],
    users: pa.Table | None,
    items: pa.Table | None,
    split_settings: dict,
    source_fingerprint: str,
    rmse_floor: float | None,
) -> PreparedDataset:
    """Writes a dataset whole or not at all: into a hidden folder, renamed when it is complete.

    Args:
        path: the new folder; it must not exist or be empty.
        parts: split name -> raw ratings; the vocabularies come from `parts["train"]` alone.
        users, items: side tables keyed by `user_id` and `item_id`, or None.

    Raises:
        UserError: `path` is not empty.
    """
    require_empty(path)
    train = parts["train"]
    user_vocabulary = Vocabulary.from_column(train["user_id"])
    item_vocabulary = Vocabulary.from_column(train["item_id"])
    tables = {split: _with_indices(part, user_vocabulary, item_vocabulary) for split, part in parts.items()}
    tables["users"] = _side_table("user_id", user_vocabulary, users)
    tables["items"] = _side_table("item_id", item_vocabulary, items)
    if "title" not in tables["items"].column_names:
        tables["items"] = tables["items"].append_column(
            "title", pa.nulls(len(item_vocabulary.ids), pa.string())
        )
    scale = pc.min_max(train["rating"]).as_py()

    target = path.resolve()
    existed = target.exists()
    partial = (target if existed else target.parent) / f".{target.name}.partial-{os.getpid()}"
    partial.mkdir(parents=True)
    try:
        files = {f"{stem}.arrow": _write_table(partial / f"{stem}.arrow", t) for stem, t in tables.items()}
        manifest = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "rows": sum(len(part) for part in parts.values()),
            "dropped_rows": 0,
            "users": len(user_vocabulary.ids),
            "items": len(item_vocabulary.ids),
            "rating_scale": [scale["min"], scale["max"]],
            "rmse_floor": rmse_floor,
            "split": split_settings,
            "splits": {split: len(part) for split, part in parts.items()},
            "source_fingerprint": source_fingerprint,
            "files": files,
            "fingerprint": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if existed:
            # It may be a mount point or a working directory: filled, the manifest last, not replaced.
            for file_name in (*files, MANIFEST):
                (partial / file_name).rename(target / file_name)
            partial.rmdir()
        else:
            partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return open_dataset(path)


def require_empty(path: Path) -> None:
    """Refuses a path that a new folder could not take without harm."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: the output folder must be new or empty, got a file")
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise UserError(f"{path}: the output folder must lie in a folder, got the file {parent}")
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path}: the output folder must be new or empty, got one with files in it")


def _with_indices(part: pa.Table, users: Vocabulary, items: Vocabulary) -> pa.Table:
    columns = {
        "user_id": part["user_id"],
        "item_id": part["item_id"],
        "user_index": users.index(part["user_id"]),
        "item_index": items.index(part["item_id"]),
        "rating": pc.cast(part["rating"], pa.float32()),
    }
    if "timestamp" in part.column_names:
        columns["timestamp"] = part["timestamp"]
    if "weight" in part.column_names:
        columns["weight"] = pc.cast(part["weight"], pa.float32())
    return pa.table(columns)


def _side_table(key: str, vocabulary: Vocabulary, side: pa.Table | None) -> pa.Table:
    """One row per known id, in the vocabulary's order, with the side table's columns where it has the id."""
    columns = {key: vocabulary.ids}
    if side is not None:
        side_row = Vocabulary(side[key].combine_chunks()).index(vocabulary.ids) - 1
        rows = pa.array(side_row, mask=side_row < 0)
        columns |= {name: side[name].take(rows) for name in side.column_names if name != key}
    return pa.table(columns)


def _write_table(path: Path, table: pa.Table) -> dict:
    """Writes one record batch, so that every column is one array of the file; returns bytes and checksum."""
    table = table.combine_chunks()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _read_table(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not an Arrow IPC file: {error}") from None
