"""Pictures of figures: backgrounds, clothes, occluding objects, and the truth about what can be seen.

Letters: H and W the picture's height and width. A picture is uint8 RGB; beside it runs a label map (H, W) uint8 that
holds what lies on top at every pixel: 0 background, 1 + 16 * person + part, 255 an object.
"""

import cv2
import numpy as np

from autopose.data.schema import COCO
from autopose.data.synthetic.body import Figure, draw_figure
from autopose.data.synthetic.canvas import Canvas, Cloth, across, capsule, draw_cloth, draw_colour, ellipse

_OBJECT = 255
# Limb, the joints at its ends, its radii there in figure heights, and how much nearer than its middle it is painted.
_SHAPES = (
    ("upper_arm", "shoulder", "elbow", 0.034, 0.026, 0.02),
    ("forearm", "elbow", "wrist", 0.026, 0.018, 0.0),
    ("hand", "wrist", "hand", 0.018, 0.02, 0.02),
    ("thigh", "hip", "knee", 0.05, 0.036, 0.0),
    ("shank", "knee", "ankle", 0.036, 0.022, 0.0),
    ("foot", "ankle", "foot", 0.024, 0.018, 0.0),
)
_PARTS = ("torso", "head") + tuple(f"{side}_{shape[0]}" for side in ("left", "right") for shape in _SHAPES)
_SHOWS_ON = {
    "shoulder": ("upper_arm", "torso"),
    "elbow": ("upper_arm", "forearm"),
    "wrist": ("forearm", "hand"),
    "hip": ("thigh", "torso"),
    "knee": ("thigh", "shank"),
    "ankle": ("shank", "foot"),
}
_SKIN = np.array([[241, 205, 177], [224, 172, 131], [198, 134, 92], [141, 85, 56], [92, 56, 40]], dtype=np.float32)
_HAIR = np.array([[30, 24, 22], [72, 46, 30], [140, 98, 50], [205, 172, 104], [150, 150, 150]], dtype=np.float32)


def draw_scene(rng: np.random.Generator, size_wh: tuple[int, int]) -> tuple[np.ndarray, list[dict]]:
    """Draw one picture with its persons.

    Args:
        rng: the picture's own generator.
        size_wh: width and height in px.

    Returns:
        (H, W, 3) uint8 RGB, and for each person a dict with keypoints (17, 3) in COCO's form, bbox (x, y, w, h) and
        area of the part that can be seen; persons hidden for more than three quarters have no labelled joint.
    """
    width, height = size_wh
    canvas = Canvas(_background(rng, width, height), np.zeros((height, width), np.uint8))
    for _ in range(rng.integers(1, 7)):
        _object(rng, canvas, 0.08, 0.5, label=0)
    for _ in range(rng.integers(0, 7)):
        _stray_limb(rng, canvas)
    count = rng.choice([1, 2, 3], p=[0.66, 0.26, 0.08])
    placed = []
    for person in range(count):
        figure = draw_figure(rng)
        zoom, shift = _place(rng, figure, size_wh, foremost=person == count - 1)
        _paint_figure(rng, canvas, figure, zoom, shift, person)
        whole = np.count_nonzero(_of_person(canvas.labels, person))
        placed.append((figure, zoom, shift, whole))
        if rng.random() < 0.3:
            _object(rng, canvas, 0.08, 0.3, label=_OBJECT)
    if rng.random() < 0.3:
        _object(rng, canvas, 0.08, 0.28, label=_OBJECT)
    people = [_annotate(canvas.labels, number, *row) for number, row in enumerate(placed)]
    return _develop(rng, canvas.picture), [person for person in people if person]


def _of_person(labels: np.ndarray, person: int) -> np.ndarray:
    return (labels > 16 * person) & (labels <= 16 * person + len(_PARTS))


def _place(
    rng: np.random.Generator, figure: Figure, size_wh: tuple[int, int], foremost: bool
) -> tuple[float, np.ndarray]:
    """Zoom in px per height and shift (2,) px: the foremost figure is large and inside, some are cut by the border."""
    points = np.concatenate([figure.joints, np.stack(list(figure.points.values()))])[:, :2]
    low, high = points.min(axis=0) - 0.06, points.max(axis=0) + 0.04
    room = np.array(size_wh, dtype=np.float64)
    zoom = (room / (high - low)).min() * (rng.uniform(0.62, 0.98) if foremost else rng.uniform(0.4, 0.8))
    free = room - zoom * (high - low)
    low_share, high_share = (-0.15, 1.15) if rng.random() < 0.12 else (0.0, 1.0)
    return zoom, free * rng.uniform(low_share, high_share, 2) - zoom * low


