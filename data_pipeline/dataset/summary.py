"""A prepared dataset in one line: how it was split, and the rows of each split."""

from __future__ import annotations

from data_pipeline.dataset.dataset import PreparedDataset


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
