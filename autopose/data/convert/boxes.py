"""Boxes and areas of people whose source has none.

Letters: K joints.
"""

from collections.abc import Sequence

import numpy as np

from .labels import UNLABELLED, LabelledPerson, Picture

CHOICES = ("auto", "joints", "picture")
# A box around joints grows by this share of its longer side on each side, and by at least this share of the picture.
_MARGIN = 0.2
_LEAST_MARGIN = 0.02
# Area of a person over that of their box where there is no segment, the field's convention.
_AREA_OF_BOX = 0.53


def box_around(person: LabelledPerson, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """x, y, width, height in px around the labelled joints with a margin, cut at the picture's edges."""
    places = person.joints[person.visible != UNLABELLED]
    low, high = places.min(axis=0), places.max(axis=0)
    margin = max(_MARGIN * (high - low).max(), _LEAST_MARGIN * max(size))
    low = np.clip(low - margin, 0, np.array(size) - 1)
    high = np.clip(high + margin, low + 1, np.maximum(size, low + 1))
    return tuple(float(v) for v in (*low, *(high - low)))


def boxes_and_areas(
    pictures: Sequence[Picture], sizes: Sequence[tuple[int, int]], choice: str
) -> tuple[list[list[tuple[float, float, float, float]]], list[list[float]], str]:
    """A box and an area for every person, and a sentence that says how they were made.

    The area is that of the body, 0.53 times the annotated box, or times the box around the joints, also where the box
    is the whole picture: OKS measures errors against the body's size.

    Args:
        pictures: with people.
        sizes: width and height in px.
        choice: "joints" or "picture" for people without a box, or "auto": the whole picture where no picture has two.
    """
    without = sum(person.box is None for picture in pictures for person in picture.people)
    alone = all(len(picture.people) <= 1 for picture in pictures)
    whole = choice == "picture" or (choice == "auto" and alone)
    boxes, areas = [], []
    for picture, size in zip(pictures, sizes, strict=True):
        around = [person.box or box_around(person, size) for person in picture.people]
        areas.append([_AREA_OF_BOX * box[2] * box[3] for box in around])
        full = (0.0, 0.0, float(size[0]), float(size[1]))
        boxes.append([p.box or (full if whole else box) for p, box in zip(picture.people, around, strict=True)])
    if not without:
        return boxes, areas, "Boxes are the source's."
    kind = "the whole picture, as in prediction without a detector" if whole else "around the joints, with a margin"
    return boxes, areas, f"{without} people have no box in the source: it is {kind}."
