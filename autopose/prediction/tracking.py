"""Who is who from frame to frame, and joints that tremble less. P people, K joints."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from autopose.metrics.oks import pose_similarity

from .predictor import People

# Least OKS at which two poses are one person's, and frames for which a person may be hidden.
SAME, HIDDEN = 0.3, 30


class OneEuro:
    """The One-Euro filter (Casiez et al., CHI 2012): follows fast motion, holds still what is slow.

    Args:
        rate: frames a second.
        least_cutoff: Hz, of what does not move; lower trembles less.
        beta: how much a speed of one box side a second raises the cutoff.
    """

    def __init__(self, rate: float, least_cutoff: float = 1.0, beta: float = 5.0):
        self.rate, self.least_cutoff, self.beta = rate, least_cutoff, beta
        self.value: np.ndarray | None = None
        self.speed: np.ndarray | None = None

    def __call__(self, points: np.ndarray, size: float) -> np.ndarray:
        """Filtered points (K, 2) of a person whose box has sides of about ``size`` px."""
        if self.value is None or self.speed is None:
            self.value, self.speed = points, np.zeros_like(points)
            return points
        speed = (points - self.value) * self.rate
        self.speed = self.speed + self._weight(1.0) * (speed - self.speed)
        cutoff = self.least_cutoff + self.beta * np.linalg.norm(self.speed, axis=1, keepdims=True) / max(size, 1.0)
        self.value = self.value + self._weight(cutoff) * (points - self.value)
        return self.value

    def _weight(self, cutoff):
        return 1 / (1 + self.rate / (2 * np.pi * cutoff))


@dataclass
class _Track:
    number: int
    joints: np.ndarray
    area: float
    seen: int
    filter: OneEuro


class Tracker:
    """Gives people of consecutive frames numbers: those of the assignment with the largest sum of OKS (Hungarian)."""

    def __init__(self, sigmas: Sequence[float], rate: float, smooth: bool = False):
        """
        Args:
            sigmas: (K,) of OKS.
            rate: frames a second.
            smooth: filter joints by One-Euro.
        """
        self.sigmas, self.rate, self.smooth = sigmas, rate, smooth
        self.tracks: list[_Track] = []
        self.count, self.frame = 0, -1

    def __call__(self, people: People) -> tuple[People, np.ndarray]:
        """The next frame's people, smoothed where asked, and their numbers (P,), from 0 on."""
        self.frame += 1
        self.tracks = [track for track in self.tracks if self.frame - track.seen <= HIDDEN]
        areas = people.boxes[:, 2] * people.boxes[:, 3]
        numbers = np.full(len(people), -1)
        joints = people.joints.copy()
        for row, track in self._pairs(people.joints, areas):
            numbers[row] = track.number
            self._follow(track, joints, row, float(areas[row]))
        for row in np.flatnonzero(numbers < 0):
            track = _Track(self.count, joints[row], float(areas[row]), self.frame, OneEuro(self.rate))
            self.count += 1
            self.tracks.append(track)
            numbers[row] = track.number
            self._follow(track, joints, int(row), float(areas[row]))
        return replace(people, joints=joints), numbers

    def _pairs(self, joints: np.ndarray, areas: np.ndarray) -> list[tuple[int, _Track]]:
        if not len(joints) or not self.tracks:
            return []
        before, sizes = np.stack([t.joints for t in self.tracks]), np.array([t.area for t in self.tracks])
        similar = np.stack(
            [pose_similarity(joints[n], areas[n], before, sizes, self.sigmas) for n in range(len(joints))]
        )
        rows, columns = linear_sum_assignment(-similar)
        return [(int(r), self.tracks[c]) for r, c in zip(rows, columns, strict=True) if similar[r, c] >= SAME]

    def _follow(self, track: _Track, joints: np.ndarray, row: int, area: float) -> None:
        track.joints, track.area, track.seen = joints[row].copy(), area, self.frame
        if self.smooth:
            joints[row] = track.filter(joints[row], area**0.5)
