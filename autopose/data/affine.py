"""Person boxes, crop transforms and their inverses, in the convention of HRNet.

Sources: HRNet lib/utils/transforms.py, lib/dataset/coco.py and lib/dataset/mpii.py; UDP: Huang et al., CVPR 2020.

Letters: N boxes or people. Boxes are x, y, w, h in image pixels; ``scale`` is a crop's width and height in units of
``PIXEL_STD`` pixels; sizes are (width, height). Matrices are 2x3 and act on (x, y, 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

PIXEL_STD = 200
PADDING = 1.25


def box_to_center_scale(
    boxes: np.ndarray, aspect: float, pixel_std: float = PIXEL_STD, padding: float = PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Center and scale of the crops that hold the boxes: the short side grows to the aspect, then both by the padding.

    Args:
        boxes: (N, 4) or (4,) x, y, w, h in pixels.
        aspect: width / height of the network's input.
        pixel_std: pixels per unit of scale.
        padding: growth of the box; not applied where center x is -1, HRNet's mark of an absent box.

    Returns:
        center (N, 2) pixels and scale (N, 2), float32 as in HRNet; without N for a single box.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    x, y, w, h = np.moveaxis(boxes, -1, 0)
    center = np.stack([x + w * 0.5, y + h * 0.5], axis=-1).astype(np.float32)
    wide, tall = w > aspect * h, w < aspect * h
    size = np.stack([np.where(tall, h * aspect, w), np.where(wide, w / aspect, h)], axis=-1)
    scale = (size / pixel_std).astype(np.float32)
    return center, np.where(center[..., :1] != -1, scale * np.float32(padding), scale)


def mpii_center_scale(center: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Center and scale of MPII's annotation as HRNet crops them: moved down by 15 * scale, scale * 1.25, 0-based.

    Args:
        center: (N, 2) or (2,) 1-based pixels as annotated; x = -1 marks an absent one, which is not grown.
        scale: (N,) or scalar, person height / 200 px.

    Returns:
        center (N, 2) 0-based pixels and scale (N, 2), float64; without N for a single person.
    """
    center = np.array(center, dtype=np.float64)
    scale = np.repeat(np.asarray(scale, dtype=np.float64)[..., None], 2, axis=-1)
    present = center[..., 0] != -1
    center[..., 1] += np.where(present, 15 * scale[..., 1], 0.0)
    return center - 1, np.where(present[..., None], scale * PADDING, scale)


def crop_matrix(
    center: np.ndarray,
    scale: np.ndarray,
    rotation_deg: float,
    size_wh: Sequence[int],
    inverse: bool = False,
    udp: bool = False,
) -> np.ndarray:
    """The affine matrix from image pixels to the pixels of a crop (or of its heatmap).

    The default fixes three points as HRNet does: the center, the point half a crop width above it, and the corner of
    their right angle, so only the width sets the zoom. With ``udp`` the crop's corner pixels, not its border, meet the
    box (Huang et al., CVPR 2020): zoom (size - 1) / box in each direction. Positive angles turn the picture
    counter-clockwise in the default and clockwise with ``udp``, as in the codes both come from.

    Args:
        center: (2,) pixels.
        scale: (2,) in units of PIXEL_STD pixels.
        rotation_deg: degrees.
        size_wh: width and height of the crop in pixels.
        inverse: return the matrix from the crop to the image.
        udp: unbiased data processing.

    Returns:
        (2, 3) float64.
    """
    center, box = np.asarray(center), np.asarray(scale) * PIXEL_STD
    angle = np.deg2rad(rotation_deg)
    if udp:
        matrix = _udp_matrix(center.astype(np.float64), box.astype(np.float64), angle, size_wh)
        return cv2.invertAffineTransform(matrix) if inverse else matrix
    up = box[0] * -0.5
    source = _three_points(center, np.array([-up * np.sin(angle), up * np.cos(angle)]))
    middle = np.array([size_wh[0] * 0.5, size_wh[1] * 0.5])
    target = _three_points(middle, np.array([0.0, size_wh[0] * -0.5]))
    return cv2.getAffineTransform(target, source) if inverse else cv2.getAffineTransform(source, target)


def _three_points(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Origin, origin + direction, and the third corner of the right angle at the second; (3, 2) float32."""
    points = np.empty((3, 2), dtype=np.float32)
    points[0] = origin
    points[1] = origin + direction
    back = points[0] - points[1]
    points[2] = points[1] + np.array([-back[1], back[0]], dtype=np.float32)
    return points


def _udp_matrix(center: np.ndarray, box: np.ndarray, angle: float, size_wh: Sequence[int]) -> np.ndarray:
    zoom = (np.asarray(size_wh, dtype=np.float64) - 1) / box
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn * zoom[:, None], zoom * (0.5 * box - turn @ center)])


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply an affine matrix: points (..., 2), matrix (2, 3) or (..., 2, 3) to be broadcast; (..., 2) float64."""
    matrix = np.asarray(matrix, dtype=np.float64)
    points = np.asarray(points, dtype=np.float64)
    return (matrix[..., :2] @ points[..., None])[..., 0] + matrix[..., 2]


def crop_image(image: np.ndarray, matrix: np.ndarray, size_wh: Sequence[int]) -> np.ndarray:
    """Sample a crop bilinearly; outside of the image is zero.

    Args:
        image: (H, W) or (H, W, C).
        matrix: (2, 3) from image to crop pixels.
        size_wh: width and height of the crop.

    Returns:
        (size_h, size_w[, C]) of the image's dtype.
    """
    return cv2.warpAffine(
        image,
        matrix,
        (int(size_wh[0]), int(size_wh[1])),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
