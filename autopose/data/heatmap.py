"""Heatmap targets and their decoding, in the convention of HRNet, with UDP and DARK as options.

Sources: HRNet lib/dataset/JointsDataset.py and lib/core/inference.py; DARK: Zhang et al., CVPR 2020;
UDP: Huang et al., CVPR 2020.

Letters: N people, K joints, h and w the heatmap's height and width. Sizes are (width, height).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import cv2
import numpy as np

from .affine import PIXEL_STD, crop_matrix, transform_points

DECODERS = ("quarter", "dark", "dark_udp", "argmax")
BLUR_KERNEL = 11  # a Gaussian of sigma 2 in OpenCV's rule, the sigma of the targets


def encode(
    joints: np.ndarray,
    visible: np.ndarray,
    size_wh: Sequence[int],
    heatmap_wh: Sequence[int],
    sigma: float = 2,
    udp: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian targets with peak 1 at the joint's rounded cell, cut at a radius of ceil(3 sigma), 13 x 13 for 2.

    With ``udp`` the stride is (size - 1) / (heatmap - 1) and the peak stays at the joint's exact place.

    Args:
        joints: (K, 2) in pixels of the network's input.
        visible: (K,) 0 not labelled, 1 occluded, 2 visible.
        size_wh, heatmap_wh: sizes of the input and of the heatmap.
        sigma: in heatmap cells; fractions as well.
        udp: unbiased data processing.

    Returns:
        target (K, h, w) float32, zero for a joint that is not labelled, and weight (K,) float32: 1 for a labelled
        joint, 0 otherwise and for a window that lies wholly outside (one that just touches the left or upper border
        from outside keeps weight 1, as in HRNet).
    """
    size, grid = np.asarray(size_wh, dtype=np.float64), np.asarray(heatmap_wh, dtype=np.float64)
    stride = (size - 1) / (grid - 1) if udp else size / grid
    width, height = int(heatmap_wh[0]), int(heatmap_wh[1])
    places = np.asarray(joints, dtype=np.float64)[:, :2] / stride
    cells = np.trunc(places + 0.5)
    radius = ceil(3 * sigma)
    first = np.trunc(cells - radius).astype(np.int64)
    stop = np.trunc(cells + radius + 1).astype(np.int64)
    weight = np.minimum(np.asarray(visible, dtype=np.float32), 1)
    outside = (first >= (width, height)).any(axis=1) | (stop < 0).any(axis=1)
    weight = np.where(outside, np.float32(0), weight)

    target = np.zeros((len(places), height, width), dtype=np.float32)
    window = _gaussian_window(sigma)
    for k in np.flatnonzero(weight > 0.5):
        (x0, y0), (x1, y1) = first[k], stop[k]
        patch = _gaussian_window(sigma, places[k] - cells[k]) if udp else window
        rows, columns = slice(max(0, y0), min(y1, height)), slice(max(0, x0), min(x1, width))
        target[k, rows, columns] = patch[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]
    return target, weight


def _gaussian_window(sigma: float, shift: np.ndarray | None = None) -> np.ndarray:
    """Samples of a Gaussian with peak 1 2 ceil(3 sigma) + 1 cells a side, its peak moved by shift (x, y)."""
    size = 2 * ceil(3 * sigma) + 1
    middle = size // 2
    x = np.arange(0, size, 1, np.float32)  # float32 as in HRNet, whose targets are matched to the bit
    dx, dy = x - middle, x[:, None] - middle
    if shift is not None:
        dx, dy = dx - shift[0], dy - shift[1]
    return np.exp(-(dx**2 + dy**2) / (2 * sigma**2))


