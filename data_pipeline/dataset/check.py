"""Verifies that a prepared dataset is unchanged since it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from data_pipeline.dataset.columns import SEGMENT_ROWS
from data_pipeline.dataset.dataset import OTHER_ITEMS, OTHER_USERS, PreparedDataset, open_dataset
from data_pipeline.dataset.manifest import MANIFEST, check_files
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.dataset.versions import former_folders, is_former
from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX, Vocabulary
from data_pipeline.errors import UserError


def check_dataset(path: Path) -> PreparedDataset:
    """Reads every byte of a prepared dataset, and of its former versions, and compares it with the manifest.

    Checks the format version, the manifest's checksum, each file's size and SHA-256, the row counts, the
    range of every index, and that the indices of validation and test rows match their raw ids.

    Raises:
        UserError: describes the first mismatch.
    """
    dataset = _check_version(path)
    for folder in [] if is_former(path) else former_folders(path):
        former = _check_version(folder)
        if former.version != folder.name:
            raise UserError(f"{folder}: must have the name of its version, {former.version}")
    return dataset


def _check_version(path: Path) -> PreparedDataset:
    dataset = open_dataset(path)
    files = dataset.manifest["files"]
    expected = {f"{stem}.arrow" for stem in (*SPLITS, "users", "items")}
    if set(files) - {OTHER_USERS, OTHER_ITEMS} != expected:
        raise UserError(f"{path / MANIFEST}: must list {sorted(expected)}, got {sorted(files)}")
    check_files(path, files)
    vocabularies = {"user": dataset.user_vocabulary, "item": dataset.item_vocabulary}
    for entity, vocabulary in vocabularies.items():
        if len(vocabulary.ids) != dataset.manifest[f"{entity}s"]:
            rule = f"must have {dataset.manifest[f'{entity}s']} rows"
            raise UserError(f"{path / f'{entity}s.arrow'}: {rule}, got {len(vocabulary.ids)}")
        if pc.count_distinct(vocabulary.ids).as_py() != len(vocabulary.ids):
            raise UserError(f"{path / f'{entity}s.arrow'}: ids must be unique, got a repeated id")
    for split in SPLITS:
        _check_split(dataset, split, vocabularies)
    return dataset


def _check_split(dataset: PreparedDataset, split: str, vocabularies: dict[str, Vocabulary]) -> None:
    file = dataset.path / f"{split}.arrow"
    batches = dataset.table(split).to_batches()
    num_rows = sum(len(batch) for batch in batches)
    if num_rows != dataset.num_rows(split):
        raise UserError(f"{file}: must have {dataset.num_rows(split)} rows, got {num_rows}")
    if any(len(batch) != SEGMENT_ROWS for batch in batches[:-1]):
        raise UserError(f"{file}: every record batch except the last must have {SEGMENT_ROWS} rows")
    for batch in batches:
        for entity, vocabulary in vocabularies.items():
            index = batch[f"{entity}_index"].to_numpy()
            lowest = UNKNOWN_INDEX + 1 if split == "train" else UNKNOWN_INDEX
            if len(index) and not lowest <= index.min() <= index.max() < len(vocabulary):
                raise UserError(
                    f"{file}: {entity}_index must be within {lowest} and {len(vocabulary) - 1}, "
                    f"got {index.min()} to {index.max()}"
                )
            if split != "train" and not np.array_equal(vocabulary.index(batch[f"{entity}_id"]), index):
                raise UserError(
                    f"{file}: {entity}_index must be the index of {entity}_id, got rows where it differs"
                )
        if not pc.all(pc.is_finite(batch["rating"]), min_count=0).as_py():
            raise UserError(f"{file}: ratings must be finite, got one that is not finite")
