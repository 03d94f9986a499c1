"""Joint vocabularies: names, mirror pairs, skeleton and OKS sigmas of COCO, MPII and any other keypoint set.

Letters: K joints.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from autopose.errors import UserError

# OKS falloff per body part: the COCO keypoint challenge's constants; neck, head top and thorax as the shoulder and
# pelvis as the hip, the field's convention for sets without published sigmas.
_SIGMA_BY_PART = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
    "neck": 0.079,
    "upper_neck": 0.079,
    "head_top": 0.079,
    "thorax": 0.079,
    "pelvis": 0.107,
}
_LOWER_BODY = frozenset({"hip", "knee", "ankle", "pelvis", "heel", "big_toe", "small_toe", "foot"})
_SIDE = re.compile(r"^(left|right|l|r)_(.+)$")


@dataclass(frozen=True)
class KeypointSchema:
    """What the K joints of a dataset are.

    Attributes:
        name: for messages and file names.
        joints: K unique names.
        flip_pairs: 0-based index pairs that swap when the image is mirrored.
        skeleton: 0-based index pairs, for drawing.
        sigmas: K OKS falloff constants (COCO keypoint evaluation).
    """

    name: str
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    skeleton: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]

    def __post_init__(self):
        _check_joints(self.joints)
        count = len(self.joints)
        if len(self.sigmas) != count:
            raise UserError(
                f"Joint schema '{self.name}': expected {count} sigmas, one a joint, but got {len(self.sigmas)}."
            )
        paired = [joint for pair in self.flip_pairs for joint in pair]
        if len(set(paired)) != len(paired):
            raise UserError(f"Joint schema '{self.name}': a joint may be in one flip pair only: {self.flip_pairs}.")

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @cached_property
    def flip_order(self) -> tuple[int, ...]:
        """Permutation p of length K: joint k of a mirrored image is joint p[k] of the original."""
        order = list(range(len(self.joints)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return tuple(order)

    @cached_property
    def upper_body(self) -> tuple[int, ...]:
        """Indices of the joints above the hips, for the half-body augmentation."""
        return tuple(k for k, joint in enumerate(self.joints) if _part(joint) not in _LOWER_BODY)


def schema_from_category(
    category: dict,
    *,
    joints: Sequence[str] | None = None,
    sigmas: Sequence[float] | None = None,
    flip_pairs: Sequence[Sequence[int | str]] | None = None,
    skeleton: Sequence[Sequence[int]] | None = None,
    name: str | None = None,
) -> KeypointSchema:
    """Schema of a COCO-style category.

    Args:
        category: an entry of the annotation's ``categories``; ``keypoints`` (names) and ``skeleton`` (1-based pairs)
            are COCO's, ``sigmas`` and ``flip_pairs`` (0-based pairs or pairs of names) are read where present.
        joints: names that the category must have, or that stand in for a category without names.
        sigmas: K numbers; without them they are taken by body part from the joints' names.
        flip_pairs: pairs of names or of 0-based indices; without them left_x pairs with right_x (also l_x, r_x).
        skeleton: 0-based index pairs.
        name: of the schema; default: the category's.

    Raises:
        UserError: names missing, repeated or other than `joints`; pairs or sigmas missing or unusable.
    """
    label = name or str(category.get("name", "person"))
    named = category.get("keypoints")
    names = _names(joints if named is None or (isinstance(named, list) and not named) else named, label)
    if joints is not None and tuple(joints) != names:
        raise UserError(
            f"The annotation's joints do not fit the configured ones: expected {list(joints)}, found {list(names)}."
        )
    if flip_pairs is None:
        flip_pairs = category.get("flip_pairs")
    if skeleton is None:
        skeleton = _zero_based(category.get("skeleton"), label)
    pairs = _pairs_by_name(names, label) if flip_pairs is None else _index_pairs(flip_pairs, names, "flip pairs")
    if sigmas is None:
        sigmas = category.get("sigmas")
    return KeypointSchema(
        name=label,
        joints=names,
        flip_pairs=pairs,
        skeleton=_index_pairs(skeleton, names, "skeleton"),
        sigmas=_sigmas_by_part(names) if sigmas is None else _numbers(sigmas),
    )


def standard_sigma(joint: str) -> float | None:
    """The published OKS sigma of a joint's body part, its side left out; None where none is known."""
    return _SIGMA_BY_PART.get(_part(joint))


