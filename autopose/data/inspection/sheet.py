"""A contact sheet of pictures with their labels drawn. Letters: K joints, H and W a picture's height and width."""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from autopose.data.pictures import read_picture
from autopose.data.records import Person, PoseAnnotations
from autopose.files import save

TILE, COLUMNS, TILES = 320, 4, 16
_HEADER, _LEGEND_ROW, _MARGIN = 22, 22, 8
_FONT, _TEXT = cv2.FONT_HERSHEY_SIMPLEX, 0.42
_PAPER, _INK = (250, 250, 250), (30, 30, 30)


@dataclass(frozen=True)
class _Style:
    """Bones, colours by joint, and the visibility from which a dot is full: 2, or 1 where a set never says 2."""

    skeleton: Sequence[tuple[int, int]]
    colours: Sequence[tuple[int, int, int]]
    full: int


def hues(count: int) -> list[tuple[int, int, int]]:
    """Colours (RGB, 0 to 255) told apart by hue, and neighbours in the list by brightness as well."""
    return [
        tuple(int(255 * v) for v in colorsys.hls_to_rgb(k / max(count, 1), 0.45 + 0.15 * (k % 2), 1.0))
        for k in range(count)
    ]


def choose_people(splits: Mapping[str, PoseAnnotations], seed: int, count: int = TILES) -> list[tuple[str, int]]:
    """(split, image id) of pictures with people, drawn by seed, a quarter of them of the validation split."""
    chosen: list[tuple[str, int]] = []
    rng = np.random.default_rng(seed)
    for name in sorted(splits, key=lambda split: split != "val"):
        ids = sorted({person.image_id for person in splits[name].persons})
        wanted = count // 4 if name == "val" and len(splits) > 1 else count - len(chosen)
        chosen += [(name, ids[n]) for n in rng.permutation(len(ids))[:wanted]]
    return sorted(chosen)


def draw_sheet(splits: Mapping[str, PoseAnnotations], path: str | Path, seed: int = 0) -> int:
    """Write the sheet as PNG; returns the number of pictures on it.

    A full dot is a visible joint, a ring a hidden one; the box is a thin line. Where people fill little of a picture,
    the tile shows them and not the whole.

    Raises:
        UserError: a picture cannot be read, or the disk does not take the sheet.
    """
    schema = next(iter(splits.values())).schema
    marks = {int(state) for split in splits.values() for person in split.persons for state in person.visible}
    style = _Style(schema.skeleton, hues(schema.num_joints), 2 if 2 in marks else 1)
    tiles = []
    for name, image_id in choose_people(splits, seed):
        people = [person for person in splits[name].persons if person.image_id == image_id]
        title = f"{name} {Path(people[0].image).name}"
        tiles.append(_tile(read_picture(splits[name].images[image_id]), people, style, title))
    while len(tiles) % COLUMNS:
        tiles.append(np.full_like(tiles[0], _PAPER))
    rows = [np.concatenate(tiles[n : n + COLUMNS], axis=1) for n in range(0, len(tiles), COLUMNS)]
    sheet = np.concatenate([*rows, legend(schema.joints, style.colours, rows[0].shape[1])])
    _, data = cv2.imencode(".png", sheet[..., ::-1])
    save(path, data.tobytes())
    return len(choose_people(splits, seed))


def _tile(picture: np.ndarray, people: Sequence[Person], style: _Style, title: str) -> np.ndarray:
    x0, y0, x1, y1 = _window(people, picture.shape[1], picture.shape[0])
    part = picture[y0:y1, x0:x1]
    inner = TILE - 2 * _MARGIN
    zoom = inner / max(part.shape[:2])
    size = max(1, round(part.shape[1] * zoom)), max(1, round(part.shape[0] * zoom))
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    for person in people:
        _draw_person(part, person, np.array([x0, y0]), zoom, style)
    tile = np.full((TILE + _HEADER, TILE, 3), _PAPER, np.uint8)
    left, top = (TILE - size[0]) // 2, _HEADER + (TILE - size[1]) // 2
    tile[top : top + size[1], left : left + size[0]] = part
    text = title if len(title) < 42 else title[:20] + "..." + title[-18:]
    cv2.putText(tile, text, (_MARGIN, _HEADER - 7), _FONT, _TEXT, _INK, 1, cv2.LINE_AA)
    return tile


def _window(people: Sequence[Person], width: int, height: int) -> tuple[int, int, int, int]:
    """The part of the picture to show: joints and boxes with a margin, or the whole where they fill half of it.

    A box that is the whole picture says nothing of where its person is: the joints alone count.
    """
    points = [person.joints[person.visible > 0] for person in people]
    boxes = [person.bbox for person in people if person.bbox[2] * person.bbox[3] < 0.9 * width * height]
    every = np.concatenate([*points, *(np.array([box[:2], box[:2] + box[2:]]) for box in boxes)])
    low, high = every.min(axis=0), every.max(axis=0)
    if (high - low).max() > 0.5 * max(width, height):
        return 0, 0, width, height
    margin = 0.3 * (high - low).max() + 8
    x0, y0 = np.clip(np.floor(low - margin), 0, (width - 1, height - 1)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(high + margin), (x0 + 1, y0 + 1), (width, height)).astype(int).tolist()
    return x0, y0, x1, y1


def _draw_person(part: np.ndarray, person: Person, corner: np.ndarray, zoom: float, style: _Style) -> None:
    # The centre of a picture's pixel (0, 0) lies half a magnified pixel inside of the tile.
    places = np.round((person.joints - corner + 0.5) * zoom - 0.5).astype(int).tolist()
    seen = person.visible
    box = np.array([person.bbox[:2], person.bbox[:2] + person.bbox[2:]]) - corner
    cv2.rectangle(part, *np.round(box * zoom).astype(int).tolist(), (255, 255, 255), 1)
    extent = np.ptp(person.joints[seen > 0], axis=0).max() * zoom
    radius = int(np.clip(extent / 25, 2, 4))
    for a, b in style.skeleton:
        if seen[a] and seen[b]:
            cv2.line(part, places[a], places[b], (0, 0, 0), radius, cv2.LINE_AA)
            cv2.line(part, places[a], places[b], (255, 255, 255), radius // 2, cv2.LINE_AA)
    for place, state, colour in zip(places, seen, style.colours, strict=True):
        if state:
            cv2.circle(part, place, radius + 2, (0, 0, 0), -1, cv2.LINE_AA)
            cv2.circle(part, place, radius + 1, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(part, place, radius, colour, -1 if state >= style.full else 1, cv2.LINE_AA)


def legend(joints: Sequence[str], colours: Sequence, width: int, paper: tuple[int, int, int] = _PAPER) -> np.ndarray:
    """The joints' names beside their dots, in rows: (height, ``width``, 3) uint8 RGB."""
    widths = [cv2.getTextSize(joint, _FONT, _TEXT, 1)[0][0] + 34 for joint in joints]
    places, x, y = [], _MARGIN, _LEGEND_ROW
    for own in widths:
        if x + own > width and x > _MARGIN:
            x, y = _MARGIN, y + _LEGEND_ROW
        places.append((x, y))
        x += own
    strip = np.full((y + _LEGEND_ROW, width, 3), paper, np.uint8)
    for (left, middle), joint, colour in zip(places, joints, colours, strict=True):
        cv2.circle(strip, (left + 6, middle - 4), 5, colour, -1, cv2.LINE_AA)
        cv2.putText(strip, joint, (left + 16, middle), _FONT, _TEXT, _INK, 1, cv2.LINE_AA)
    return strip
