"""From boxes to the crops of people."""

from collections.abc import Callable

import numpy as np

from autopose.data.affine import box_to_center_scale
from autopose.data.records import Person

# A box below this many px in both directions holds no person and cannot be magnified to a crop.
_SMALLEST_BOX = 1e-3


def crops(boxes: np.ndarray, usable: np.ndarray, aspect: float, person: Callable) -> tuple[Person, ...]:
    """The persons of the ``usable`` of N boxes (N, 4), made by ``person(n, center (2,), scale (2,))``."""
    centers, scales = box_to_center_scale(boxes, aspect)
    usable = usable & (boxes[:, 2:].max(axis=1, initial=0) > _SMALLEST_BOX)
    return tuple(person(n, centers[n], scales[n]) for n in np.flatnonzero(usable))
