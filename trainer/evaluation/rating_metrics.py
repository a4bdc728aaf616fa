"""Errors of predicted ratings."""

from __future__ import annotations

import numpy as np


def rating_errors(
    predicted: np.ndarray, actual: np.ndarray, *, scale: tuple[float, float]
) -> dict[str, float]:
    """RMSE and MAE after clipping predictions to the rating scale, which can only lower both.

    Args:
        predicted, actual: ratings, [rows]; at least one row.
        scale: lowest and highest rating.

    >>> rating_errors(np.array([9.0, 3.0]), np.array([5.0, 4.0]), scale=(1, 5))
    {'rmse': 0.7071067811865476, 'mae': 0.5}
    """
    error = np.clip(predicted.astype(np.float64), *scale) - actual
    return {"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))}
