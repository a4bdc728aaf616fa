"""The largest differences between the results of two layouts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.verification.layouts import Layout, Outcome

NUMPY = "NumPy"


@dataclass(frozen=True)
class Comparison:
    """One layout compared with another.

    Attributes:
        against: name of the other.
        loss_difference, weight_difference, metric_difference: the largest absolute differences: over all
            steps; over all variables of the last checkpoint, including the optimizer's; over training loss,
            validation and test errors. None if there is nothing to compare or a value is not finite.
        failure: the reason why it failed, in one line, or None.
    """

    name: str
    workers: int
    replicas: int
    against: str
    loss_difference: float | None = None
    weight_difference: float | None = None
    metric_difference: float | None = None
    failure: str | None = None


def compare(
    layout: Layout,
    found: Outcome | str,
    against: str,
    expected: Outcome | str,
    tolerance: float,
    steps: int,
) -> Comparison:
    """Compares two outcomes; in place of an outcome a text gives the reason why there is none."""
    comparison = Comparison(layout.name, layout.workers, layout.replicas, against)
    if isinstance(found, str):
        return dataclasses.replace(comparison, failure=found)
    if isinstance(expected, str):
        return dataclasses.replace(comparison, failure=f"nothing to compare with: {against} did not train")
    failures = []
    missing = sorted(set(range(1, steps + 1)) - set(found.losses))
    if missing:
        failures.append(f"no loss for step {missing[0]}")
    differences: dict[str, float | None] = {}
    for what, ours, theirs in (
        ("loss", found.losses, expected.losses),
        ("weight", found.variables, expected.variables),
        ("metric", found.metrics, expected.metrics),
    ):
        largest, failure = _largest_difference(what, ours, theirs, tolerance, exactly=against != NUMPY)
        differences[f"{what}_difference"] = largest
        failures += [failure] if failure else []
    return dataclasses.replace(comparison, **differences, failure="; ".join(failures) or None)  # type: ignore[arg-type]


def _largest_difference(
    what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any], tolerance: float, *, exactly: bool
) -> tuple[float | None, str | None]:
    """The largest absolute difference of values with the same name, and the failure, if any.

    Args:
        exactly: both must have the same names; otherwise `found` may have more.
    """
    lacking = sorted(set(expected) ^ set(found) if exactly else set(expected) - set(found), key=str)
    if lacking:
        return None, f"only one of them has the {what} {lacking[0]}"
    largest, first_wrong = 0.0, None
    for name, value in expected.items():
        ours, theirs = np.ravel(found[name]).astype(np.float64), np.ravel(value).astype(np.float64)
        if ours.shape != theirs.shape:
            return None, f"{what} {name} has {ours.size} values, not {theirs.size}"
        with np.errstate(invalid="ignore"):  # inf - inf
            difference = float(np.abs(ours - theirs).max(initial=0.0))
        if first_wrong is None and not difference <= tolerance:  # NaN, too
            first_wrong = name
        largest = max(largest, difference) if math.isfinite(difference) else math.nan
    if first_wrong is None:
        return largest, None
    at = f"step {first_wrong}" if what == "loss" else str(first_wrong)
    if math.isfinite(largest):
        return largest, f"{what} differs by {largest:.2g}, tolerance {tolerance:g}, first at {at}"
    return None, f"{what} is not finite, first at {at}"
