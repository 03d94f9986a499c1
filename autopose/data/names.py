"""One reading of joint names, whatever their style: side and body part, mirror pairs, the same joints in another order.

"left_hip", "Left Hip", "LHip", "hip_l", "L-Hip" and "hipLeft" are all the left side of "hip". Letters: K joints.
"""

import re
from collections.abc import Sequence

# Joint names of published sets; a glued letter before one of them is a side ("lhip").
PARTS = frozenset(
    [
        "nose",
        "eye",
        "ear",
        "shoulder",
        "elbow",
        "wrist",
        "hip",
        "knee",
        "ankle",
        "foot",
        "hand",
        "heel",
        "toe",
        "thumb",
        "paw",
        "wing",
        "leg",
        "arm",
        "finger",
        "cheek",
        "mouth",
        "brow",
        "eyebrow",
        "hoof",
        "fin",
        "sho",
        "elb",
        "wri",
        "kne",
        "ank",
    ]
)
_SYNONYMS = {
    "headtop": "head_top", "top_head": "head_top", "top_of_head": "head_top", "tophead": "head_top",
    "upperneck": "upper_neck", "bigtoe": "big_toe", "smalltoe": "small_toe", "mid_hip": "pelvis", "midhip": "pelvis",
    "sho": "shoulder", "elb": "elbow", "wri": "wrist", "kne": "knee", "ank": "ankle",
}  # fmt: skip
_SIDES = {"left": "left", "right": "right", "l": "left", "r": "right", "lt": "left", "rt": "right"}
_SIDES |= {"左": "left", "右": "right"}
_OTHER = {"left": "right", "right": "left"}
# Runs of capitals, words, digits and other letters: "paw1LH_top" is paw, 1, LH, top.
_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]")
# Left or right with front, hind, back or middle: "LH", "FR".
_LIMB = re.compile(r"^(?:([LR])([FHBM])|([FHBM])([LR]))$", re.I)

Reading = tuple[str, str]  # side and part


def read_name(joint: str) -> tuple[str | None, str]:
    """Side ("left", "right" or None) and part of a joint's name: "R-Hip" is ("right", "hip")."""
    strong, _ = _readings(joint)
    return strong[0] if strong else (None, _part(_tokens(joint)))


def plain_name(joint: str) -> str:
    """The name in COCO's style: "Left Shoulder" and "LShoulder" are "left_shoulder"."""
    side, part = read_name(joint)
    return f"{side}_{part}" if side else part


def mirror_pairs(joints: Sequence[str]) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """Pairs of 0-based indices (lower first) of left and right joints, and the names that carry a side without a twin.

    Names pair where side and part fit; what is left pairs without its digits ("paw1LH", "paw4RH"), and then by letters
    that are a side only if the other name exists ("hipr" beside "hipl").
    """
    strong, weak = zip(*(_readings(joint) for joint in joints), strict=True) if joints else ((), ())
    pairs: list[tuple[int, int]] = []
    left_over = set(range(len(joints)))
    undigited = [[(side, _undigited(part)) for side, part in reading] for reading in strong]
    for readings in (strong, undigited, [a + b for a, b in zip(strong, weak, strict=True)]):
        places: dict[Reading, list[int]] = {}
        for k in sorted(left_over):
            for reading in readings[k]:
                places.setdefault(reading, []).append(k)
        for (side, part), found in places.items():
            twin = places.get(("right", part), ())
            if side == "left" and len(found) == len(twin) == 1 and {found[0], twin[0]} <= left_over:
                pairs.append((min(found[0], twin[0]), max(found[0], twin[0])))
                left_over -= {found[0], twin[0]}
    return tuple(sorted(pairs)), tuple(joints[k] for k in sorted(left_over) if strong[k])


def same_joints(wanted: Sequence[str], given: Sequence[str]) -> list[int] | None:
    """Where each of ``wanted`` stands among ``given``, by plain names; None where they are not the same joints."""
    places = {plain_name(name): k for k, name in enumerate(given)}
    plain = [plain_name(name) for name in wanted]
    if len(given) != len(wanted) or len(places) != len(given) or set(plain) != set(places):
        # Two names may read alike ("paw1L", "paw_1_l"): then only the names as they are tell.
        places, plain = {name: k for k, name in enumerate(given)}, list(wanted)
    return [places[name] for name in plain] if set(plain) == set(places) and len(plain) == len(places) else None


def _tokens(joint: str) -> list[str]:
    return _TOKENS.findall(joint)


def _part(tokens: Sequence[str]) -> str:
    part = "_".join(token.lower() for token in tokens)
    return _SYNONYMS.get(part, part)


def _undigited(part: str) -> str:
    return "_".join(token for token in part.split("_") if not token.isdigit())


def _readings(joint: str) -> tuple[list[Reading], list[Reading]]:
    """What certainly is a side in a name, at most one reading, and what is one only if the other name exists."""
    tokens = _tokens(joint)
    strong: list[Reading] = []
    glued: list[Reading] = []
    weak: list[Reading] = []
    for n, token in enumerate(tokens):
        others, lower = [*tokens[:n], *tokens[n + 1 :]], token.lower()
        if lower in _SIDES:
            # A letter before a number may be a vertebra ("L5"): certain only beside a word.
            (strong if any(t.isalpha() for t in others) else weak).append((_SIDES[lower], _part(others)))
        elif match := _LIMB.match(token):
            side, limb = (match[1], match[2]) if match[1] else (match[4], match[3])
            reading = (_SIDES[side.lower()], _part([*tokens[:n], limb, *tokens[n + 1 :]]))
            (strong if token.isupper() else weak).append(reading)
        else:
            for side, rest, certain in _glued(lower):
                (glued if certain else weak).append((side, _part([*tokens[:n], rest, *tokens[n + 1 :]])))
    certain = (strong + glued)[:1]
    return certain, [reading for reading in strong + glued + weak if reading not in certain]


def _glued(token: str) -> list[tuple[str, str, bool]]:
    """Sides within one word, the rest, and whether that is certain: "leftear", "earright", "lhip", "hipr", "flpaw"."""
    found = []
    if match := re.match(r"([fhbm])([lr])(\w{2,})", token):
        found.append((_SIDES[match[2]], match[1] + match[3], False))
    for word, side in _SIDES.items():
        for rest, leading in ((token.removeprefix(word), True), (token.removesuffix(word), False)):
            if rest == token or len(rest) < 2 or not word.isascii():
                continue
            if len(word) > 2:
                certain = leading or word == "left" or rest in PARTS
            else:
                certain = leading and rest in PARTS and token != "rear"
            found.append((side, rest, certain))
    return found
