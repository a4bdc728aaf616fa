"""Rating metrics: RMSE and MAE."""

from __future__ import annotations

import numpy as np


def rating_errors(
    predicted: np.ndarray, actual: np.ndarray, *, scale: tuple[float, float]
) -> dict[str, float]:
    """RMSE and MAE of predictions, which are clipped to the rating scale first.

    Args:
        predicted, actual: ratings [rows], at least one row.
        scale: the lowest and the highest rating.

    >>> rating_errors(np.array([9.0, 3.0]), np.array([5.0, 4.0]), scale=(1, 5))
    {'rmse': 0.7071067811865476, 'mae': 0.5}
    """
    error = np.clip(predicted.astype(np.float64), *scale) - actual
    return {"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))}
