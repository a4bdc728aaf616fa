"""Prepared datasets: make, extend, check and open one. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from data_pipeline.config import DataConfig, DataSettings, data_config, setting_of_keywords
from data_pipeline.dataset import dataset as stored
from data_pipeline.dataset import keep_versions as keeping
from data_pipeline.dataset.check import check_dataset
from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.versions import DatasetVersion, dataset_versions
from data_pipeline.errors import UserError, shown
from data_pipeline.files import path_of
from data_pipeline.prepare.append import append_ratings
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["append", "check", "drop_versions", "open_dataset", "prepare", "restore_version", "versions"]


def prepare(
    data: str | Path | pd.DataFrame | None,
    out: str | Path,
    config: DataConfig | None = None,
    *,
    quiet: bool = True,
    **data_settings: Unpack[DataSettings],
) -> PreparedDataset:
    """Splits and indexes ratings into a prepared dataset, a new folder that `train` takes as data.

    Memory stays bounded: ratings are staged on disk. The folder is complete or absent, also after a crash.

    Args:
        data: a ratings file, folder or glob, a DataFrame with columns user_id, item_id, rating (and
            timestamp, weight), or `generated`. None: MovieLens-100K if it can be downloaded, else generated
            ratings.
        out: the new folder; it must not exist or be empty.
        config: how ratings are read and split; None: the defaults of `DataConfig`.
        quiet: shows no progress on stderr.
        data_settings: the fields of `DataConfig` as keywords, instead of `config`: `columns=`, `split=` ...

    Raises:
        UserError: a mistake in the ratings or the settings, or `out` is not empty.
        OSError: the disk is full.
    """
    if config is not None and data_settings:
        raise UserError(f"give config or {next(iter(data_settings))}=, got both")
    config = data_config(setting_of_keywords(data_settings)) if config is None else config
    if not isinstance(config, DataConfig):
        raise UserError(f"config must be a DataConfig, got {shown(config)}")
    folder = path_of(out, "out")
    return prepare_dataset(open_source(data, config), config, folder, quiet=quiet)


def append(
    new: str | Path | pd.DataFrame,
    dataset_dir: str | Path,
    *,
    format: Literal["auto", "ml-100k", "ml-1m", "ml-10m", "ml-csv", "csv", "tsv", "parquet"] = "auto",  # noqa: A002
    columns: str = "",
    bad_rows: Literal["error", "drop"] = "error",
    users: str | Path = "",
    items: str | Path = "",
    quiet: bool = True,
) -> PreparedDataset:
    """Adds ratings to a prepared dataset, which is replaced as a whole or left alone.

    The version that it replaces is kept, see `versions`.

    Stored rows stay in their split and known ids keep their index. The new rows are split by the dataset's
    own rule and seed, shares rounded down.

    Args:
        new: the new ratings, as of `prepare`.
        dataset_dir: the folder of the dataset.
        format, columns, bad_rows, users, items: how `new` is read; see `DataConfig`. All other settings are
            those of the dataset.
        quiet: shows no progress on stderr.

    Raises:
        UserError: no dataset there, or ratings that do not fit it.
        OSError: the disk is full.
    """
    if new is None:
        raise UserError("append needs the new ratings, got None")
    folder = path_of(dataset_dir, "dataset_dir")
    given: DataSettings = {"format": format, "columns": columns, "bad_rows": bad_rows}
    config = data_config(setting_of_keywords({**given, "users": users, "items": items}))
    stored.open_dataset(folder)
    return append_ratings(open_source(new, config), folder, quiet=quiet)


def check(dataset_dir: str | Path) -> PreparedDataset:
    """Reads every byte of a prepared dataset and of its former versions and compares it with their manifests.

    Args:
        dataset_dir: the folder of the dataset.

    Returns:
        The dataset, opened.

    Raises:
        UserError: names the first fault: version, checksum, length, number of rows, an index without an id.
    """
    return check_dataset(path_of(dataset_dir, "dataset_dir"))


def open_dataset(dataset_dir: str | Path) -> PreparedDataset:
    """Opens a prepared dataset; columns are memory-mapped when they are first used.

    Files of up to 256 MiB together are compared with their checksums; of larger ones `check` does that.

    Args:
        dataset_dir: the folder of the dataset.

    Raises:
        UserError: no dataset there, of another version, or a file is missing, of another length or changed.
    """
    return stored.open_dataset(path_of(dataset_dir, "dataset_dir"))


def versions(dataset_dir: str | Path) -> list[DatasetVersion]:
    """The versions of a prepared dataset, oldest first; every append makes one.

    Args:
        dataset_dir: the folder of the dataset.

    Raises:
        UserError: no dataset there.
    """
    return dataset_versions(path_of(dataset_dir, "dataset_dir"))


def drop_versions(dataset_dir: str | Path, ids: str | Iterable[str]) -> list[str]:
    """Deletes former versions of a dataset, all or none of them; runs trained on them cannot be used then.

    Args:
        dataset_dir: the folder of the dataset.
        ids: one id, or several, or how they start.

    Returns:
        The ids of the deleted versions.

    Raises:
        UserError: no such version, several, or the present one.
    """
    return keeping.drop_versions(path_of(dataset_dir, "dataset_dir"), [ids] if isinstance(ids, str) else ids)


def restore_version(dataset_dir: str | Path, id: str) -> PreparedDataset:  # noqa: A002
    """Makes a former version of a dataset the present one, which undoes an append; none is lost.

    Args:
        dataset_dir: the folder of the dataset.
        id: the version's id, or how it starts.

    Raises:
        UserError: no such version, several, or it is damaged.
    """
    return keeping.restore_version(path_of(dataset_dir, "dataset_dir"), id)
