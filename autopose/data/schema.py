"""Joint vocabularies: names, mirror pairs, skeleton and OKS sigmas of COCO, MPII and any other keypoint set.

Letters: K joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from autopose.data.names import mirror_pairs, plain_name, read_name, same_joints
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
                f"joint schema '{self.name}': expected {count} sigmas, one a joint, but got {len(self.sigmas)}"
            )
        paired = [joint for pair in self.flip_pairs for joint in pair]
        if len(set(paired)) != len(paired):
            raise UserError(f"joint schema '{self.name}': a joint may be in one flip pair only: {self.flip_pairs}")

    @property
    def num_joints(self) -> int:
        """K."""
        return len(self.joints)

    @cached_property
    def flip_order(self) -> tuple[int, ...]:
        """Permutation p of length K: joint k of a mirrored image is joint p[k] of the original."""
        order = list(range(len(self.joints)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return tuple(order)

    @cached_property
    def plain_joints(self) -> tuple[str, ...]:
        """The names in COCO's style: "Left Shoulder" is left_shoulder."""
        return tuple(plain_name(joint) for joint in self.joints)

    def pairs_by_name(self) -> str:
        """The mirror pairs for people to read."""
        return ", ".join(f"{self.joints[a]} - {self.joints[b]}" for a, b in self.flip_pairs) or "none"

    @cached_property
    def upper_body(self) -> tuple[int, ...]:
        """Indices of the joints above the hips, for the half-body augmentation."""
        return tuple(k for k, joint in enumerate(self.joints) if read_name(joint)[1] not in _LOWER_BODY)


def schema_from_category(
    category: dict,
    *,
    joints: Sequence[str] | None = None,
    sigmas: Sequence[float] | None = None,
    flip_pairs: Sequence[Sequence[int | str]] | None = None,
    skeleton: Sequence[Sequence[int | str]] | None = None,
    name: str | None = None,
    like: KeypointSchema | None = None,
    remarks: dict[str, str] | None = None,
) -> KeypointSchema:
    """Schema of a COCO-style category.

    Args:
        category: an entry of the annotation's ``categories``; ``keypoints`` (names) and ``skeleton`` (1-based pairs)
            are COCO's, ``sigmas`` and ``flip_pairs`` (0-based pairs or pairs of names) are read where present.
        joints: names that the category must have, or that stand in for a category without names.
        sigmas: K numbers; without them they are taken by body part from the joints' names.
        flip_pairs: pairs of names or of 0-based indices; without them by the names, see ``names.mirror_pairs``.
        skeleton: 0-based index pairs, or pairs of names.
        name: of the schema; default: the category's.
        like: the joints of a network, which the category must have by name, in any order; flip pairs, sigmas and
            skeleton that are not configured are then the network's.
        remarks: filled with what is not as the file has it.

    Raises:
        UserError: names missing, repeated or other than `joints`; pairs or sigmas missing or unusable.
    """
    label = name or str(category.get("name", "person"))
    names = _names(category.get("keypoints") or joints or (like.joints if like else None), label)
    if joints is not None and tuple(joints) != names:
        raise UserError(
            f"the annotation's joints do not fit the configured ones: expected {list(joints)}, found {list(names)}"
        )
    known = reordered(like, names) if like else None
    if flip_pairs is not None or (known is None and category.get("flip_pairs") is not None):
        pairs = _index_pairs(category["flip_pairs"] if flip_pairs is None else flip_pairs, names, "flip pairs")
    else:
        pairs = known.flip_pairs if known else _pairs_by_name(names, label)
    if skeleton is not None:
        bones = _index_pairs(skeleton, names, "skeleton")
    else:
        bones = _skeleton_of(category, names, label, remarks) or (known.skeleton if known else ())
    if sigmas is None and known is not None:
        sigmas = known.sigmas
    elif sigmas is None:
        sigmas = category.get("sigmas")
    found = _sigmas_by_part(names) if sigmas is None else _numbers(sigmas)
    if known is not None and remarks is not None and category.get("sigmas") not in (None, list(found)):
        remarks["sigmas"] = "the network's, not the file's (data.sigmas gives others)"
    return KeypointSchema(name=label, joints=names, flip_pairs=pairs, skeleton=bones, sigmas=found)