def _annotate(
    labels: np.ndarray, person: int, figure: Figure, zoom: float, shift: np.ndarray, whole: int
) -> dict | None:
    height, width = labels.shape
    mine = _of_person(labels, person)
    area = np.count_nonzero(mine)
    if area < 30:
        return None
    columns, rows = np.flatnonzero(mine.any(axis=0)), np.flatnonzero(mine.any(axis=1))
    keypoints = np.zeros((COCO.num_joints, 3))
    places = np.round(figure.joints[:, :2] * zoom + shift, 2)
    for k, name in enumerate(COCO.joints if 4 * area >= whole else ()):
        column, row = np.round(places[k]).astype(int)
        if not (0 <= column < width and 0 <= row < height) or (k < 5 and not figure.seen_face[k]):
            continue
        shown = labels[row, column] in _labels_showing(name, person)
        keypoints[k] = (*places[k], 2 if shown else 1)
    box = (columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])
    return {"keypoints": keypoints, "bbox": [float(v) for v in box], "area": float(area)}


def _labels_showing(joint: str, person: int) -> list[int]:
    side, _, part = joint.partition("_")
    parts = ["head"] if part not in _SHOWS_ON else [p if p == "torso" else f"{side}_{p}" for p in _SHOWS_ON[part]]
    return [1 + 16 * person + _PARTS.index(part) for part in parts]


def _paint_figure(
    rng: np.random.Generator, canvas: Canvas, figure: Figure, zoom: float, shift: np.ndarray, person: int
) -> None:
    """Paint the parts from the farthest to the nearest."""
    joints = dict(zip(COCO.joints, figure.joints, strict=True)) | figure.points
    flat = {name: place[:2] * zoom + shift for name, place in joints.items()}
    dress = _outfit(rng)
    thick = zoom * figure.girth
    depths = {"torso": joints["neck"][2] / 2, "head": joints["head"][2] + 0.03}
    limbs = {}
    for side in ("left", "right"):
        for limb, start, end, start_radius, end_radius, nearer in _SHAPES:
            ends = f"{side}_{start}", f"{side}_{end}"
            depths[f"{side}_{limb}"] = (joints[ends[0]][2] + joints[ends[1]][2]) / 2 + nearer
            limbs[f"{side}_{limb}"] = dress[limb], *(flat[e] for e in ends), thick * start_radius, thick * end_radius
    for part in sorted(depths, key=depths.get):
        label = 1 + 16 * person + _PARTS.index(part)
        if part == "torso":
            _paint_torso(canvas, flat, figure, dress, thick, label)
        elif part == "head":
            _paint_head(canvas, flat, figure, dress, zoom, label)
        else:
            cloth, start, end, start_radius, end_radius = limbs[part]
            shade = across(start, end, max(start_radius, end_radius))
            canvas.paint(capsule(start, end, start_radius, end_radius), cloth, label, shade)


def _paint_torso(canvas: Canvas, flat: dict, figure: Figure, dress: dict, thick: float, label: int) -> None:
    corners = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    radii = (0.036, 0.036, 0.048, 0.048)
    circles = [capsule(flat[c], flat[c], thick * r, thick * r) for c, r in zip(corners, radii, strict=True)]
    hull = cv2.convexHull(np.concatenate(circles).astype(np.float32))[:, 0]
    half = 0.5 * np.linalg.norm(flat["left_shoulder"] - flat["right_shoulder"]) + thick * 0.05
    canvas.paint(hull, dress["torso"], label, across(flat["neck"], flat["pelvis"], half))
    waist = [capsule(flat[c], flat[c], thick * 0.05, thick * 0.05) for c in corners[2:]]
    hips = cv2.convexHull(np.concatenate(waist).astype(np.float32))[:, 0]
    canvas.paint(hips, dress["thigh"], label, across(flat["neck"], flat["pelvis"], half))
    canvas.paint(capsule(flat["neck"], flat["head"], thick * 0.028, thick * 0.028), dress["skin"], label, 0.8)
    if figure.chest_seen and dress["neckline"] > 0:
        # A neckline on the chest: one of the things that tell front from back.
        left, right = (flat["neck"] + 0.35 * (flat[f"{s}_shoulder"] - flat["neck"]) for s in ("left", "right"))
        tip = flat["neck"] + dress["neckline"] * (flat["pelvis"] - flat["neck"])
        canvas.paint(np.stack([left, right, tip]), dress["skin"], None, 0.92)


