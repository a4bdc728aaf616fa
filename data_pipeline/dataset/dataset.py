"""Opens a prepared dataset: a folder of memory-mapped Arrow files and a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from data_pipeline.config import DataConfig
from data_pipeline.dataset.columns import Columns
from data_pipeline.dataset.manifest import check_files, read_manifest
from data_pipeline.dataset.versions import version_folder, version_id
from data_pipeline.dataset.vocabulary import Vocabulary
from data_pipeline.errors import UserError

_Opened = TypeVar("_Opened")

# Optional files: side features of ids without a training row.
OTHER_USERS, OTHER_ITEMS = "other_users.arrow", "other_items.arrow"
# Opening a dataset up to this size verifies all checksums, which takes a fraction of a second.
CHECKED_BYTES = 256 << 20


@dataclass(frozen=True)
class PreparedDataset:
    """One version of a prepared dataset. Create it with `open_dataset`; files are read on first access.

    An append or a restored version does not change it: its files are found where they lie then.

    Attributes:
        path: where it was opened.
    """

    path: Path
    manifest: dict = field(repr=False)

    @property
    def name(self) -> str:
        return self.manifest["name"]

    @property
    def fingerprint(self) -> str:
        """Changes with any byte of any column, vocabulary or split."""
        return self.manifest["fingerprint"]

    @property
    def version(self) -> str:
        """The id of this version among those of its dataset."""
        return version_id(self.fingerprint)

    @property
    def settings(self) -> DataConfig:
        """The settings with which the ratings were read and split."""
        return DataConfig(**self.manifest["settings"])

    @property
    def rating_scale(self) -> tuple[float, float]:
        """Lowest and highest rating of the training rows."""
        low, high = self.manifest["rating_scale"]
        return low, high

    def num_rows(self, split: str) -> int:
        return self.manifest["splits"][split]

    @cached_property
    def users(self) -> pa.Table:
        """Row i describes the user with index i + 1: `user_id`, then side features."""
        return self._opened("users.arrow", _read_table)

    @cached_property
    def items(self) -> pa.Table:
        """Row i describes the item with index i + 1: `item_id`, `title` (may be null), then side features."""
        return self._opened("items.arrow", _read_table)

    def others(self, name: str) -> pa.Table | None:
        """Side features of ids without a training row (`OTHER_USERS` or `OTHER_ITEMS`), or None."""
        return self._opened(name, _read_table) if name in self.manifest["files"] else None

    @cached_property
    def user_vocabulary(self) -> Vocabulary:
        return Vocabulary(self.users["user_id"].combine_chunks())

    @cached_property
    def item_vocabulary(self) -> Vocabulary:
        return Vocabulary(self.items["item_id"].combine_chunks())

    @property
    def num_user_rows(self) -> int:
        """Rows of the user embedding table: the known users and row 0."""
        return len(self.user_vocabulary)

    @property
    def num_item_rows(self) -> int:
        """Rows of the item embedding table: the known items and row 0."""
        return len(self.item_vocabulary)

    def table(self, split: str) -> pa.Table:
        """One split, memory-mapped: indices, rating and, if present, timestamp and weight.

        Validation and test also have raw ids, because they may contain unknown ids. The raw ids of a training
        row are rows `user_index - 1` of `users` and `item_index - 1` of `items`.
        """
        return self._opened(f"{split}.arrow", _read_table)

    def columns(self, split: str) -> Columns:
        """The columns of one split, as training reads them."""
        num_indices = {f"{key}_index": self.manifest[f"{key}s"] + 1 for key in ("user", "item")}
        return self._opened(f"{split}.arrow", lambda file: Columns.open(file, num_indices=num_indices))

    def _opened(self, name: str, open_file: Callable[[Path], _Opened]) -> _Opened:
        """Opens one of this version's files, never that of another version that has taken its place."""
        while True:
            folder = version_folder(self.path, self.fingerprint) or self.path
            try:
                opened = open_file(folder / name)
            except FileNotFoundError:
                if version_folder(self.path, self.fingerprint) in (folder, None):
                    raise UserError(
                        f"{self.path}: version {self.version} of the dataset is not there any more"
                    ) from None
                continue
            found = version_folder(self.path, self.fingerprint)
            if found == folder:
                return opened
            if found is None:
                raise UserError(f"{self.path}: version {self.version} of the dataset is not there any more")

    def with_raw_ids(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of a split's table as raw ratings: ids, rating and, if present, timestamp and weight."""
        columns = {
            name: batch[name] for name in ("rating", "timestamp", "weight") if name in batch.schema.names
        }
        if "user_id" in batch.schema.names:
            ids = {"user_id": batch["user_id"], "item_id": batch["item_id"]}
        else:
            ids = {
                "user_id": self.user_vocabulary.ids_of(batch["user_index"].to_numpy()),
                "item_id": self.item_vocabulary.ids_of(batch["item_index"].to_numpy()),
            }
        return pa.RecordBatch.from_pydict({**ids, **columns})

    def titles(self, item_indices: np.ndarray) -> list[str | None]:
        """Titles of known items (indices from 1), None where unknown."""
        return self.items["title"].take(pa.array(np.asarray(item_indices) - 1)).to_pylist()


def open_dataset(path: Path) -> PreparedDataset:
    """Opens a prepared dataset.

    If all files together have at most `CHECKED_BYTES`, their checksums are verified. For a larger dataset use
    `check_dataset`; training still refuses an index out of range.

    Raises:
        UserError: not a dataset, an unsupported format version, or a file is missing or was changed.
    """
    while True:
        manifest = read_manifest(path)
        try:
            _check_stored(path, manifest["files"])
        except UserError:
            # An append or a restored version may have replaced the folder since its manifest was read.
            if read_manifest(path) == manifest:
                raise
        else:
            return PreparedDataset(path=path, manifest=manifest)


def open_version(path: Path, fingerprint: str) -> PreparedDataset | None:
    """Opens the version with this fingerprint, wherever it lies in the folder of its dataset now, or None.

    Args:
        path: the folder of the dataset, or of one of its versions.

    Raises:
        UserError: as of `open_dataset`.
    """
    while (folder := version_folder(path, fingerprint)) is not None:
        dataset = open_dataset(folder)
        if dataset.fingerprint == fingerprint:  # else it was moved in this moment
            return dataset
    return None


def _check_stored(path: Path, files: dict[str, dict]) -> None:
    """Raises UserError unless all files are there, with the right length and, if small, the right content."""
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise UserError(f"{path}: the prepared dataset's file {name} is missing")
        if file.stat().st_size != expected["bytes"]:
            raise UserError(f"{file}: must have {expected['bytes']} bytes, got {file.stat().st_size}")
    if sum(expected["bytes"] for expected in files.values()) <= CHECKED_BYTES:
        check_files(path, files)


def _read_table(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not an Arrow IPC file: {error}") from None
