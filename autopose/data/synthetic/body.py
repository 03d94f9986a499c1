"""Poses of articulated figures: a kinematic tree in three dimensions with limits on its angles, seen from the front.

Axes: x to the right of the picture, y down, z towards the viewer. A figure that faces the viewer has its left side at
positive x. Lengths are in units of the figure's height.
"""

from dataclasses import dataclass

import numpy as np

from autopose.data.schema import COCO

# Direction of a limb: polar angle from straight down, azimuth from outwards (0) over forwards (90) to inwards (180),
# then the bend of the next joint; degrees, (low, high) of a uniform law.
_ARMS = {
    "rest": ((0, 30), (0, 90), (0, 60)),
    "swing": ((5, 55), (60, 120), (10, 90)),
    "reach": ((50, 165), (-20, 110), (0, 110)),
    "free": ((0, 165), (-40, 130), (0, 140)),
}
_LEGS = {
    "stand": ((0, 14), (0, 90), (0, 12)),
    "stride": ((5, 45), (75, 105), (0, 60)),
    "back": ((5, 30), (-105, -75), (10, 90)),
    "sit": ((65, 100), (50, 95), (60, 110)),
    "free": ((0, 85), (-20, 110), (0, 110)),
}
# Pairs of leg and arm manners that go together, with their odds.
_MANNERS = (
    (0.24, ("stand", "stand"), ("rest", "rest")),
    (0.14, ("stand", "stand"), ("reach", "rest")),
    (0.12, ("stand", "stand"), ("free", "free")),
    (0.18, ("stride", "back"), ("swing", "swing")),
    (0.12, ("sit", "sit"), ("rest", "swing")),
    (0.20, ("free", "free"), ("free", "free")),
)


@dataclass(frozen=True)
class Figure:
    """A posed figure.

    Attributes:
        joints: (17, 3) in COCO's order, unit of the figure's height, around the pelvis.
        points: further places by name, each (3,): neck, pelvis, head, and hands and feet by side.
        head_axes: (3, 3), columns: the head's left, down and forward direction.
        chest_seen: whether the chest, not the back, is towards the viewer.
        girth: factor of all thicknesses.
        head_radius: unit of the figure's height.
        seen_face: (5,) bool, whether nose, eyes and ears are on the head's side towards the viewer.
    """

    joints: np.ndarray
    points: dict[str, np.ndarray]
    head_axes: np.ndarray
    chest_seen: bool
    girth: float
    head_radius: float
    seen_face: np.ndarray


