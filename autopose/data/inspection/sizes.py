"""How large people are, and the input size that follows from it.

Letters: N people.
"""

from collections.abc import Sequence

import numpy as np

from autopose.data.affine import PADDING
from autopose.data.records import Person

# Every branch of the largest space halves its map: sides are multiples of this.
MULTIPLE = 32
_LEAST_SIDE, _MOST_SIDE = 64, 384
# A body should span this many px of the input: 32 cells of a heatmap of stride 4.
_BODY_PX = 128
# Above this side a size two thirds as large is named too, and taken where there are fewer people than _FEW: they give
# few steps, and a network of larger maps needs more.
_LARGE, _FEW = 256, 500
_ASPECTS = (0.5, 0.75, 1.0, 4 / 3, 2.0)
_BAR = 40


def body_sizes(persons: Sequence[Person]) -> np.ndarray:
    """Longer side of the labelled joints' extent in px, (N,); people with fewer than two labelled joints left out."""
    spans = [
        np.ptp(person.joints[person.visible > 0], axis=0).max()
        for person in persons
        if np.count_nonzero(person.visible) > 1
    ]
    return np.array(spans, dtype=np.float64)


def histogram(sizes: np.ndarray, bins: int = 8) -> list[str]:
    """A histogram in text, each bin as many times as wide as the one before."""
    if not len(sizes) or sizes.max() <= 0:
        return []
    low, high = np.floor(max(sizes[sizes > 0].min(), 1)), np.ceil(sizes.max()) + 1
    edges = np.geomspace(low, high, bins + 1)
    counts, _ = np.histogram(np.clip(sizes, low, high), edges)
    return [
        f"{a:>6.0f} - {b:<5.0f} px {'#' * max(1, round(_BAR * count / counts.max())) if count else '':<{_BAR}} {count}"
        for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def recommended_input(persons: Sequence[Person]) -> tuple[tuple[int, int], str]:
    """Width and height of the network's input, and a sentence that says why.

    The aspect is the one of the usual ones nearest to the median box's. The longer side is just large enough for the
    median body to span ``_BODY_PX``, and no larger than the median crop has px; two thirds of a large input where
    people are few.
    """
    boxes = np.array([person.bbox[2:] for person in persons])
    ratio = float(np.exp(np.median(np.log(boxes[:, 0] / boxes[:, 1]))))
    aspect = min(_ASPECTS, key=lambda value: abs(np.log(value / ratio)))
    widths = PADDING * np.maximum(boxes[:, 0], boxes[:, 1] * aspect)
    longer = float(np.median(widths * max(1.0, 1 / aspect)))
    bodies = body_sizes(persons)
    body = float(np.median(bodies)) if len(bodies) else float(np.median(boxes.max(axis=1)))
    wanted = _BODY_PX * longer / max(body, 1.0)
    side = float(np.clip(min(max(wanted, 2 * _LEAST_SIDE), longer), _LEAST_SIDE, _MOST_SIDE))
    width, height = (side, side / aspect) if aspect >= 1 else (side * aspect, side)
    size = tuple(int(max(MULTIPLE, MULTIPLE * round(value / MULTIPLE))) for value in (width, height))
    smaller = tuple(int(MULTIPLE * max(1, round(2 / 3 * value / MULTIPLE))) for value in size)
    other = ""
    if max(size) > _LARGE:
        saved = size[0] * size[1] / (smaller[0] * smaller[1])
        other = f"; {smaller[0]}x{smaller[1]} is {saved:.1f} times cheaper"
        if len(persons) < _FEW:
            other = (
                f"; {size[0]}x{size[1]} has cells of {4 * longer / max(size):.1f} px at {saved:.1f} times the cost, "
                f"and takes longer to learn: with {len(persons)} people, begin with the smaller"
            )
            size = smaller
    shrunk = longer / max(size)
    return size, (
        f"{size[0]}x{size[1]}: the median crop is {longer:.0f} px on its longer side, so the median body of {body:.0f} "
        f"px spans {body / shrunk:.0f} px of the input and a heatmap's cell is {4 * shrunk:.1f} px of the picture"
        f"{other}"
    )