def decode(heatmaps: np.ndarray, method: str = "quarter") -> tuple[np.ndarray, np.ndarray]:
    """Joint places and scores from heatmaps.

    The place is the argmax, moved by a quarter cell towards the higher neighbour in x and in y (``quarter``, HRNet's;
    only where 1 < x < w - 1 and 1 < y < h - 1), by one Newton step on the logarithm of the blurred map (``dark``,
    DARK's; ``dark_udp``, the form used with UDP), or not at all (``argmax``). The score is the maximum, and a map
    without a positive value decodes to (0, 0).

    Args:
        heatmaps: (N, K, h, w), any float dtype.
        method: one of DECODERS.

    Returns:
        coords (N, K, 2) float64 in heatmap cells (x, y), scores (N, K) of the heatmaps' dtype.

    Raises:
        ValueError: unknown method or wrong number of dimensions.
    """
    if method not in DECODERS:
        raise ValueError(f"decoding method must be one of {', '.join(DECODERS)}, got {method!r}")
    heatmaps = np.asarray(heatmaps)
    if heatmaps.ndim != 4:
        raise ValueError(f"heatmaps must be (N, K, h, w), got shape {heatmaps.shape}")
    n, k, height, width = heatmaps.shape
    flat = heatmaps.reshape(n * k, height, width)
    best = flat.reshape(n * k, height * width).argmax(axis=1)
    scores = flat[np.arange(n * k), best // width, best % width]
    cells = np.stack([best % width, best // width], axis=1) * (scores > 0)[:, None]
    coords = cells.astype(np.float64)
    if method == "quarter":
        coords += _quarter_shift(flat, cells)
    elif method == "dark":
        coords += _dark_shift(flat, cells)
    elif method == "dark_udp":
        coords += _dark_udp_shift(flat, cells) * (scores > 0)[:, None]
    return coords.reshape(n, k, 2), scores.reshape(n, k)


def _quarter_shift(maps: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """A quarter cell towards the higher neighbour; maps (M, h, w), cells (M, 2) -> (M, 2)."""
    _, height, width = maps.shape
    shift = np.zeros(cells.shape)
    x, y = cells.T
    m = np.flatnonzero((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1))
    x, y = x[m], y[m]
    shift[m, 0] = np.sign(maps[m, y, x + 1] - maps[m, y, x - 1])
    shift[m, 1] = np.sign(maps[m, y + 1, x] - maps[m, y - 1, x])
    return shift * 0.25


def _blurred(maps: np.ndarray) -> np.ndarray:
    """Each map smoothed with the targets' Gaussian over a zero border, brought back to its own maximum; (M, h, w)."""
    result = np.empty(maps.shape, dtype=np.float32)
    for source, out in zip(maps, result, strict=True):
        out[:] = cv2.GaussianBlur(
            source.astype(np.float32), (BLUR_KERNEL, BLUR_KERNEL), 0, borderType=cv2.BORDER_CONSTANT
        )
        peak = out.max()
        if peak > 0:
            out *= source.max() / peak
    return result


def _dark_shift(maps: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """DARK's Newton step -H^-1 g on the log of the smoothed map, differences over two cells; (M, 2)."""
    _, height, width = maps.shape
    shift = np.zeros(cells.shape)
    x, y = cells.T
    m = np.flatnonzero((x > 1) & (x < width - 2) & (y > 1) & (y < height - 2))
    x, y = x[m], y[m]
    log = np.log(np.maximum(_blurred(maps[m]), 1e-10)).astype(np.float64)
    m_ = np.arange(len(m))
    center = log[m_, y, x]
    dx = 0.5 * (log[m_, y, x + 1] - log[m_, y, x - 1])
    dy = 0.5 * (log[m_, y + 1, x] - log[m_, y - 1, x])
    dxx = 0.25 * (log[m_, y, x + 2] - 2 * center + log[m_, y, x - 2])
    dyy = 0.25 * (log[m_, y + 2, x] - 2 * center + log[m_, y - 2, x])
    dxy = 0.25 * (log[m_, y + 1, x + 1] - log[m_, y - 1, x + 1] - log[m_, y + 1, x - 1] + log[m_, y - 1, x - 1])
    shift[m] = _newton_step(dx, dy, dxx, dyy, dxy)
    return shift


def _dark_udp_shift(maps: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The Newton step as UDP's code takes it: values clipped to [1e-3, 50], one-cell differences, edges repeated."""
    log = np.log(np.clip(_blurred(maps), 1e-3, 50)).astype(np.float64)
    log = np.pad(log, ((0, 0), (1, 1), (1, 1)), mode="edge")
    m, (x, y) = np.arange(len(maps)), cells.T + 1
    center, right, left = log[m, y, x], log[m, y, x + 1], log[m, y, x - 1]
    below, above = log[m, y + 1, x], log[m, y - 1, x]
    dxy = 0.5 * (log[m, y + 1, x + 1] - right - below + 2 * center - left - above + log[m, y - 1, x - 1])
    eps = np.finfo(np.float32).eps
    dxx, dyy = right - 2 * center + left + eps, below - 2 * center + above + eps
    return _newton_step(0.5 * (right - left), 0.5 * (below - above), dxx, dyy, dxy)


def _newton_step(dx: np.ndarray, dy: np.ndarray, dxx: np.ndarray, dyy: np.ndarray, dxy: np.ndarray) -> np.ndarray:
    """-H^-1 g of M points, zero where H is singular; (M, 2)."""
    determinant = dxx * dyy - dxy**2
    regular = determinant != 0
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=1)
    return np.where(regular[:, None], step / np.where(regular, determinant, 1.0)[:, None], 0.0)


def to_image(
    coords: np.ndarray, center: np.ndarray, scale: np.ndarray, heatmap_wh: Sequence[int], udp: bool = False
) -> np.ndarray:
    """Bring decoded places back to image pixels.

    Args:
        coords: (N, K, 2) heatmap cells.
        center, scale: (N, 2) of the crops, scale in units of 200 px.
        heatmap_wh: width and height of the heatmaps.
        udp: unbiased data processing.

    Returns:
        (N, K, 2) float64 pixels.
    """
    coords = np.asarray(coords, dtype=np.float64)
    return transform_points(coords, back_matrices(center, scale, heatmap_wh, udp)[:, None])


def back_matrices(center: np.ndarray, scale: np.ndarray, heatmap_wh: Sequence[int], udp: bool = False) -> np.ndarray:
    """The affine matrices (N, 2, 3) from heatmap cells to image pixels; arguments as ``to_image``'s."""
    if udp:
        box = np.asarray(scale, dtype=np.float64) * PIXEL_STD
        zoom = box / (np.asarray(heatmap_wh) - 1.0)
        matrices = np.zeros((len(box), 2, 3))
        matrices[:, 0, 0], matrices[:, 1, 1] = zoom[:, 0], zoom[:, 1]
        matrices[:, :, 2] = np.asarray(center, dtype=np.float64) - box / 2
        return matrices
    rows = [crop_matrix(c, s, 0, heatmap_wh, inverse=True) for c, s in zip(center, scale, strict=True)]
    return np.stack(rows) if rows else np.zeros((0, 2, 3))
