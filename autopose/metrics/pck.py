"""PCKh of MPII and PCK of other sets: the share of joints found within a fraction of a body size.

Sources: Andriluka et al., CVPR 2014 (PCKh); HRNet lib/dataset/mpii.py; Yang and Ramanan, PAMI 2013 (PCK).

Letters: N people, K joints (16 of MPII in its order). Coordinates and sizes are pixels, shares are percent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HEAD_BOX_FACTOR = 0.6
NECK_TO_TOP_FACTOR = 0.8
UPPER_NECK, HEAD_TOP = 8, 9
PELVIS_AND_THORAX = (6, 7)
PCK_ALPHA = 0.2
PCK_REFERENCES = ("torso", "bbox", "joints")
COLUMNS = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
MPII_COLUMNS = {
    "Head": (9,),
    "Shoulder": (13, 12),
    "Elbow": (14, 11),
    "Wrist": (15, 10),
    "Hip": (3, 2),
    "Knee": (4, 1),
    "Ankle": (5, 0),
}


def head_sizes_from_boxes(corners: np.ndarray) -> np.ndarray:
    """0.6 times the diagonal of annotated head boxes.

    Args:
        corners: (N, 2, 2), person, corner, x and y. ``headboxes_src`` of gt_valid.mat is (corner, xy, person).

    Returns:
        (N,).
    """
    corners = np.asarray(corners, dtype=np.float64)
    return np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1) * HEAD_BOX_FACTOR


def head_sizes_from_joints(joints: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Head sizes where no head box is at hand: 0.75 times the distance of upper neck and head top.

    MPII's published upper neck and head top were made from the head box: they lie 0.8 of its diagonal apart, opposite
    its middle. So this is 0.6 times the diagonal of the annotated box, up to the joints' four decimals.

    Args:
        joints: (N, 16, 2).
        visible: (N, 16).

    Returns:
        (N,), NaN for a person on whom one of the two is not labelled.
    """
    joints = np.asarray(joints, dtype=np.float64)
    distances = np.linalg.norm(joints[:, HEAD_TOP] - joints[:, UPPER_NECK], axis=1)
    sizes = distances * (HEAD_BOX_FACTOR / NECK_TO_TOP_FACTOR)
    known = (np.asarray(visible)[:, (UPPER_NECK, HEAD_TOP)] > 0).all(axis=1)
    return np.where(known & (sizes > 0), sizes, np.nan)


