"""LabelMe folders: one JSON a picture with points named like joints, and rectangles as boxes.

Coordinates are px. Shapes with the same ``group_id`` are one person. A point is hidden where its flag or its
description says "occluded" or "hidden".
"""

from itertools import islice
from pathlib import Path

from autopose.data.checks import read_json
from autopose.errors import UserError

from .grouping import Box, Point, people_of
from .labels import HIDDEN, VISIBLE, Labels, Picture, Problems, ReadOptions, chosen_joints, pixels
from .sources import find_picture, name_in_set

_HIDDEN_WORDS = ("occluded", "hidden")
_LOOKED_AT = 20
# A file of LabelMe holds one picture at most; larger ones are another tool's.
_LARGEST = 100 << 20


def looks_like(source: Path) -> bool:
    """A folder with a JSON file that has ``shapes`` and ``imagePath``, or such a file."""
    files = islice(sorted(source.rglob("*.json")), _LOOKED_AT) if source.is_dir() else [source]
    return any(f.suffix.lower() == ".json" and f.stat().st_size < _LARGEST and _is_labelme(f) for f in files)


def read(source: Path, options: ReadOptions, problems: Problems) -> Labels:
    """Labels of every JSON of LabelMe in the folder; other files are not touched.

    Raises:
        UserError: no point in any of them.
    """
    root = source if source.is_dir() else source.parent
    files = sorted(root.rglob("*.json")) if source.is_dir() else [source]
    shapes: dict[Path, tuple[list[Point], list[Box], Path, tuple[int, int] | None]] = {}
    for file in files:
        try:
            document = read_json(file, "LabelMe file")
            if not isinstance(document, dict) or "shapes" not in document:
                continue
            if not isinstance(document["shapes"], list) or not isinstance(document.get("imagePath"), str):
                raise UserError(f"'{file}' must have a list of shapes and the picture's name as imagePath")
            picture = _picture(document, file, root, options)
            if picture is None:
                problems.add("pictures missing", f"'{file}': the picture '{document['imagePath']:.80}' is not there.")
                continue
            shapes[file] = (*_shapes(document, f"'{file}'"), picture, _size(document))
        except UserError as error:
            problems.add("label files unreadable", str(error))
    names = sorted({point.joint for points, *_ in shapes.values() for point in points})
    if not names:
        raise UserError(f"'{source}' has no point in any LabelMe file: joints must be shapes of the type 'point'")
    joints = chosen_joints(names, options.joints)
    pictures, seen = [], {}
    for file, (points, boxes, picture, size) in shapes.items():
        if picture in seen:
            problems.add(
                "pictures labelled twice", f"'{file}': '{picture.name}' has labels in '{seen[picture]}' already."
            )
            continue
        seen[picture] = file.name
        try:
            people = people_of([p for p in points if p.joint in joints], boxes, joints, f"'{file}'")
        except UserError as error:
            problems.add("pictures whose people cannot be told apart", str(error))
            continue
        pictures.append(Picture(picture, name_in_set(picture, root), people, size=size))
    order = (
        () if options.joints else (f"LabelMe has no order of joints: they are sorted by name ({', '.join(joints)}).",)
    )
    return Labels("object", joints, tuple(pictures), notes=order)


def _is_labelme(file: Path) -> bool:
    if b'"shapes"' not in file.read_bytes():
        return False
    try:
        document = read_json(file, "file")
    except UserError:
        return False
    return isinstance(document, dict) and "shapes" in document and "imagePath" in document


def _picture(document: dict, file: Path, root: Path, options: ReadOptions) -> Path | None:
    folders = [options.pictures] if options.pictures else []
    return find_picture(document["imagePath"], [*folders, file.parent, root])


def _shapes(document: dict, where: str) -> tuple[list[Point], list[Box]]:
    points, boxes = [], []
    for row in document["shapes"]:
        if not isinstance(row, dict) or not isinstance(row.get("label"), str):
            raise UserError(f"{where}: expected a list of shapes, each with a label")
        kind, label, corners = row.get("shape_type"), row["label"], row.get("points")
        wanted = {"point": 1, "rectangle": 2}.get(kind)
        if wanted is None:
            continue
        if (
            not isinstance(corners, list)
            or len(corners) != wanted
            or not all(isinstance(c, list) and len(c) == 2 for c in corners)
        ):
            raise UserError(f"{where}: the {kind} '{label}' must have {wanted} points [x, y]")
        xy = [[pixels(value, f"{where}, {label}") for value in corner] for corner in corners]
        group = row.get("group_id")
        group = group if isinstance(group, int | str) else None
        if kind == "point":
            x, y = xy[0]
            points.append(Point(label, x, y, HIDDEN if _says_hidden(row) else VISIBLE, group))
        else:
            (x0, x1), (y0, y1) = sorted((xy[0][0], xy[1][0])), sorted((xy[0][1], xy[1][1]))
            boxes.append(Box((x0, y0, x1 - x0, y1 - y0), group))
    return points, boxes


def _says_hidden(row: dict) -> bool:
    flags, words = row.get("flags"), str(row.get("description") or "").lower()
    flagged = isinstance(flags, dict) and any(flags.get(word) is True for word in _HIDDEN_WORDS)
    return flagged or words.strip() in _HIDDEN_WORDS


def _size(document: dict) -> tuple[int, int] | None:
    size = document.get("imageWidth"), document.get("imageHeight")
    return size if all(type(side) is int and side > 0 for side in size) else None
