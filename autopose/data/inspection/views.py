"""Whether bodies are seen from one side alone, so that mirrored training pictures would show what never comes.

Letters: N people, K joints.
"""

from collections.abc import Sequence

import numpy as np

from autopose.data.records import Person
from autopose.data.schema import KeypointSchema

# People compared at most, and at least: fewer say nothing.
_MOST, _LEAST = 400, 20
# Below this share of people whom a mirrored pose resembles, none but odd ones do.
_NONE = 0.05


def seen_from_one_side(persons: Sequence[Person], schema: KeypointSchema) -> bool:
    """Whether no pose of the set looks like the mirror image of another one; see ``mirrored_share``."""
    share = mirrored_share(persons, schema)
    return share is not None and share < _NONE


def mirrored_share(persons: Sequence[Person], schema: KeypointSchema) -> float | None:
    """Share of people who have a mirrored pose as near as the nearest tenth of the poses as they are.

    Poses are compared without place and size; of a set that is photographed from all sides the share is 1. Counted on
    the first ``_MOST`` people with two labelled joints; None where there are fewer than ``_LEAST``.
    """
    chosen = [person for person in persons if np.count_nonzero(person.visible) > 1][:_MOST]
    if len(chosen) < _LEAST or schema.num_joints < 2:
        return None
    seen = np.stack([person.visible > 0 for person in chosen])
    poses = _shapes(np.stack([person.joints for person in chosen]), seen)
    order = np.arange(schema.num_joints)
    for a, b in schema.flip_pairs:
        order[[a, b]] = b, a
    own = _distances(poses, seen, poses, seen)
    np.fill_diagonal(own, np.inf)
    mirrored = _distances(poses, seen, (poses * [-1, 1])[:, order], seen[:, order])
    near = np.quantile(own, 0.1, axis=1, method="lower")
    return float(np.mean(mirrored.min(axis=1) < near))


def _shapes(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N, K, 2) with the mean of the labelled joints at the origin and their mean square distance from it 1."""
    weight = seen[..., None]
    centred = joints - (joints * weight).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    spread = np.sqrt((centred**2 * weight).sum(axis=(1, 2)) / seen.sum(axis=1))
    return centred / np.maximum(spread, 1e-9)[:, None, None]


def _distances(poses: np.ndarray, seen: np.ndarray, others: np.ndarray, others_seen: np.ndarray) -> np.ndarray:
    """(N, N) root of the mean square distance over the joints that both have; infinite where there is none."""
    found = np.full((len(poses), len(others)), np.inf)
    for n, (pose, own) in enumerate(zip(poses, seen, strict=True)):
        both = own & others_seen
        squared = (((pose - others) ** 2).sum(axis=2) * both).sum(axis=1)
        found[n] = np.where(both.any(axis=1), np.sqrt(squared / np.maximum(both.sum(axis=1), 1)), np.inf)
    return found
