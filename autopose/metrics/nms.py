"""Non-maximum suppression of poses by OKS, in HRNet's convention (lib/nms/nms.py).

Letters: N poses, K joints. Coordinates are pixels, areas pixels squared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .oks import COCO_SIGMAS, pose_similarity

THRESHOLD = 0.9
MAX_DETECTIONS = 20
NMS_METHODS = ("oks", "soft", "none")


def scaled_box_area(scale: np.ndarray, pixel_std: float = 200) -> np.ndarray:
    """Area of the padded crop, (N,) pixels squared, which HRNet's NMS takes for the area of a pose; scale (N, 2)."""
    return np.prod(np.asarray(scale) * pixel_std, axis=-1)


def oks_nms(
    poses: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float] = COCO_SIGMAS,
    threshold: float = THRESHOLD,
) -> list[int]:
    """Keep the best pose, drop those with a larger OKS to it than the threshold, and so on.

    Args:
        poses: (N, K, 2) or (N, K, 3), of one image.
        scores: (N,).
        areas: (N,), see ``scaled_box_area``.
        sigmas: (K,).
        threshold: poses are dropped above it.

    Returns:
        Indices of the kept poses, best first.
    """
    poses, areas = np.asarray(poses)[..., :2], np.asarray(areas)
    order = np.asarray(scores).argsort()[::-1]
    keep = []
    while order.size:
        best, order = order[0], order[1:]
        keep.append(int(best))
        overlap = pose_similarity(poses[best], areas[best], poses[order], areas[order], sigmas)
        order = order[overlap <= threshold]
    return keep


def soft_oks_nms(
    poses: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float] = COCO_SIGMAS,
    threshold: float = THRESHOLD,
    max_detections: int = MAX_DETECTIONS,
) -> list[int]:
    """Keep the best pose, damp the others' scores by exp(-OKS^2 / threshold), sort again, until enough are kept.

    The damped scores only decide the order and which poses are kept; results keep their own scores, as in HRNet.

    Args:
        poses, scores, areas, sigmas: as for ``oks_nms``.
        threshold: of the damping.
        max_detections: number of poses to keep at most.

    Returns:
        Indices of the kept poses, in the order of keeping.
    """
    poses, areas = np.asarray(poses)[..., :2], np.asarray(areas)
    order = np.asarray(scores).argsort()[::-1]
    scores = np.asarray(scores)[order]
    keep = []
    while order.size and len(keep) < max_detections:
        best, order = order[0], order[1:]
        keep.append(int(best))
        overlap = pose_similarity(poses[best], areas[best], poses[order], areas[order], sigmas)
        scores = scores[1:] * np.exp(-(overlap**2) / threshold)
        resort = scores.argsort()[::-1]
        order, scores = order[resort], scores[resort]
    return keep


def nms_by_image(
    image_ids: Sequence[int],
    poses: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float] = COCO_SIGMAS,
    method: str = "oks",
    threshold: float = THRESHOLD,
) -> list[int]:
    """Suppress the poses of a whole set, image by image in the order of their first appearance.

    Args:
        image_ids: (N,).
        poses, scores, areas, sigmas, threshold: as for ``oks_nms``.
        method: one of NMS_METHODS.

    Returns:
        Indices of the kept poses, grouped by image; 0..N-1 for ``none``.

    Raises:
        ValueError: unknown method.
    """
    if method not in NMS_METHODS:
        raise ValueError(f"nms must be one of {', '.join(NMS_METHODS)}, got {method!r}")
    if method == "none":
        return list(range(len(image_ids)))
    suppress = oks_nms if method == "oks" else soft_oks_nms
    poses, scores, areas = np.asarray(poses), np.asarray(scores), np.asarray(areas)
    members: dict[int, list[int]] = {}
    for index, image_id in enumerate(image_ids):
        members.setdefault(int(image_id), []).append(index)
    kept = []
    for rows in members.values():
        kept += [rows[i] for i in suppress(poses[rows], scores[rows], areas[rows], sigmas, threshold)]
    return kept
