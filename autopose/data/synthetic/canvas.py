"""Paint for pictures of figures: a canvas that knows what lies on top, clothes, and the outlines of limbs.

Letters: H and W the picture's height and width, P points of an outline.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

_SUBPIXEL_BITS = 4
# Points on the unit circle: all round, and the half that looks back.
_TURN = np.stack([np.cos(np.arange(20) * np.pi / 10), np.sin(np.arange(20) * np.pi / 10)], axis=1)
_HALF_TURN = np.stack([-np.sin(np.arange(9) * np.pi / 8), np.cos(np.arange(9) * np.pi / 8)], axis=1)


@dataclass(frozen=True)
class Cloth:
    """A plain or patterned surface, evaluated only where it is painted.

    Attributes:
        first, second: colours (3,) float32, 0 to 255.
        pattern: plain, stripes, checks or dots.
        wave: (2,) repeats of the pattern per px along x and y.
    """

    first: np.ndarray
    second: np.ndarray | None = None
    pattern: str = "plain"
    wave: tuple[float, float] = (0.0, 0.0)

    def patch(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Colours float32 of a region, (y1 - y0, x1 - x0, 3), or (3,) if plain."""
        if self.pattern == "plain":
            return self.first
        x, y = np.arange(x0, x1), np.arange(y0, y1)[:, None]
        # Phases in 1/256 of a repeat as integers: a bit is the square wave, much cheaper than a sine.
        along = (256 * (self.wave[0] * x + self.wave[1] * y)).astype(np.int32)
        if self.pattern == "stripes":
            inside = along & 128
        else:
            sideways = (256 * (self.wave[0] * y - self.wave[1] * x)).astype(np.int32)
            if self.pattern == "checks":
                inside = (along ^ sideways) & 128
            else:
                inside = ((along & 255) - 128) ** 2 + ((sideways & 255) - 128) ** 2 < 80**2
        return np.where(inside[..., None], self.first, self.second)

    def shaded(self, factor: float) -> "Cloth":
        """A plain surface in the first colour times a factor."""
        return replace(self, first=self.first * np.float32(factor), pattern="plain")


def draw_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour (3,) float32, half of them muted."""
    colour = rng.uniform(15, 245, 3).astype(np.float32)
    return colour if rng.random() < 0.5 else colour * 0.4 + colour.mean() * 0.6


def draw_cloth(rng: np.random.Generator) -> Cloth:
    """Cloth of random colours, pattern, direction and period (4 to 14 px)."""
    pattern = rng.choice(["plain", "stripes", "checks", "dots"], p=[0.45, 0.25, 0.15, 0.15])
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 14)
    return Cloth(draw_colour(rng), draw_colour(rng), str(pattern), (np.cos(angle) / period, np.sin(angle) / period))


@dataclass
class Canvas:
    """A picture in progress (H, W, 3) uint8 and its label map (H, W) uint8."""

    picture: np.ndarray
    labels: np.ndarray

    def paint(self, outline: np.ndarray, cloth: Cloth, label: int | None, shade: np.ndarray | float = 1.0) -> None:
        """Fill a convex outline with cloth.

        Args:
            outline: (P, 2) px.
            cloth: the surface.
            label: written to the label map; None leaves it.
            shade: factor of the colour, or a cylinder's light as given by `across`.
        """
        height, width = self.labels.shape
        x0, y0 = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 1, 0).tolist()
        x1, y1 = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 2, (width, height)).tolist()
        if x0 >= x1 or y0 >= y1:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        points = np.round((outline - (x0, y0)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillConvexPoly(mask, points, 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        if isinstance(shade, np.ndarray):
            side = (
                shade[0] * np.arange(x0, x1, dtype=np.float32) + shade[1] * np.arange(y0, y1, dtype=np.float32)[:, None]
            )
            side = np.clip((side - shade[2]) * (1 / shade[3]), -1, 1)
            shade = (1.05 - side * (0.12 + 0.22 * side))[..., None]
        region = self.picture[y0:y1, x0:x1]
        alpha = mask[..., None] * np.float32(1 / 255)
        fill = np.minimum(cloth.patch(x0, y0, x1, y1) * shade, 255)
        region[:] = region + (fill - region) * alpha
        if label is not None:
            self.labels[y0:y1, x0:x1][mask > 127] = label


def capsule(start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float) -> np.ndarray:
    """Outline (18, 2) around two discs and what lies between them."""
    along = end - start
    length = np.hypot(*along)
    cos, sin = along / length if length > 0 else (1.0, 0.0)
    arc = _HALF_TURN @ np.array([[cos, sin], [-sin, cos]])
    return np.concatenate([start + start_radius * arc, end - end_radius * arc])


def across(start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """Shade of a cylinder from start to end for `Canvas.paint`: unit normal, its offset, and the radius."""
    along = end - start
    length = np.hypot(*along)
    normal = np.array([-along[1], along[0]]) / length if length > 1e-6 else np.array([1.0, 0.0])
    normal = normal if normal[0] + 0.5 * normal[1] > 0 else -normal
    return np.array([*normal, normal @ start, max(radius, 0.5)], dtype=np.float32)


def ellipse(center: np.ndarray, across: float, along: float, direction: np.ndarray) -> np.ndarray:
    """Outline (20, 2); `along` is the half axis in the picture's direction of the vector given."""
    cos, sin = direction[:2] / (np.hypot(*direction[:2]) + 1e-9)
    return center + _TURN @ np.array([[along * cos, along * sin], [-across * sin, across * cos]])
