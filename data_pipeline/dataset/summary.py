"""A prepared dataset in one line: how it was split, the rows of each split, and which version it is."""

from __future__ import annotations

from typing import Any

from data_pipeline.dataset.dataset import PreparedDataset, open_dataset
from data_pipeline.dataset.versions import dataset_root
from data_pipeline.errors import UserError


def protocol(dataset: PreparedDataset) -> str:
    """The dataset's evaluation protocol in one line: split rule, row counts and the rating range."""
    settings = dataset.settings
    share, seed = f"{settings.test_fraction:g}", settings.split_seed
    cut = {
        "random": f"random {share} test split, seed {seed}",
        "per-user": f"random {share} of each user's rows as test split, seed {seed}",
        "leave-last-out": "each user's last row as test split",
        "time": f"latest {share} as test split",
        "k-fold": f"fold {settings.fold} of {settings.folds} as test split, seed {seed}",
    }.get(settings.split, f"predefined split {settings.split}")
    low, high = dataset.rating_scale
    return (
        f"{dataset.name}, {cut}: {dataset.num_rows('train'):,} train, {dataset.num_rows('validation'):,} "
        f"validation, {dataset.num_rows('test'):,} test rows; predictions clipped to [{low:g}, {high:g}]"
    )


def former_version_note(dataset: PreparedDataset) -> str | None:
    """Says that a run's version is not the present one of its dataset, and how they differ; None if it is."""
    try:
        present = open_dataset(dataset_root(dataset.path))
    except UserError:  # the present version is damaged, or not there: the run needs its own only
        return None
    if present.fingerprint == dataset.fingerprint:
        return None
    more = present.manifest["rows"] - dataset.manifest["rows"]
    return (
        f"the run's version {dataset.version} of the dataset is used; the present one, {present.version}, "
        f"has {abs(more):,} {'fewer' if more < 0 else 'more'} rows"
    )


def judged_rows(dataset: PreparedDataset, split: str = "test") -> dict[str, Any]:
    """Which rows a metric is of, for JSON: version of the dataset, split, number of rows."""
    return {
        "path": str(dataset_root(dataset.path)),
        "version": dataset.version,
        "fingerprint": dataset.fingerprint,
        "split": split,
        "rows": dataset.num_rows(split),
    }


def judged_line(dataset: PreparedDataset, split: str = "test") -> str:
    """Which rows a metric is of, in one line."""
    return f"judged on the {dataset.num_rows(split):,} {split} rows of dataset version {dataset.version}"
