"""Distances of predicted joints from labelled ones in px of the picture: what a person with a ruler would measure.

Letters: N people, K joints.
"""

from collections.abc import Sequence

import numpy as np

RMSE, MEDIAN, P95 = "RMSE px", "Median px", "95 % px"


def pixel_errors(predictions: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, K) in px, NaN where a joint is not labelled.

    Args:
        predictions, truth: (N, K, 2).
        visible: (N, K), a joint counts where it is above 0.
    """
    distances = np.linalg.norm(np.asarray(predictions, dtype=np.float64) - np.asarray(truth, dtype=np.float64), axis=2)
    return np.where(np.asarray(visible) > 0, distances, np.nan)


def pixel_error_table(
    predictions: np.ndarray, truth: np.ndarray, visible: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    """Root mean square, median and 95th percentile of all labelled joints' errors, and every joint's median.

    The mean square is of the distance, not of one coordinate: sqrt(mean(dx^2 + dy^2)). A joint without a prediction
    (NaN) makes the root mean square infinite, and counts as infinitely far in the order of the others.

    Args:
        predictions, truth: (N, K, 2).
        visible: (N, K).
        names: the K joints' names.

    Returns:
        px by RMSE, MEDIAN, P95 and "NAME px"; NaN for a joint that is never labelled.
    """
    labelled = np.asarray(visible) > 0
    errors = np.where(labelled, np.nan_to_num(pixel_errors(predictions, truth, visible), nan=np.inf), np.nan)
    every = errors[labelled]
    if not len(every):
        return dict.fromkeys((RMSE, MEDIAN, P95, *(f"{name} px" for name in names)), float("nan"))
    table = {
        RMSE: float(np.sqrt(np.mean(every**2))),
        MEDIAN: float(np.median(every)),
        P95: float(np.percentile(every, 95, method="higher")),
    }
    for k, name in enumerate(names):
        own = errors[labelled[:, k], k]
        table[f"{name} px"] = float(np.median(own)) if len(own) else float("nan")
    return table
