"""What every reader returns and the writer takes: pictures with labelled people, in px of the picture.

Letters: K joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autopose.errors import UserError

UNLABELLED, HIDDEN, VISIBLE = 0, 1, 2
# Coordinates beyond this are no pixels of any picture.
LARGEST_PX = 1e6


@dataclass(frozen=True, eq=False)
class LabelledPerson:
    """One person, animal or thing.

    Attributes:
        joints: (K, 2) float64, px, 0-based; zeros where not labelled.
        visible: (K,) uint8: 0 not labelled, 1 labelled but hidden, 2 visible.
        box: x, y, width, height in px where the source has one.
        repeats: further labels of the same person by other people, each (joints, visible).
    """

    joints: np.ndarray
    visible: np.ndarray
    box: tuple[float, float, float, float] | None = None
    repeats: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and its people.

    Attributes:
        path: where it lies.
        name: relative path in the new set, with "/" and without "..".
        people: nobody, one or more.
        split: train, val or test where the source says so.
        group: what neighbouring frames share (the video's folder); None for single photographs.
        size: width and height in px as the source's file gives them; None where it does not.
    """

    path: Path
    name: str
    people: tuple[LabelledPerson, ...]
    split: str | None = None
    group: str | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Labels:
    """A set as read.

    Attributes:
        category: what is labelled ("person", "mouse").
        joints: K names.
        pictures: in the order of the source.
        flip_pairs, skeleton: 0-based index pairs where the source has them.
        turned: whether labels were made on the picture as viewers show it, turned by its EXIF tag, and not on the
            stored pixels.
        notes: sentences about what was decided in reading.
    """

    category: str
    joints: tuple[str, ...]
    pictures: tuple[Picture, ...]
    flip_pairs: tuple[tuple[int, int], ...] | None = None
    skeleton: tuple[tuple[int, int], ...] = ()
    turned: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """What a user may say about a source.

    Attributes:
        pictures: folder of the pictures where they do not lie beside the labels.
        joints: the joints' names and order where the source has none, or a choice among those it has.
    """

    pictures: Path | None = None
    joints: tuple[str, ...] | None = None


@dataclass
class Problems:
    """What was left out and why: sentences by kind, in the order they came."""

    by_kind: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, sentence: str) -> None:
        """Note one thing that was left out; ``kind`` is a plural, such as "pictures missing"."""
        self.by_kind.setdefault(kind, []).append(sentence)

    @property
    def count(self) -> int:
        """How many were left out."""
        return sum(len(sentences) for sentences in self.by_kind.values())

    def lines(self, shown: int = 3) -> list[str]:
        """Each kind with its count, and its first ``shown`` sentences."""
        lines = []
        for kind, sentences in self.by_kind.items():
            lines.append(f"{kind}: {len(sentences)}")
            lines += [f"  {sentence}" for sentence in sentences[:shown]]
            if len(sentences) > shown:
                lines.append(f"  and {len(sentences) - shown} more")
        return lines

    def __str__(self) -> str:
        """Each kind with its count and its first sentence."""
        first = [f"{kind}: {len(found)}, as in {found[0].rstrip('.')}" for kind, found in self.by_kind.items()]
        return "; ".join(first)


def person_of(
    points: dict[str, tuple[float, float, int]], joints: Sequence[str], box: Sequence[float] | None = None
) -> LabelledPerson:
    """A person from x, y and visibility by joint; joints not named are not labelled."""
    array = np.array([points.get(name, (0.0, 0.0, UNLABELLED)) for name in joints], dtype=np.float64)
    array[array[:, 2] == UNLABELLED] = 0
    return LabelledPerson(array[:, :2], array[:, 2].astype(np.uint8), None if box is None else tuple(map(float, box)))


def pixels(text: object, where: str) -> float:
    """A coordinate; UserError where it is no finite number of px."""
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UserError(f"{where}: expected a number of pixels, got {text!r:.30}") from None
    if not -LARGEST_PX < value < LARGEST_PX:
        raise UserError(f"{where}: {value:g} is no pixel of any picture")
    return value


def chosen_joints(found: Sequence[str], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The joints to write: those found, or the user's choice among them; UserError where one is not there."""
    if wanted is None:
        return tuple(found)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(f"joints= names {missing[0]!r}, but the labels have {', '.join(found)}")
    return wanted


def with_repeats(labels: Sequence[tuple[LabelledPerson, ...]]) -> tuple[LabelledPerson, ...]:
    """People of one picture labelled several times: the first labels count, the others are their repeats.

    Only where every labelling has one person is it sure who is whom; otherwise the first labelling stands alone.
    """
    first = labels[0]
    if len(labels) == 1 or any(len(people) != 1 for people in labels):
        return first
    repeats = tuple((people[0].joints, people[0].visible) for people in labels[1:])
    return (LabelledPerson(first[0].joints, first[0].visible, first[0].box, repeats),)
