"""Where a run's ratings come from: what the user named, prepared once, found again when the run continues."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_pipeline.dataset import MANIFEST, PreparedDataset, open_dataset
from data_pipeline.errors import UserError
from data_pipeline.prepare import DataConfig, prepare_dataset, read_ratings, resolve_data
from data_pipeline.ratings import Ratings
from trainer.config import Config
from trainer.devices import Devices
from trainer.workdir import RUNS, Workdir, wait_for_chief

if TYPE_CHECKING:
    import pandas as pd


def find_source(
    data: str | Path | Ratings | PreparedDataset | pd.DataFrame | None, num_workers: int
) -> tuple[Path | Ratings, str]:
    """Where the ratings are, and one line that says so."""
    if isinstance(data, Ratings):
        return data, data.name
    if isinstance(data, PreparedDataset):
        return data.path, str(data.path)
    if data is None and num_workers > 1:
        raise UserError(
            f"DATA must be given where several workers train, got none with {num_workers} workers"
        )
    return resolve_data(data)


def default_workdir(source: Path | Ratings, config: Config) -> Path:
    """`runs/<data>-<recipe>`, so that another command with the same data and recipe continues the run."""
    name = source.name if isinstance(source, Ratings) else source.resolve().stem
    split = "" if config.data.split == "random" else f"-{config.data.split}"
    return RUNS / f"{name}{split}-{config.recipe}"


def with_split_of(dataset: PreparedDataset, config: Config, settings: list[str]) -> Config:
    """The configuration with the split that a prepared dataset already has."""
    refuse_split_settings(dataset.path, settings)
    return dataclasses.replace(config, data=DataConfig(**dataset.manifest["split"]))


def refuse_split_settings(prepared: Path, settings: Sequence[str]) -> None:
    """Raises UserError where a setting would change how a prepared dataset is split."""
    for setting in settings:
        if setting.startswith("data."):
            raise UserError(f"{prepared} is prepared, its split is fixed: {setting!r} has no effect")


def open_or_prepare(
    source: Path | Ratings, config: Config, folder: Workdir, devices: Devices
) -> PreparedDataset:
    """The run's dataset; the chief prepares it and begins the workdir, the others wait for that."""
    if not devices.is_chief:
        wait_for_chief(folder)
        return folder.read()[1]
    if isinstance(source, Path) and (source / MANIFEST).is_file():
        dataset = open_dataset(source)
        if folder.is_started():
            folder.require_same_run(config, fingerprint=dataset.fingerprint, precision=devices.precision)
            return folder.read()[1]
    else:
        ratings, test = read_ratings(source, config.data)
        if folder.is_started():
            folder.require_same_run(config, fingerprint=ratings.fingerprint, precision=devices.precision)
            return folder.read()[1]
        if (folder.dataset / MANIFEST).is_file():
            # Of a run that was killed before it began, or prepared there beforehand.
            dataset = open_dataset(folder.dataset)
            found = (dataset.manifest["source_fingerprint"], dataset.manifest["split"])
            if found != (ratings.fingerprint, dataclasses.asdict(config.data)):
                raise UserError(
                    f"{folder.dataset}: holds other data or another split; give another --workdir"
                )
        else:
            dataset = prepare_dataset(ratings, test, config.data, folder.dataset)
    folder.start(config, dataset, precision=devices.precision)
    return dataset
