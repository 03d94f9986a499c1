"""Which points belong to one person, where a tool stores points one by one.

Points of the same group are one person; points without a group are one person where no joint comes twice, and
otherwise belong to the only box that they lie in. Boxes are x, y, width, height in px.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from autopose.errors import UserError

from .labels import LabelledPerson, person_of


@dataclass(frozen=True)
class Point:
    """A joint's place in px, its visibility (1 hidden, 2 visible), and the group it was put into, if any."""

    joint: str
    x: float
    y: float
    visible: int
    group: Hashable = None


@dataclass(frozen=True)
class Box:
    """A box of one person and the group it was put into, if any."""

    xywh: tuple[float, float, float, float]
    group: Hashable = None

    def holds(self, point: Point) -> bool:
        """Whether a point lies inside."""
        x, y, width, height = self.xywh
        return x <= point.x <= x + width and y <= point.y <= y + height


def people_of(
    points: Sequence[Point], boxes: Sequence[Box], joints: Sequence[str], where: str
) -> tuple[LabelledPerson, ...]:
    """The people of one picture.

    Raises:
        UserError: it cannot be told whose a point is, or a person has a joint twice.
    """
    by_group = {box.group: box for box in boxes if box.group is not None}
    loose = [box for box in boxes if box.group is None]
    single = [point for point in points if point.group is None]
    twice = len({point.joint for point in single}) != len(single)
    members: dict[Hashable, list[Point]] = {}
    for point in points:
        key = point.group
        if key is None:
            key = _box_number(point, loose, where) if twice or len(loose) > 1 else -1
        members.setdefault(("box", key) if point.group is None else ("group", key), []).append(point)
    people = []
    for (kind, key), own in members.items():
        place = dict.fromkeys(point.joint for point in own)
        if len(place) != len(own):
            raise UserError(f"{where}: one person has a joint twice; group the points of each person in the tool")
        box = by_group.get(key) if kind == "group" else loose[key] if loose else None
        found = {point.joint: (point.x, point.y, point.visible) for point in own}
        people.append(person_of(found, joints, box.xywh if box else None))
    return tuple(people)


def _box_number(point: Point, boxes: list[Box], where: str) -> int:
    holding = [n for n, box in enumerate(boxes) if box.holds(point)]
    if len(holding) != 1:
        raise UserError(
            f"{where}: several people, and '{point.joint}' at {point.x:g}, {point.y:g} lies in "
            f"{len(holding)} boxes: group the points of each person in the tool"
        )
    return holding[0]