def _names(value: object, label: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise UserError(
            f"Category '{label}' has no list 'keypoints' of joint names: add it to the annotation or configure joints."
        )
    names = tuple(value)
    _check_joints(names)
    return names


def _check_joints(names: tuple) -> None:
    if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) != len(names):
        raise UserError(f"Joint names must be unique, non-empty strings, at least one, but are {list(names)!r:.200}.")


def _part(joint: str) -> str:
    """Name without side: left_hip, l_hip, 'Left Hip' and hip are all 'hip'."""
    plain = re.sub(r"[\s\-]+", "_", joint.strip().lower())
    match = _SIDE.match(plain)
    return match.group(2) if match else plain


def _pairs_by_name(names: tuple[str, ...], label: str) -> tuple[tuple[int, int], ...]:
    sides: dict[str, dict[str, int]] = {}
    for k, joint in enumerate(names):
        match = _SIDE.match(re.sub(r"[\s\-]+", "_", joint.strip().lower()))
        if match:
            sides.setdefault(match.group(2), {})[match.group(1)[0]] = k
    if not sides or any(len(side) != 2 for side in sides.values()):
        raise UserError(
            f"Category '{label}': left and right joints cannot be paired by their names {list(names)}; "
            "configure flip_pairs (an empty list if nothing is mirrored)."
        )
    return tuple(sorted((min(s.values()), max(s.values())) for s in sides.values()))


def _index_pairs(pairs: object, names: tuple[str, ...], what: str) -> tuple[tuple[int, int], ...]:
    result = []
    for pair in pairs if isinstance(pairs, list | tuple) else [pairs]:
        ends = pair if isinstance(pair, list | tuple) else [pair]
        ends = [names.index(e) if isinstance(e, str) and e in names else e for e in ends]
        if len(ends) != 2 or ends[0] == ends[1] or not all(type(e) is int and 0 <= e < len(names) for e in ends):
            raise UserError(
                f"Expected {what} as pairs of two joints (names or indices below {len(names)}), got {pair}."
            )
        result.append((ends[0], ends[1]))
    return tuple(result)


def _zero_based(skeleton: object, label: str) -> list[list[int]]:
    if skeleton is None:
        return []
    rows = skeleton if isinstance(skeleton, list) else [skeleton]
    if not all(isinstance(row, list) and all(type(end) is int for end in row) for row in rows):
        raise UserError(
            f"Category '{label}': expected 'skeleton' as a list of 1-based index pairs, got {skeleton!r:.100}."
        )
    return [[end - 1 for end in row] for row in rows]


def _numbers(values: object) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or not all(type(v) in (int, float) and 0 < v < 10 for v in values):
        raise UserError(f"Expected sigmas as a list of positive numbers below 10, got {values!r:.100}.")
    return tuple(float(v) for v in values)


def _sigmas_by_part(names: tuple[str, ...]) -> tuple[float, ...]:
    unknown = [joint for joint in names if _part(joint) not in _SIGMA_BY_PART]
    if unknown:
        raise UserError(f"No standard OKS sigma is known for joints {unknown}: configure sigmas, one a joint.")
    return tuple(_SIGMA_BY_PART[_part(joint)] for joint in names)


_COCO_JOINTS = ("nose",) + tuple(
    f"{side}_{part}"
    for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)

COCO = schema_from_category(
    {
        "name": "coco",
        "keypoints": list(_COCO_JOINTS),
        "skeleton": [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9]]
        + [[8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]],
    }
)

MPII = schema_from_category(
    {
        "name": "mpii",
        "keypoints": ["right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"]
        + ["pelvis", "thorax", "upper_neck", "head_top"]
        + ["right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"],
        "skeleton": [[1, 2], [2, 3], [3, 7], [4, 7], [4, 5], [5, 6], [7, 8], [8, 9], [9, 10]]
        + [[11, 12], [12, 13], [13, 8], [14, 8], [14, 15], [15, 16]],
    }
)


def schema_to_dict(schema: KeypointSchema) -> dict:
    """Plain data, as a checkpoint embeds it."""
    return {
        "name": schema.name,
        "joints": list(schema.joints),
        "flip_pairs": [list(pair) for pair in schema.flip_pairs],
        "skeleton": [list(bone) for bone in schema.skeleton],
        "sigmas": list(schema.sigmas),
    }


def schema_from_dict(content: dict) -> KeypointSchema:
    """The inverse of ``schema_to_dict``."""
    try:
        return KeypointSchema(
            content["name"],
            tuple(content["joints"]),
            tuple(tuple(pair) for pair in content["flip_pairs"]),
            tuple(tuple(bone) for bone in content["skeleton"]),
            tuple(content["sigmas"]),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"the checkpoint does not describe its joints: {error!r}") from None
