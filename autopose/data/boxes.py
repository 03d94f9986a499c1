"""Boxes that other tools write in another way than COCO's x, y, width, height in px. N boxes."""

from collections.abc import Sequence

import numpy as np

from autopose.errors import UserError

# Of the boxes that fit as corners, the share that must leave the picture as x, y, width, height; fewer are enough where
# all of many fit as corners, which widths and heights hardly do by chance.
_MOST, _MANY, _SOME = 0.5, 10, 0.35
# A detector's box may stand out this much, as a share of the picture.
_MARGIN = 0.05


def check_box_format(boxes: np.ndarray, sizes: np.ndarray, where: str) -> None:
    """Refuse boxes that cannot be x, y, width, height in px.

    Args:
        boxes: (N, 4).
        sizes: (N, 2) width and height of each box's picture.
        where: for the message ("'val.json', boxes of the annotations").

    Raises:
        UserError: all values are at most 1 (shares of the picture), most are two corners, or a side is negative.
    """
    boxes, sizes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.asarray(sizes, np.float64).reshape(-1, 2)
    given = (boxes != 0).any(axis=1)
    boxes, sizes = boxes[given], sizes[given]
    if not len(boxes):
        return
    shown = f"the first is {_shown(boxes[0])} on a picture of {sizes[0, 0]:g}x{sizes[0, 1]:g} px"
    if boxes.max() <= 1 and boxes.min() >= 0:
        raise UserError(
            f"{where} look normalised, no value is above 1 ({shown}): give x, y, width, height in px, which is these "
            "times the picture's width and height"
        )
    negative = np.flatnonzero((boxes[:, 2:] < 0).any(axis=1))
    if len(negative):
        raise UserError(
            f"{where}: {len(negative)} of {len(boxes)} have a negative width or height, as in "
            f"{_shown(boxes[negative[0]])}: boxes are x, y, width, height in px"
        )
    corners = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (boxes[:, 2:] <= sizes * (1 + _MARGIN) + 1).all(axis=1)
    leaving = corners & (boxes[:, :2] + boxes[:, 2:] > sizes * (1 + _MARGIN) + 1).any(axis=1)
    share = leaving.mean()
    if share > _MOST or (share > _SOME and corners.all() and len(boxes) >= _MANY):
        raise UserError(
            f"{where} look like two corners (x1, y1, x2, y2): {leaving.sum()} of {len(boxes)} would leave their "
            f"picture as x, y, width, height, and fit as corners ({shown}): give x, y, x2 - x1, y2 - y1"
        )


def box_problem(box: Sequence[float]) -> str | None:
    """Why x, y, width, height is the box of nobody, None where it may be one."""
    if min(box[2:]) < 0:
        return f"the box {_shown(box)} has a negative side: give x, y, width, height in px, not two corners"
    if min(box[2:]) == 0:
        return f"the box {_shown(box)} is empty: its width and height must be above 0"
    return None


def _shown(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
