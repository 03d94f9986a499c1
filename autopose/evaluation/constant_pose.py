"""The trivial opponent: one pose for every crop, taken from the training joints without looking at a picture.

A network that scores no better has learned where people's joints lie in a crop, and nothing of the pictures.

Letters: N people, K joints. Poses are in shares of the crop: (0, 0) its upper left corner, (1, 1) its lower right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from autopose.data.affine import PIXEL_STD
from autopose.data.records import Person
from autopose.data.schema import KeypointSchema

# Cells of the grid on which the most frequent place of a joint is looked for, and the blur in cells.
GRID, BLUR = 64, 2.0


@dataclass(frozen=True)
class ConstantPose:
    """Candidates for the constant pose: "mean", "median" and "mode" of the training joints, each (K, 2)."""

    joints: tuple[str, ...]
    poses: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, persons: Sequence[Person], schema: KeypointSchema) -> "ConstantPose":
        """From annotated people; a joint that is never labelled stands in the middle of the crop."""
        corner, size = _crops(persons)
        places = (np.stack([p.joints for p in persons]) - corner[:, None]) / size[:, None]
        labelled = np.stack([p.visible for p in persons]) > 0
        found = {name: np.full((schema.num_joints, 2), 0.5) for name in ("mean", "median", "mode")}
        for k in range(schema.num_joints):
            seen = places[labelled[:, k], k]
            if len(seen):
                found["mean"][k], found["median"][k] = seen.mean(axis=0), np.median(seen, axis=0)
                found["mode"][k] = _mode(seen)
        return cls(tuple(schema.joints), found)

    def placed(self, name: str, persons: Sequence[Person], schema: KeypointSchema) -> np.ndarray | None:
        """A candidate in people's crops, (N, K, 2) px of the pictures; None where it lacks one of the joints."""
        if not set(schema.joints) <= set(self.joints):
            return None
        pose = np.asarray(self.poses[name])[[self.joints.index(joint) for joint in schema.joints]]
        corner, size = _crops(persons)
        return corner[:, None] + pose[None] * size[:, None]

    def to_dict(self) -> dict:
        """Plain data, as a checkpoint embeds it."""
        return {"joints": list(self.joints), "poses": {name: pose.tolist() for name, pose in self.poses.items()}}

    @classmethod
    def from_dict(cls, content: dict | None) -> "ConstantPose | None":
        """The inverse of ``to_dict``; None for a checkpoint that has none."""
        if content is None:
            return None
        return cls(tuple(content["joints"]), {name: np.array(pose) for name, pose in content["poses"].items()})


def _crops(persons: Sequence[Person]) -> tuple[np.ndarray, np.ndarray]:
    """Upper left corners and sizes (N, 2) of people's crops, px."""
    size = np.stack([p.scale for p in persons]) * PIXEL_STD
    return np.stack([p.center for p in persons]) - size / 2, size


def _mode(places: np.ndarray) -> np.ndarray:
    """The most frequent place of one joint: the peak of its smoothed histogram over the crop."""
    counts, _, _ = np.histogram2d(places[:, 1], places[:, 0], bins=GRID, range=((0, 1), (0, 1)))
    row, column = np.unravel_index(cv2.GaussianBlur(counts, (0, 0), BLUR).argmax(), counts.shape)
    return np.array([(column + 0.5) / GRID, (row + 0.5) / GRID])
