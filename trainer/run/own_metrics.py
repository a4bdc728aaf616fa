"""Metrics of one's own: what callbacks add to `logs` at the end of an epoch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np

from data_pipeline.errors import shown
from data_pipeline.logs import log
from trainer.workdir.scalars import EPOCH_TAGS, tag_of

# Keras's LearningRateScheduler and ReduceLROnPlateau add it; the curve has it already.
OURS_ALREADY = "learning_rate"


class OwnMetrics(keras.callbacks.Callback):
    """The last of the callbacks: keeps what those before it added to the logs of an epoch.

    What is not one finite number, or has the name of one of our metrics, is left out with one warning.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logs: dict[Any, Any] = {}
        self._warned: set[object] = set()

    def on_epoch_end(self, epoch: int, logs: dict[Any, Any] | None = None) -> None:  # noqa: ARG002
        self._logs = dict(logs or {})

    def added(self, ours: Mapping[str, float]) -> dict[str, float]:
        """The metrics that callbacks added in this epoch.

        Args:
            ours: the logs as callbacks got them.
        """
        tags = {tag_of(name) for name in ours} | EPOCH_TAGS
        return {
            name: float(np.asarray(value))
            for name, value in self._logs.items()
            if name != OURS_ALREADY
            and not self._is_ours(name, value, ours)
            and self._is_usable(name, value, tags)
        }

    def _is_ours(self, name: object, value: object, ours: Mapping[str, float]) -> bool:
        if name not in ours:
            return False
        if not _is_number(value) or float(np.asarray(value)) != ours[name]:  # type: ignore[index]
            self._warn(name, value, "is computed by training, and the curves keep the value of training")
        return True

    def _is_usable(self, name: object, value: object, tags: Collection[str]) -> bool:
        if not isinstance(name, str) or not name:
            self._warn(name, value, "must be named by a text to be in the curves")
        elif tag_of(name) in tags:
            self._warn(name, value, f"must not be named like the curve {tag_of(name)} to be in the curves")
        elif not _is_number(value):
            self._warn(name, value, "must be one finite number to be in the curves")
        else:
            return True
        return False

    def _warn(self, name: object, value: object, rule: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            log.warning(f"a callback's metric {_line(name)} {rule}, got {_line(value)}")


def _line(value: object) -> str:
    return " ".join(shown(value, 80).split())


def _is_number(value: object) -> bool:
    """Whether a value is one finite real number: Python's, NumPy's or a tensor without axes."""
    if isinstance(value, str | bytes):
        return False
    try:
        array = np.asarray(value)
        return array.shape == () and array.dtype.kind != "c" and math.isfinite(float(array))
    except (TypeError, ValueError, OverflowError):
        return False