def _paint_head(canvas: Canvas, flat: dict, figure: Figure, dress: dict, zoom: float, label: int) -> None:
    """Head and hair as ellipses; the face shows eyes, nose and mouth where they are towards the viewer."""
    left, down, forward = figure.head_axes.T
    radius = figure.head_radius * zoom
    center = flat["head"]
    towards = forward[2]
    skull = ellipse(center, radius, radius * 1.18, down)
    canvas.paint(skull, dress["hair"], label, across(center, center + down[:2], radius))
    if towards > -0.25:
        middle = center + radius * (0.5 * forward + 0.14 * down)[:2]
        face = ellipse(middle, radius * (0.52 + 0.36 * max(towards, 0)), radius * 0.98, down)
        canvas.paint(face, dress["skin"], label)
    for k, name in enumerate(COCO.joints[:5]):
        if not figure.seen_face[k]:
            continue
        tone, size = {"nose": ("shade", 0.15), "eye": ("dark", 0.13), "ear": ("shade", 0.2)}[name.rpartition("_")[2]]
        canvas.paint(ellipse(flat[name], radius * size, radius * size * 1.2, down), dress[tone], label)
    mouth = center + radius * (0.86 * forward + 0.55 * down)[:2]
    if towards > 0.25:
        side = radius * 0.28 * left[:2]
        canvas.paint(capsule(mouth - side, mouth + side, radius * 0.07, radius * 0.07), dress["lips"], label)


def _outfit(rng: np.random.Generator) -> dict:
    """Cloth of every part of one figure, and the depth of its neckline."""
    skin = Cloth(_SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.88, 1.05))
    shirt, trousers, shoes = draw_cloth(rng), draw_cloth(rng), Cloth(draw_colour(rng))
    sleeves, legs = rng.random(), rng.random()
    return {
        "skin": skin,
        "shade": skin.shaded(0.72),
        "dark": Cloth(np.array([30, 25, 25], np.float32)),
        "lips": Cloth(np.array([150, 60, 60], np.float32)),
        "hair": Cloth(_HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.8, 1.2)),
        "torso": shirt,
        "upper_arm": shirt if sleeves < 0.85 else skin,
        "forearm": shirt if sleeves < 0.4 else skin,
        "hand": skin,
        "thigh": trousers if legs < 0.92 else shirt,
        "shank": trousers if legs < 0.65 else skin,
        "foot": shoes,
        "neckline": rng.choice([0.0, 0.12, 0.25]),
    }


def _background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Soft coloured noise at two scales over a gradient; sometimes a floor line."""
    low, high = draw_colour(rng), draw_colour(rng)
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    picture = np.broadcast_to(low * (1 - ramp) + high * ramp, (height, width, 3)).copy()
    if rng.random() < 0.5:
        picture[int(height * rng.uniform(0.5, 0.95)) :] = draw_colour(rng)
    for cells, strength in ((rng.integers(3, 8), 28), (rng.integers(12, 40), 20)):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _object(rng: np.random.Generator, canvas: Canvas, least: float, most: float, label: int) -> None:
    """A box, disc or bar anywhere, its size a share of the picture's."""
    height, width = canvas.labels.shape
    center = rng.uniform(0, 1, 2) * (width, height)
    half = rng.uniform(least, most, 2) * 0.5 * min(width, height)
    angle = rng.uniform(0, np.pi)
    axis = np.array([-np.sin(angle), np.cos(angle)])
    if rng.random() < 0.5:
        outline = ellipse(center, half[0], half[1], axis)
    else:
        side = np.array([axis[1], -axis[0]])
        outline = np.stack(
            [center + a * half[0] * side + b * half[1] * axis for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
        )
    canvas.paint(outline, draw_cloth(rng), label, rng.uniform(0.7, 1.1))


def _stray_limb(rng: np.random.Generator, canvas: Canvas) -> None:
    """A limb that belongs to nobody: the reason why a network must see the whole figure."""
    height, width = canvas.labels.shape
    start = rng.uniform(0, 1, 2) * (width, height)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.3) * height
    end = start + length * np.array([np.cos(angle), np.sin(angle)])
    radius = rng.uniform(0.012, 0.035) * height
    skin = rng.random() < 0.5
    cloth = Cloth(_SKIN[rng.integers(len(_SKIN))]) if skin else draw_cloth(rng)
    canvas.paint(capsule(start, end, radius, radius * rng.uniform(0.6, 1)), cloth, 0, across(start, end, radius))


def _develop(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Contrast, brightness, blur and sensor noise."""
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.9))
    gain, bias = rng.uniform(0.75, 1.15), rng.uniform(-20, 20)
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(1, 9))
    return np.clip(
        (picture.astype(np.float32) - 128) * np.float32(gain) + np.float32(128 + bias) + noise, 0, 255
    ).astype(np.uint8)
