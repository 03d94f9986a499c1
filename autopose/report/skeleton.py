"""Poses painted into pictures: pictures of a sheet and frames of a video. K joints, P people; coordinates in px.

Limbs of the left side are blue, of the right side orange, of the middle green (without limbs every joint has a colour
of its own); each lies on a dark line with a light
rim, so that it is legible on any background, and its width follows the person's size.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from autopose.data.inspection.sheet import hues
from autopose.data.schema import KeypointSchema

LEFT, RIGHT, MIDDLE = (0, 114, 178), (230, 100, 0), (0, 158, 115)
_SHIFT = 4


def joint_colours(schema: KeypointSchema) -> list[tuple]:
    """RGB of every joint by its side; of a mirror pair, the joint whose name says left is the left one, else the first.

    Where there are no limbs to tell joints apart, each has a colour of its own, as on the sheet of a data set's check.
    """
    if not schema.skeleton:
        return list(hues(schema.num_joints))
    colours: list[tuple] = [MIDDLE] * schema.num_joints
    for a, b in schema.flip_pairs:
        first_is_right = "right" in schema.joints[a].lower() or "left" in schema.joints[b].lower()
        colours[a], colours[b] = (RIGHT, LEFT) if first_is_right else (LEFT, RIGHT)
    return colours


def paint_pose(
    picture: np.ndarray,
    joints: np.ndarray,
    seen: np.ndarray,
    skeleton: Sequence[tuple[int, int]],
    colours: Sequence[tuple],
    scores: Sequence[float] | None = None,
) -> None:
    """Paint one person in place.

    Args:
        picture: (H, W, 3) uint8 RGB, contiguous.
        joints: (K, 2), the centre of the first pixel being (0, 0).
        seen: (K,) bool; a limb needs both of its ends, and joints that are not finite are left out.
        skeleton: 0-based pairs of joints.
        colours: of the joints, see ``joint_colours``; a limb takes that of its end at a side, if one is.
        scores: (K,); a joint is filled in proportion to its score, empty at 0; all are full where not given.
    """
    joints = np.asarray(joints, np.float64)
    # A joint far outside of the picture would overflow OpenCV's fixed-point coordinates.
    near = np.abs(joints).max(axis=1) < 8 * max(picture.shape[:2])
    seen = np.asarray(seen, bool) & np.isfinite(joints).all(axis=1) & near
    if not seen.any():
        return
    extent = float(np.hypot(*np.ptp(joints[seen], axis=0)))
    line = int(np.clip(round(extent / 90), 2, 12))
    limbs = [(a, b) for a, b in skeleton if seen[a] and seen[b]]
    for rim, tint in ((4, (245, 245, 245)), (2, (20, 20, 20)), (0, None)):
        for a, b in limbs:
            colour = tint or (colours[b] if colours[a] == MIDDLE else colours[a])
            cv2.line(picture, _fixed(joints[a]), _fixed(joints[b]), colour, line + rim, cv2.LINE_AA, _SHIFT)
    sure = np.ones(len(joints)) if scores is None else np.clip(np.asarray(scores, float), 0, 1)
    for k in np.flatnonzero(seen):
        hollow = (line - 0.4) * (1 - sure[k]) ** 0.5
        rings = ((line + 1.6, (20, 20, 20)), (line + 0.6, colours[k]), (hollow, (245, 245, 245)))
        for radius, tint in rings:
            if radius >= 0.5:
                cv2.circle(picture, _fixed(joints[k]), round(radius * 2**_SHIFT), tint, -1, cv2.LINE_AA, _SHIFT)


def paint_label(picture: np.ndarray, text: str, box: Sequence[float]) -> None:
    """Write a short text at the upper left corner of a person's box [x, y, width, height], in place."""
    scale = float(np.clip(max(box[2:4]) / 350, 0.4, 2.0))
    thick = max(round(scale * 1.6), 1)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    pad = max(round(scale * 5), 2)
    x = int(np.clip(box[0], pad, max(picture.shape[1] - width - pad, pad)))
    y = int(np.clip(box[1] + height + pad, height + pad, max(picture.shape[0] - pad, height + pad)))
    cv2.rectangle(picture, (x - pad, y - height - pad), (x + width + pad, y + pad), (20, 20, 20), -1)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (245, 245, 245), thick, cv2.LINE_AA)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0]) * 2**_SHIFT), round(float(point[1]) * 2**_SHIFT)
