"""Small pictures of matrices, for TensorBoard: α by cell, and the policy's probabilities."""

from collections.abc import Mapping, Sequence

import numpy as np

CELL, GAP = 18, 1
# From white over light blue to dark blue, at 0, 1/2 and 1.
_STOPS = np.array([(255, 255, 255), (120, 180, 225), (20, 50, 120)], float)


def heatmap(rows: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """(R, C) values in [0, 1] as (H, W, 3) uint8 RGB, a square each."""
    values = np.clip(np.asarray(rows, float), 0, 1)
    low = np.clip(values * 2, 0, 1)[..., None]
    high = np.clip(values * 2 - 1, 0, 1)[..., None]
    colours = _STOPS[0] + low * (_STOPS[1] - _STOPS[0]) + high * (_STOPS[2] - _STOPS[1])
    picture = colours.astype(np.uint8).repeat(CELL, 0).repeat(CELL, 1)
    picture[::CELL] = picture[:, ::CELL] = 200
    return picture


def side_by_side(pictures: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pictures next to each other on white, in the order of their names."""
    height = max(picture.shape[0] for picture in pictures.values())
    padded = [
        np.pad(picture, ((0, height - picture.shape[0]), (0, 2 * CELL), (0, 0)), constant_values=255)
        for _, picture in sorted(pictures.items())
    ]
    return np.concatenate(padded, axis=1)
