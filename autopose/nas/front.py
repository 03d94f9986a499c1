"""Score against cost: points and their front."""

from collections.abc import Sequence
from dataclasses import dataclass

from autopose.space import Architecture


@dataclass(frozen=True)
class Point:
    """An architecture that was scored.

    Attributes:
        kind: "evolved", "random" (of the first generation) or a hand-made one's name.
        score: the supernet's reward; cost: in GMACs, or ms; gmacs: 10^9 multiply-adds.
    """

    architecture: Architecture
    kind: str
    score: float
    cost: float
    gmacs: float


def front_of(points: Sequence[Point]) -> list[Point]:
    """Points that no other one matches or beats in score at no higher cost, by rising cost; one of equals."""
    found: list[Point] = []
    for point in sorted(points, key=lambda each: (each.cost, -each.score)):
        if not found or point.score > found[-1].score:
            found.append(point)
    return found
