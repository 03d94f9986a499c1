"""Which pixels of a picture a person's crop can need, however it is scaled, turned, mirrored or cut to half a body.

Letters: P people. A region is x0, y0, x1, y1 in px of the picture, the last two not inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, ceil, cos, floor, hypot, pi, radians, sin

import numpy as np

from autopose.data.affine import PIXEL_STD
from autopose.data.augment import Augmentation, half_body
from autopose.data.records import Person, PoseAnnotations

# The pixel beside the last one that bilinear sampling reads, and what float32 corners are off.
_BORDER = 2


@dataclass(frozen=True)
class Margin:
    """How far crops reach.

    Attributes:
        aspect: width / height of the network's input.
        scale: the largest factor of a crop's size.
        rotation: the largest angle in degrees, to both sides.
        half_body: whether a crop may be of the upper or lower body only.
    """

    aspect: float
    scale: float = 1.0
    rotation: float = 0.0
    half_body: bool = False

    @classmethod
    def of(cls, augmentation: Augmentation, size_wh) -> Margin:
        """What an augmentation can ask for, for inputs of a size."""
        law = 2 if augmentation.rotation_law == "normal" else 1
        turned = augmentation.rotation * law if augmentation.rotation_probability else 0.0
        return cls(size_wh[0] / size_wh[1], 1 + augmentation.scale, turned, augmentation.half_body > 0)

    def covers(self, other: Margin) -> bool:
        """Whether regions of this margin hold all that the other needs."""
        return (
            abs(self.aspect - other.aspect) < 1e-9
            and self.scale >= other.scale
            and self.rotation >= other.rotation
            and self.half_body >= other.half_body
        )

    def __str__(self) -> str:
        half = ", half bodies" if self.half_body else ""
        return f"aspect {self.aspect:.3g}, scale to {self.scale:g}, rotation to {self.rotation:g} degrees{half}"


def region(person: Person, margin: Margin, annotations: PoseAnnotations) -> tuple[int, int, int, int]:
    """The region of one person, which may reach beyond the picture; a mirrored crop needs the same pixels."""
    crops = [(person.center, person.scale)]
    if margin.half_body:
        for upper in (False, True):
            found = half_body(
                person.joints, person.visible, annotations.schema, upper, person.scale[0] / person.scale[1]
            )
            crops += [found] if found else []
    corners = []
    for (x, y), scale in crops:
        # The width alone sets the zoom where the input's aspect is not the crop's.
        width, height = float(scale[0]) * PIXEL_STD, float(scale[1]) * PIXEL_STD
        width, height = max(width, height * margin.aspect), max(height, width / margin.aspect)
        angle = radians(margin.rotation)
        across = margin.scale * _reach(width / 2, height / 2, angle) + _BORDER
        down = margin.scale * _reach(height / 2, width / 2, angle) + _BORDER
        corners.append((x - across, y - down, x + across, y + down))
    left, top = (floor(min(corner[n] for corner in corners)) for n in (0, 1))
    right, bottom = (ceil(max(corner[n] for corner in corners)) + 1 for n in (2, 3))
    return left, top, right, bottom


def _reach(along: float, beside: float, angle: float) -> float:
    """The largest a cos t + b sin t for t in [0, angle]: half the side of the box around a turned one."""
    best = atan2(beside, along)
    if angle >= min(best, pi / 2):
        return hypot(along, beside)
    return along * cos(angle) + beside * sin(angle)


def clipped(regions: np.ndarray, width: int, height: int) -> np.ndarray:
    """Regions (P, 4) cut to the picture; one that lies outside becomes empty."""
    found = np.clip(regions, 0, np.array([width, height, width, height]))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
    return found


def shared(regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Regions to store for the people (P, 4) of one picture, and each person's among them (P,).

    One for all where it is no larger than theirs together: people stand close, and their margins overlap.
    """
    sides = regions[:, 2:] - regions[:, :2]
    used = regions[sides.min(axis=1) > 0]
    if len(used):
        whole = np.concatenate([used[:, :2].min(axis=0), used[:, 2:].max(axis=0)])
        if np.prod(whole[2:] - whole[:2]) <= np.prod(sides, axis=1).sum():
            return whole[None], np.zeros(len(regions), np.int64)
    return regions, np.arange(len(regions))