def torso_sizes(joints: np.ndarray, visible: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Distance of left shoulder and right hip.

    Args:
        joints: (N, K, 2).
        visible: (N, K).
        names: the K joints' names in COCO's style.

    Returns:
        (N,), NaN for a person on whom one of the two is not labelled.

    Raises:
        ValueError: the set has no such joints.
    """
    missing = [name for name in ("left_shoulder", "right_hip") if name not in names]
    if missing:
        raise ValueError(f"torso size needs the joint {missing[0]}, which this set does not have; use bbox")
    ends = [list(names).index(name) for name in ("left_shoulder", "right_hip")]
    joints = np.asarray(joints, dtype=np.float64)
    sizes = np.linalg.norm(joints[:, ends[0]] - joints[:, ends[1]], axis=1)
    known = (np.asarray(visible)[:, ends] > 0).all(axis=1)
    return np.where(known & (sizes > 0), sizes, np.nan)


def box_sizes(boxes: np.ndarray) -> np.ndarray:
    """The longer side of boxes (N, 4) x, y, w, h; (N,), NaN for an empty one."""
    sizes = np.asarray(boxes, dtype=np.float64)[:, 2:].max(axis=1)
    return np.where(sizes > 0, sizes, np.nan)


def extent_sizes(joints: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """The longer side of the labelled joints' extent, for people whose box is the whole picture.

    Args:
        joints: (N, K, 2).
        visible: (N, K).

    Returns:
        (N,), NaN where fewer than two joints are labelled or all lie on one point.
    """
    labelled = np.asarray(visible)[..., None] > 0
    joints = np.asarray(joints, dtype=np.float64)
    high, low = np.where(labelled, joints, -np.inf).max(axis=1), np.where(labelled, joints, np.inf).min(axis=1)
    sizes = np.where(labelled.any(axis=1), high - low, 0.0).max(axis=1)
    return np.where(sizes > 0, sizes, np.nan)


def choose_reference(names: Sequence[str], whole_pictures: bool) -> str:
    """Of PCK_REFERENCES: the torso where the joints have one; else the box, or the joints' extent where boxes are
    whole pictures and say nothing of a body's size.
    """
    if {"left_shoulder", "right_hip"} <= set(names):
        return "torso"
    return "joints" if whole_pictures else "bbox"


def reference_sizes(
    joints: np.ndarray, visible: np.ndarray, boxes: np.ndarray, names: Sequence[str], reference: str
) -> np.ndarray:
    """The sizes (N,) in px that PCK refers to, NaN where a person has none.

    Args:
        joints: (N, K, 2).
        visible: (N, K).
        boxes: (N, 4) x, y, w, h.
        names: the K joints' names.
        reference: one of PCK_REFERENCES.

    Raises:
        ValueError: an unknown reference, or joints without a torso.
    """
    if reference == "torso":
        return torso_sizes(joints, visible, names)
    if reference == "joints":
        return extent_sizes(joints, visible)
    if reference == "bbox":
        return box_sizes(boxes)
    raise ValueError(f"the size that PCK refers to must be one of {', '.join(PCK_REFERENCES)}, got '{reference}'")


def pck(
    predictions: np.ndarray, truth: np.ndarray, visible: np.ndarray, sizes: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Percentage of labelled joints within ``threshold * size`` of their place.

    Args:
        predictions, truth: (N, K, 2), both 0-based or both 1-based.
        visible: (N, K), a joint counts where it is above 0.
        sizes: (N,) px; a person of size NaN does not count.
        threshold: fraction of the size; a joint exactly at it is found.

    Returns:
        percent (K,), NaN for a joint that is never labelled, and the number of labelled ones (K,).
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    counted = (np.asarray(visible) > 0) & np.isfinite(sizes)[:, None]
    error = np.linalg.norm(np.asarray(predictions, dtype=np.float64) - np.asarray(truth, dtype=np.float64), axis=2)
    found = counted & (error / np.where(np.isfinite(sizes), sizes, 1.0)[:, None] <= threshold)
    counts = counted.sum(axis=0)
    return np.where(counts > 0, 100.0 * found.sum(axis=0) / np.maximum(counts, 1), np.nan), counts


def weighted_mean(percent: np.ndarray, counts: np.ndarray, left_out: Sequence[int] = ()) -> float:
    """Mean of (K,) percentages weighted by (K,) counts, without the joints ``left_out``; NaN without any count."""
    percent, counts = np.asarray(percent, dtype=np.float64), np.array(counts, dtype=np.float64)
    counts[list(left_out)] = 0
    if counts.sum() == 0:
        return float("nan")
    used = counts > 0
    return float((percent[used] * counts[used]).sum() / counts.sum())


def pckh(predictions: np.ndarray, truth: np.ndarray, visible: np.ndarray, head_sizes: np.ndarray) -> dict[str, float]:
    """MPII's table: PCKh@0.5 by body part and its mean, and the mean at 0.1.

    Left and right joints of a part count equally; the means weigh joints by the number of labelled ones and leave
    pelvis and thorax out. HRNet prints 0.11 under the name Mean@0.1; here it is 0.1.

    Args:
        predictions, truth: (N, 16, 2), both 0-based or both 1-based.
        visible: (N, 16).
        head_sizes: (N,) px, see ``head_sizes_from_boxes``.

    Returns:
        percentages by COLUMNS, ``Mean`` and ``Mean@0.1``.
    """
    half, counts = pck(predictions, truth, visible, head_sizes, 0.5)
    tenth, _ = pck(predictions, truth, visible, head_sizes, 0.1)
    table = {name: float(np.mean(half[list(joints)])) for name, joints in MPII_COLUMNS.items()}
    table["Mean"] = weighted_mean(half, counts, PELVIS_AND_THORAX)
    table["Mean@0.1"] = weighted_mean(tenth, counts, PELVIS_AND_THORAX)
    return table


def columns_of(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The literature's columns in their order, as joints of a set with these names (COCO's style); absent without any.

    Head is the head top, or the head or nose of a set without one.
    """
    names = list(names)
    columns = {}
    head = [name for name in ("head_top", "head", "nose") if name in names][:1]
    if head:
        columns["Head"] = (names.index(head[0]),)
    for part in COLUMNS[1:]:
        joints = [names.index(name) for side in ("left", "right") if (name := f"{side}_{part.lower()}") in names]
        if joints:
            columns[part] = tuple(joints)
    return columns


def pck_table(
    predictions: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray,
    sizes: np.ndarray,
    names: Sequence[str],
    alpha: float = PCK_ALPHA,
    plain: Sequence[str] | None = None,
) -> dict[str, float]:
    """PCK@alpha by the literature's columns, its mean over all labelled joints, and by every joint.

    Args:
        predictions, truth: (N, K, 2).
        visible: (N, K).
        sizes: (N,) px, see ``torso_sizes`` and ``box_sizes``.
        names: the K joints' names.
        alpha: fraction of the size.
        plain: the names in COCO's style, by which the columns are found; default: ``names``.

    Returns:
        percentages by column, ``Mean``, and by the joints' own names.
    """
    percent, counts = pck(predictions, truth, visible, sizes, alpha)
    table = {column: float(np.mean(percent[list(joints)])) for column, joints in columns_of(plain or names).items()}
    table["Mean"] = weighted_mean(percent, counts)
    return table | {name: float(value) for name, value in zip(names, percent, strict=True)}