def joint_order(network: KeypointSchema, names: Sequence[str]) -> list[int]:
    """Where each of a data set's joints stands among a network's.

    Raises:
        UserError: they are not the same joints by name.
    """
    order = same_joints(names, network.joints)
    if order is None:
        plain, own = {plain_name(name) for name in names}, set(network.plain_joints)
        lacking = [name for name in network.joints if plain_name(name) not in plain]
        unknown = [name for name in names if plain_name(name) not in own]
        differing = "; ".join(
            f"{what} {', '.join(some[:6])}"
            for what, some in (("the data lack", lacking), ("the network does not know", unknown))
            if some
        )
        raise UserError(
            f"the network predicts {network.num_joints} joints, the data set has {len(names)}, and they are not the "
            f"same by name ({differing or 'names repeat'}): use a set with the joints it was trained on"
        )
    return order


def reordered(network: KeypointSchema, names: Sequence[str]) -> KeypointSchema:
    """A network's schema in the order and with the names of a data set; UserError as ``joint_order``."""
    order = joint_order(network, names)
    place = {old: new for new, old in enumerate(order)}
    return KeypointSchema(
        network.name,
        tuple(names),
        tuple((place[a], place[b]) for a, b in network.flip_pairs),
        tuple((place[a], place[b]) for a, b in network.skeleton),
        tuple(network.sigmas[old] for old in order),
    )


def standard_sigma(joint: str) -> float | None:
    """The published OKS sigma of a joint's body part, its side left out; None where none is known."""
    return _SIGMA_BY_PART.get(read_name(joint)[1])


def _names(value: object, label: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise UserError(
            f"category '{label}' has no list 'keypoints' of joint names: add it to the annotation or configure joints"
        )
    names = tuple(value)
    _check_joints(names)
    return names


def _check_joints(names: tuple) -> None:
    if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) != len(names):
        raise UserError(f"joint names must be unique, non-empty strings, at least one, but are {list(names)!r:.200}")


def _pairs_by_name(names: tuple[str, ...], label: str) -> tuple[tuple[int, int], ...]:
    pairs, unpaired = mirror_pairs(names)
    if unpaired or not pairs:
        found = f"{list(unpaired)} have no counterpart" if unpaired else f"{list(names)} name no sides"
        raise UserError(
            f"category '{label}': left and right joints cannot be paired by their names: {found:.300}; configure "
            "data.flip_pairs, as in data.flip_pairs=[[left_hip,right_hip]] (an empty list if nothing is mirrored)"
        )
    return pairs


def _index_pairs(pairs: object, names: tuple[str, ...], what: str) -> tuple[tuple[int, int], ...]:
    result = []
    for pair in pairs if isinstance(pairs, list | tuple) else [pairs]:
        ends = pair if isinstance(pair, list | tuple) else [pair]
        ends = [names.index(e) if isinstance(e, str) and e in names else e for e in ends]
        if len(ends) != 2 or ends[0] == ends[1] or not all(type(e) is int and 0 <= e < len(names) for e in ends):
            raise UserError(f"expected {what} as pairs of two joints (names or indices below {len(names)}), got {pair}")
        result.append((ends[0], ends[1]))
    return tuple(result)


def _skeleton_of(
    category: dict, names: tuple[str, ...], label: str, remarks: dict[str, str] | None
) -> tuple[tuple[int, int], ...]:
    """The category's limbs, which only drawings need: a skeleton that cannot be one is left out, and said so."""
    given = category.get("skeleton")
    if not given:
        return ()
    ends = [end for row in given for end in row] if _is_pairs(given) else [None]
    if all(isinstance(end, str) for end in ends):
        first = 0
    elif all(type(end) is int for end in ends):
        first = 0 if 0 in ends else 1
    else:
        first = None
    if first is not None:
        try:
            bones = _index_pairs([[_moved(end, first) for end in row] for row in given], names, "skeleton")
        except UserError:
            first = None
    if remarks is not None and (first is None or (first == 0 and 0 in ends)):
        how = (
            f"left out: {given!r:.60} is no list of pairs of 1 to {len(names)}" if first is None else "read as 0-based"
        )
        remarks["skeleton"] = f"of category '{label}' {how} (drawings only; data.skeleton=[] or pairs replace it)"
    return () if first is None else bones


def _is_pairs(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(row, list) and len(row) == 2 for row in value)


def _moved(end: int | str, first: int) -> int | str:
    return end if isinstance(end, str) else end - first


def _numbers(values: object) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or not all(type(v) in (int, float) and 0 < v < 10 for v in values):
        raise UserError(f"expected sigmas as a list of positive numbers below 10, got {values!r:.100}")
    return tuple(float(v) for v in values)


def _sigmas_by_part(names: tuple[str, ...]) -> tuple[float, ...]:
    unknown = [joint for joint in names if standard_sigma(joint) is None]
    if unknown:
        raise UserError(f"no standard OKS sigma is known for joints {unknown}: configure data.sigmas, one a joint")
    return tuple(_SIGMA_BY_PART[read_name(joint)[1]] for joint in names)


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
