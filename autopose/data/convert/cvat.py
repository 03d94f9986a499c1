"""CVAT's "CVAT for images 1.1" XML: skeletons, or single points named like joints; with boxes where there are any.

Coordinates are px. A skeleton's point is hidden where ``occluded`` and not labelled where ``outside``.
"""

import re
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from xml.etree.ElementTree import Element

from autopose.errors import UserError

from .grouping import Box, Point, people_of
from .labels import (
    HIDDEN,
    UNLABELLED,
    VISIBLE,
    LabelledPerson,
    Labels,
    Picture,
    Problems,
    ReadOptions,
    chosen_joints,
    person_of,
    pixels,
)
from .sources import find_picture, name_in_set, read_xml

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_BOX_EDGES = ("xtl", "ytl", "xbr", "ybr")


def looks_like(source: Path) -> bool:
    """An XML file whose root is ``annotations``, or a folder with an annotations.xml."""
    path = source / "annotations.xml" if source.is_dir() else source
    return path.suffix.lower() == ".xml" and path.is_file() and b"<annotations" in path.open("rb").read(1000)


def read(source: Path, options: ReadOptions, problems: Problems) -> Labels:
    """Labels of every picture of the file.

    Raises:
        UserError: not CVAT's XML for images, or without a skeleton or point.
    """
    path = source / "annotations.xml" if source.is_dir() else source
    root = read_xml(path, "CVAT annotation")
    if root.tag != "annotations":
        raise UserError(f"'{path}' is no CVAT annotation: its root is <{root.tag}> instead of <annotations>")
    if root.find("track") is not None:
        raise UserError(f"'{path}' is CVAT's format for videos: export as 'CVAT for images 1.1' with the images")
    images = root.findall("image")
    joints = chosen_joints(_joints(root, images, path), options.joints)
    folders = [options.pictures] if options.pictures else []
    folders += [path.parent / "images", path.parent]
    pictures = []
    for image in images:
        name, subset = image.get("name", ""), image.get("subset", "")
        where = f"'{path}', image '{name[:80]}'"
        file = find_picture(name, [*(folder / subset for folder in folders if subset), *folders])
        if file is None:
            problems.add("pictures missing", f"{where}: the picture is not there.")
            continue
        try:
            people, size = _people(image, joints, where), _size(image, where)
        except UserError as error:
            problems.add("pictures unreadable", str(error))
            continue
        split = _SPLITS.get(subset.lower())
        pictures.append(
            Picture(file, name_in_set(file, folders[-1]).removeprefix("images/"), people, split, None, size)
        )
    category, skeleton = _described(root, joints)
    return Labels(category, joints, tuple(pictures), skeleton=skeleton)


def _joints(root: Element, images: list[Element], path: Path) -> list[str]:
    """Names in the order of the task's description, else in the order in which they come."""
    described = [s.findtext("name", "") for label in root.iter("label") for s in label.findall("sublabels/label")]
    described += [e.findtext("name", "") for e in root.iter("label") if e.find("parent") is not None]
    used = [p.get("label", "") for image in images for p in _points(image)]
    names = [name for name in dict.fromkeys([*described, *used]) if name]
    if not names:
        raise UserError(f"'{path}' has neither skeletons nor points: there are no joints to convert")
    return names


def _points(image: Element) -> Iterable[Element]:
    yield from (point for skeleton in image.findall("skeleton") for point in skeleton.findall("points"))
    yield from image.findall("points")


def _people(image: Element, joints: tuple[str, ...], where: str) -> tuple[LabelledPerson, ...]:
    boxes = [
        Box((x0, y0, x1 - x0, y1 - y0), element.get("group_id"))
        for element in image.findall("box")
        for x0, y0, x1, y1 in [[pixels(element.get(edge), f"{where}, a box") for edge in _BOX_EDGES]]
    ]
    people = []
    for skeleton in image.findall("skeleton"):
        own = [point for point in (_point(p, where) for p in skeleton.findall("points")) if point.joint in joints]
        found = {point.joint: (point.x, point.y, point.visible) for point in own}
        if len(found) != len(own):
            raise UserError(f"{where}: a skeleton has a joint twice")
        group = skeleton.get("group_id")
        box = next((b.xywh for b in boxes if group not in (None, "0") and b.group == group), None)
        if any(visible != UNLABELLED for *_, visible in found.values()):
            people.append(person_of(found, joints, box))
    if people:
        return tuple(people)
    single = [point for point in (_point(p, where) for p in image.findall("points")) if point.joint in joints]
    return people_of(single, boxes, joints, where)


def _point(element: Element, where: str) -> Point:
    label, text = element.get("label", ""), element.get("points", "")
    if text.count(",") != 1:
        raise UserError(f"{where}: '{label}' must be one point 'x,y', but is '{text[:60]}'")
    x, y = (pixels(part, f"{where}, {label}") for part in text.split(","))
    hidden = HIDDEN if element.get("occluded") == "1" else VISIBLE
    return Point(label, x, y, UNLABELLED if element.get("outside") == "1" else hidden, element.get("group_id"))


def _size(image: Element, where: str) -> tuple[int, int] | None:
    if image.get("width") is None or image.get("height") is None:
        return None
    return int(pixels(image.get("width"), where)), int(pixels(image.get("height"), where))


def _described(root: Element, joints: tuple[str, ...]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Category and bones of the task's description: CVAT keeps a skeleton's edges in an SVG."""
    for label in root.iter("label"):
        svg = unescape(label.findtext("svg") or "")
        if not svg:
            continue
        nodes = {
            _attribute(c, "data-node-id"): _attribute(c, "data-label-name") for c in re.findall(r"<circle[^>]*>", svg)
        }
        lines = re.findall(r"<line[^>]*>", svg)
        ends = [[nodes.get(_attribute(line, f"data-node-{end}")) for end in ("from", "to")] for line in lines]
        bones = tuple((joints.index(a), joints.index(b)) for a, b in ends if a in joints and b in joints and a != b)
        return label.findtext("name") or "person", bones
    return "person", ()


def _attribute(tag: str, name: str) -> str | None:
    match = re.search(rf'{name}="([^"]*)"', tag)
    return match.group(1) if match else None
