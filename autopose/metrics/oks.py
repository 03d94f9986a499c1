"""Object keypoint similarity (OKS), to the bit as pycocotools computes it.

Source: COCO keypoint evaluation, https://cocodataset.org/#keypoints-eval.

Letters: P pairs, D detections, G annotated people, K joints. Coordinates are pixels, areas pixels squared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COCO_SIGMAS = (
    np.array([0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89])
    / 10.0
)


def oks_matrix(
    detections: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray,
    areas: np.ndarray,
    boxes: np.ndarray,
    sigmas: Sequence[float] = COCO_SIGMAS,
) -> np.ndarray:
    """OKS of every detection with every annotated person.

    Args:
        detections: (D, K, 2).
        truth: (G, K, 2).
        visible: (G, K), a joint counts where it is above 0.
        areas: (G,) annotated segment areas.
        boxes: (G, 4) x, y, w, h; only used for people without a labelled joint.
        sigmas: (K,) falloff constants.

    Returns:
        (D, G) in [0, 1].
    """
    detection, person = np.divmod(np.arange(len(detections) * len(truth)), max(len(truth), 1))
    values = oks_pairs(detections, truth, visible, areas, boxes, sigmas, detection, person)
    return values.reshape(len(detections), len(truth))


def oks_pairs(
    detections: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray,
    areas: np.ndarray,
    boxes: np.ndarray,
    sigmas: Sequence[float],
    detection: np.ndarray,
    person: np.ndarray,
) -> np.ndarray:
    """OKS of P pairs of a detection and an annotated person.

    OKS = mean over labelled joints of exp(-d^2 / (2 area (2 sigma)^2)). For a person without a labelled joint d is
    the distance to the person's box grown by its own size to each side, over all K joints.

    Args:
        detections, truth, visible, areas, boxes, sigmas: as for ``oks_matrix``.
        detection, person: (P,) indices of the pairs.

    Returns:
        (P,) float64.
    """
    detections, truth = np.asarray(detections, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    boxes, labelled = np.asarray(boxes, dtype=np.float64), np.asarray(visible) > 0
    variances = (np.asarray(sigmas, dtype=np.float64) * 2) ** 2
    normaliser = np.asarray(areas, dtype=np.float64) + np.spacing(1)
    labelled_first = np.argsort(~labelled, axis=1, kind="stable")
    counts = labelled.sum(axis=1)[person]
    result = np.zeros(len(counts))
    # numpy's pairwise sum depends on the number of terms: one group for each count keeps every bit of pycocotools.
    for count in np.unique(counts):
        rows = np.flatnonzero(counts == count)
        d, g = detection[rows], person[rows]
        if count == 0:
            dx, dy = _outside_doubled_box(detections[d], boxes[g])
            falloff = variances
        else:
            joints = labelled_first[g, :count]
            dx = detections[d[:, None], joints, 0] - truth[g[:, None], joints, 0]
            dy = detections[d[:, None], joints, 1] - truth[g[:, None], joints, 1]
            falloff = variances[joints]
        exponent = (dx**2 + dy**2) / falloff / normaliser[g, None] / 2
        result[rows] = np.exp(-exponent).sum(axis=1) / exponent.shape[1]
    return result


def _outside_doubled_box(points: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far points (P, K, 2) lie in x and in y outside of boxes (P, 4) grown by their size; (P, K) each."""
    low, high = boxes[:, :2] - boxes[:, 2:], boxes[:, :2] + boxes[:, 2:] * 2
    distances = [
        np.maximum(0, low[:, None, axis] - points[..., axis]) + np.maximum(0, points[..., axis] - high[:, None, axis])
        for axis in (0, 1)
    ]
    return distances[0], distances[1]


def pose_similarity(
    pose: np.ndarray, area: float, poses: np.ndarray, areas: np.ndarray, sigmas: Sequence[float] = COCO_SIGMAS
) -> np.ndarray:
    """OKS between detected poses as HRNet's NMS takes it: all joints count, the area is the mean of the two.

    Args:
        pose: (K, 2) and its ``area``.
        poses: (D, K, 2) and their ``areas`` (D,).
        sigmas: (K,).

    Returns:
        (D,) float64.
    """
    variances = (np.asarray(sigmas, dtype=np.float64) * 2) ** 2
    squared = ((np.asarray(poses) - np.asarray(pose)) ** 2).sum(axis=2)
    mean_area = (area + np.asarray(areas)) / 2 + np.spacing(1)
    return np.exp(-(squared / variances / mean_area[:, None] / 2)).sum(axis=1) / variances.size