def draw_figure(rng: np.random.Generator) -> Figure:
    """Draw a figure: proportions, body direction, and a pose of one of several manners (standing, walking, ...)."""
    trunk = _trunk_axes(rng)
    head = trunk @ _rotation(*np.deg2rad([rng.uniform(-25, 25), rng.uniform(-45, 45), rng.uniform(-15, 15)]))
    size = _proportions(rng)
    legs, arms = _manner(rng)
    pelvis = np.zeros(3)
    neck = trunk @ np.array([0, -size["trunk"], 0])
    points = {"pelvis": pelvis, "neck": neck, "head": neck + head @ np.array([0, -size["neck"] - size["head"], 0])}
    place = {}
    for side, sign, leg, arm in (("left", 1, legs[0], arms[0]), ("right", -1, legs[1], arms[1])):
        shoulder = neck + trunk @ np.array([sign * size["shoulders"], 0.02, 0])
        elbow, wrist, hand = _limb(rng, _ARMS[arm], trunk, sign, shoulder, (size["arm"], size["forearm"]), 1, 0.045)
        hip = pelvis + trunk @ np.array([sign * size["hips"], 0, 0])
        knee, ankle, _ = _limb(rng, _LEGS[leg], trunk, sign, hip, (size["thigh"], size["shank"]), -1, 0)
        toes = ankle + _foot(rng, trunk, ankle - knee)
        points |= {f"{side}_hand": hand, f"{side}_foot": toes}
        place |= {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_wrist": wrist}
        place |= {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle}
    face, seen = _face(head, points["head"], size["head"])
    joints = np.stack([(face | place)[name] for name in COCO.joints])
    return Figure(joints, points, head, bool(trunk[2, 2] > 0), size["girth"], size["head"], seen)


def _proportions(rng: np.random.Generator) -> dict[str, float]:
    means = {"trunk": 0.29, "neck": 0.035, "head": 0.068, "shoulders": 0.108, "hips": 0.068, "arm": 0.165}
    means |= {"forearm": 0.145, "thigh": 0.235, "shank": 0.225, "girth": 1.0}
    spread = {"head": 0.12, "girth": 0.25, "neck": 0.2}
    return {name: mean * (1 + spread.get(name, 0.1) * rng.uniform(-1, 1)) for name, mean in means.items()}


def _manner(rng: np.random.Generator) -> tuple[tuple[str, str], tuple[str, str]]:
    odds = np.array([row[0] for row in _MANNERS])
    _, legs, arms = _MANNERS[rng.choice(len(_MANNERS), p=odds / odds.sum())]
    return (legs if rng.random() < 0.5 else legs[::-1]), (arms if rng.random() < 0.5 else arms[::-1])


def _trunk_axes(rng: np.random.Generator) -> np.ndarray:
    """Columns: the trunk's left, down and forward direction. Most face the viewer, a quarter the other way."""
    kind = rng.random()
    yaw = rng.uniform(-180, 180) if kind > 0.7 else rng.uniform(-50, 50) + (180 if kind > 0.45 else 0)
    lean = rng.normal(0, 10)
    roll = rng.uniform(-180, 180) if rng.random() < 0.04 else rng.normal(0, 10)
    return _rotation(0, 0, np.deg2rad(roll)) @ _rotation(0, np.deg2rad(yaw), 0) @ _rotation(np.deg2rad(lean), 0, 0)


def _rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Rotation by roll about z, then yaw about y, then pitch about x (applied to columns from the right)."""
    (cp, cy, cr), (sp, sy, sr) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _limb(
    rng: np.random.Generator,
    limits: tuple,
    trunk: np.ndarray,
    sign: int,
    start: np.ndarray,
    lengths: tuple,
    bend: int,
    tip,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle joint, end joint and a point `tip` beyond it; arms bend forwards (bend 1), legs backwards (-1)."""
    polar, azimuth, flex = np.deg2rad([rng.uniform(low, high) for low, high in limits])
    upper = np.array([sign * np.sin(polar) * np.cos(azimuth), np.cos(polar), np.sin(polar) * np.sin(azimuth)])
    towards = np.array([rng.normal(0, 0.25 if bend > 0 else 0.08), -0.3 if bend > 0 else 0.1, bend])
    towards = towards - (towards @ upper) * upper
    towards = towards / max(np.linalg.norm(towards), 1e-6)
    lower = np.cos(flex) * upper + np.sin(flex) * towards
    middle = start + lengths[0] * trunk @ upper
    end = middle + lengths[1] * trunk @ lower
    return middle, end, end + tip * trunk @ lower


def _foot(rng: np.random.Generator, trunk: np.ndarray, shank: np.ndarray) -> np.ndarray:
    forward = trunk @ np.array([rng.normal(0, 0.3), 0, 1])
    down = shank / np.linalg.norm(shank)
    forward = forward - 0.8 * (forward @ down) * down
    return 0.075 * forward / max(np.linalg.norm(forward), 1e-6) + 0.02 * down


def _face(head: np.ndarray, center: np.ndarray, radius: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Places of nose, eyes and ears on the head, and which of them the viewer can see."""
    local = {
        "nose": (0, 0.15, 1.08),
        "left_eye": (0.38, -0.15, 0.88),
        "right_eye": (-0.38, -0.15, 0.88),
        "left_ear": (0.98, 0.05, 0),
        "right_ear": (-0.98, 0.05, 0),
    }
    offsets = {name: head @ np.array(place) for name, place in local.items()}
    seen = np.array([offset[2] > (-0.12 if "ear" in name else 0.1) for name, offset in offsets.items()])
    return {name: center + radius * offset for name, offset in offsets.items()}, seen
