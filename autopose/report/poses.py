"""Poses over their image. Letters: P people, K joints, H and W the image's sides."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from autopose.report.saving import save_figure

PEOPLE = ("#e69f00", "#56b4e9", "#f0e442", "#cc79a7", "#00c08b", "#d55e00", "#3d8bfd")
POSE_SIDE = 800


def draw_poses(
    image: np.ndarray,
    joints: np.ndarray,
    scores: np.ndarray,
    skeleton: Sequence[tuple[int, int]],
    path: str | os.PathLike,
    threshold: float = 0.2,
) -> None:
    """Poses over their image, one colour a person; small images are enlarged by a whole factor.

    Args:
        image: (H, W, 3) uint8 RGB.
        joints: (P, K, 2) px.
        scores: (P, K); a limb is drawn where both its joints reach ``threshold``.
        skeleton: 0-based pairs of joints.
        path: of the picture.
        threshold: least score of a joint that is drawn.
    """
    joints, scores = np.asarray(joints, float), np.asarray(scores, float)
    if image.ndim != 3 or image.shape[2] != 3 or joints.shape != (*scores.shape, 2):
        raise ValueError(
            f"expected image (H, W, 3), joints (P, K, 2) and scores (P, K), but got {image.shape}, {joints.shape} "
            f"and {scores.shape}"
        )
    height, width = image.shape[:2]
    zoom = max(POSE_SIDE // max(height, width), 1)
    # A hundredth of a pixel more, because the sizes in px are cut, not rounded.
    figure = Figure(figsize=((width * zoom + 0.01) / 100, (height * zoom + 0.01) / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image, interpolation="nearest" if zoom == 1 else "bicubic", aspect="auto")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.axis("off")
    for person, (points, seen) in enumerate(zip(joints, scores >= threshold, strict=True)):
        seen = seen & np.isfinite(points).all(axis=1)
        if seen.any():
            _draw_person(axes, points, seen, skeleton, PEOPLE[person % len(PEOPLE)], zoom)
    save_figure(figure, path, 100)


def _draw_person(axes: Axes, points: np.ndarray, seen: np.ndarray, skeleton, colour: str, zoom: int) -> None:
    extent = np.hypot(*np.ptp(points[seen], axis=0)) * zoom
    line = float(np.clip(extent / 110, 1.2, 6.0))
    limbs = [points[[a, b]] for a, b in skeleton if seen[a] and seen[b]]
    for width, tint in ((line + 1.4, "black"), (line, colour)):
        axes.add_collection(LineCollection(limbs, linewidths=width, colors=tint, capstyle="round", zorder=3))
    axes.scatter(*points[seen].T, s=(line + 2.2) ** 2, c=colour, edgecolors="white", linewidths=line / 4, zorder=4)
