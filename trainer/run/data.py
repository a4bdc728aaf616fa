"""The ratings of a run: found, prepared once, and found again when the run continues."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from data_pipeline import advice
from data_pipeline.config import DataConfig
from data_pipeline.dataset.dataset import PreparedDataset, open_dataset
from data_pipeline.dataset.manifest import MANIFEST
from data_pipeline.dataset.summary import former_version_note
from data_pipeline.dataset.versions import dataset_root, is_former
from data_pipeline.errors import UserError
from data_pipeline.logs import log
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.in_memory import Ratings, source_of
from data_pipeline.sources.open_source import open_source
from data_pipeline.sources.source import RatingsSource
from trainer.config import Config, ConfigFile
from trainer.run.devices import Devices
from trainer.workdir.checkpoint_files import steps_in
from trainer.workdir.workdir import RUNS, Workdir, wait_for_chief

if TYPE_CHECKING:
    import pandas as pd

# What a user may name as data.
Data: TypeAlias = "str | Path | Ratings | RatingsSource | PreparedDataset | pd.DataFrame | None"


def find_source(
    data: Data, config: DataConfig, num_workers: int
) -> tuple[PreparedDataset | RatingsSource, str]:
    """A prepared dataset or a source of ratings, and a description in one line."""
    if isinstance(data, PreparedDataset):
        return data, str(data.path)
    if isinstance(data, str | Path) and (Path(data) / MANIFEST).is_file():
        return open_dataset(Path(data)), str(data)
    if data is None and num_workers > 1:
        raise UserError(f"DATA must be given if several workers train, got none with {num_workers} workers")
    if isinstance(data, Ratings):
        source = source_of(data)
    elif isinstance(data, RatingsSource):
        source = data
    else:
        source = open_source(data, config)
    return source, source.described


def default_workdir(source: PreparedDataset | RatingsSource, config: Config) -> Path:
    """`runs/<data>-<recipe>`, so that another command with the same data and recipe continues the run.

    A former version has a run of its own: `runs/<data>-<version>-<recipe>`.
    """
    if isinstance(source, PreparedDataset):
        name = dataset_root(source.path).stem + (f"-{source.version}" if is_former(source.path) else "")
    else:
        name = source.name
    split = "" if config.data.split == "random" else f"-{config.data.split}"
    return RUNS / f"{name.removesuffix(split)}{split}-{config.recipe}"


def with_split_of(dataset: PreparedDataset, config: Config, settings: list[str], file: ConfigFile) -> Config:
    """The configuration with the split that a prepared dataset already has."""
    refuse_split_settings(dataset.path, settings)
    # A file may hold all of `data.*`, as `reeltrain config` prints it: what the dataset has, too, is fine.
    for key in (key for key in file.values if key.startswith("data.")):
        name = key.removeprefix("data.")
        value, known = getattr(config.data, name), getattr(dataset.settings, name)
        if value != known:
            raise UserError(
                f"{dataset.path} is prepared with {key}={known}, its split is fixed: "
                f"{f'{key}={value}'!r} of the configuration file has no effect"
            )
    return dataclasses.replace(config, data=dataset.settings)


def refuse_split_settings(prepared: Path, settings: Sequence[str]) -> None:
    """Raises UserError if a setting would change how a prepared dataset is split."""
    for setting in settings:
        if setting.startswith("data."):
            raise UserError(f"{prepared} is prepared, its split is fixed: {setting!r} has no effect")


def open_or_prepare(
    source: PreparedDataset | RatingsSource, config: Config, folder: Workdir, devices: Devices, *, quiet: bool
) -> PreparedDataset:
    """The run's dataset; the chief prepares it and starts the workdir, the other workers wait for that.

    A run that was begun goes on with its own version of the dataset.
    """
    if not devices.is_chief:
        wait_for_chief(folder)
        return folder.read()[1]
    if folder.is_started():
        is_saved = bool(steps_in(folder.checkpoints))
        given = folder.dataset_in(source) or source if isinstance(source, PreparedDataset) else source
        folder.require_same_run(
            config, fingerprint=given.fingerprint, precision=devices.precision, is_saved=is_saved
        )
        dataset = given if isinstance(given, PreparedDataset) else folder.read()[1]
        if note := former_version_note(dataset):
            log.info(f"          {note}; to train on its rows, give {advice.another_workdir()}")
        if not is_saved:
            log.info("resumed   from nothing: no checkpoint was saved, so the run begins again as given now")
        return dataset
    if isinstance(source, PreparedDataset):
        dataset = source
    elif (folder.dataset / MANIFEST).is_file():
        # Left by a run that was killed before it began, or prepared there beforehand.
        dataset = open_dataset(folder.dataset)
        found = (dataset.manifest["source_fingerprint"], dataset.settings)
        if found != (source.fingerprint, config.data):
            raise UserError(
                f"{folder.dataset}: holds other data or another split; give {advice.another_workdir()}"
            )
    else:
        dataset = prepare_dataset(source, config.data, folder.dataset, quiet=quiet)
    folder.start(config, dataset, precision=devices.precision)
    return dataset
