"""Boxes of people: which can be used. Boxes are x, y, width, height in px of the picture, and a score."""

from collections.abc import Sequence

import numpy as np

from autopose.errors import UserError


def whole_picture(image: np.ndarray) -> np.ndarray:
    """(1, 5): one box around all of image (H, W, 3), with score 1."""
    height, width = image.shape[:2]
    return np.array([[0.0, 0.0, width, height, 1.0]])


def box_problem(box: Sequence[float], width: int, height: int) -> str | None:
    """Why x, y, w, h holds nothing of a picture of ``width`` x ``height`` px, None where it does."""
    x, y, w, h = (float(value) for value in box[:4])
    shown = f"[{x:g}, {y:g}, {w:g}, {h:g}]"
    if not np.isfinite([x, y, w, h]).all():
        return f"the box {shown} is not finite: give x, y, width, height in px"
    if w < 0 or h < 0:
        return f"the box {shown} has a negative side: give x, y, width, height, not two corners"
    if w < 1 or h < 1:
        return f"the box {shown} is empty: its sides must be at least 1 px"
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return f"the box {shown} lies outside of the picture of {width} x {height} px"
    return None


def as_boxes(boxes: object, image: np.ndarray) -> np.ndarray:
    """Boxes (P, 4), (P, 5) or one of (4,) as (P, 5) with scores; None: the whole picture.

    Raises:
        UserError: another shape, or a box that cannot be used.
    """
    if boxes is None:
        return whole_picture(image)
    try:
        rows = np.atleast_2d(np.asarray(boxes, dtype=np.float64))
    except (TypeError, ValueError):
        raise UserError(f"boxes must be numbers: x, y, width, height in px a person, but are {boxes!r:.80}") from None
    if rows.size == 0:
        return np.zeros((0, 5))
    if rows.ndim != 2 or rows.shape[1] not in (4, 5):
        raise UserError(f"boxes must be (P, 4) x, y, width, height in px, or (P, 5) with scores, but are {rows.shape}")
    for row in rows:
        problem = box_problem(row, image.shape[1], image.shape[0])
        if problem:
            raise UserError(problem)
    return rows if rows.shape[1] == 5 else np.column_stack([rows, np.ones(len(rows))])
