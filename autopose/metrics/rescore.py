"""Scores of detected people from their box and joint scores.

Letters: N people, K joints.
"""

from __future__ import annotations

import numpy as np

JOINT_SCORE_THRESHOLD = 0.2


def rescore(box_scores: np.ndarray, joint_scores: np.ndarray, threshold: float = JOINT_SCORE_THRESHOLD) -> np.ndarray:
    """Box score times the mean of the joint scores above the threshold, 0 where no joint is above it (HRNet).

    Args:
        box_scores: (N,).
        joint_scores: (N, K).
        threshold: joints at or below it are left out of the mean.

    Returns:
        (N,) float64.
    """
    joint_scores = np.asarray(joint_scores, dtype=np.float64)
    counted = joint_scores > threshold
    total = np.where(counted, joint_scores, 0.0).sum(axis=1)
    return np.asarray(box_scores, dtype=np.float64) * total / np.maximum(counted.sum(axis=1), 1)
