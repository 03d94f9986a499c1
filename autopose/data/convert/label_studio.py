"""Label Studio's JSON export: tasks with keypoint regions, and rectangles as boxes; coordinates are percents.

Regions with the same ``parentID`` are one person. A second annotation of a task counts as repeated labels.
"""

from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from autopose.data.checks import read_json
from autopose.errors import UserError

from .grouping import Box, Point, people_of
from .labels import VISIBLE, Labels, Picture, Problems, ReadOptions, chosen_joints, pixels, with_repeats
from .sources import PICTURE_SUFFIXES, find_picture, name_in_set

_START = 4096
# An upload is stored as eight hexadecimal digits, a dash and its old name.
_PREFIX = 9


def looks_like(source: Path) -> bool:
    """A JSON file with a list of tasks."""
    if source.is_dir() or source.suffix.lower() != ".json":
        return False
    start = source.open("rb").read(_START)
    return start.lstrip().startswith(b"[") and (b'"annotations"' in start or b'"completions"' in start)


def read(source: Path, options: ReadOptions, problems: Problems) -> Labels:
    """Labels of every task that is not cancelled.

    Raises:
        UserError: not Label Studio's JSON, or no keypoint in it.
    """
    tasks = read_json(source, "Label Studio export")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UserError(f"'{source}' is no Label Studio export: expected a list of tasks (export as JSON)")
    folders = [options.pictures] if options.pictures else []
    folders += [source.parent, source.parent / "images"]
    found: dict[Path, tuple[str, list[tuple[list[Point], list[Box]]], tuple[int, int] | None]] = {}
    for number, task in enumerate(tasks):
        where = f"'{source}', task {task.get('id', number)}"
        try:
            names = _picture_names(task, where)
            path = next(filter(None, (find_picture(name, folders) for name in names)), None)
            if path is None:
                problems.add(
                    "pictures missing", f"{where}: the picture '{names[0][:80]}' is not there (pictures=FOLDER)."
                )
            elif path in found:
                problems.add("pictures in two tasks", f"{where}: '{path.name}' is in another task already.")
            else:
                annotations = [_regions(a, where) for a in _annotations(task)]
                found[path] = (
                    where,
                    [(p, b) for p, b, _ in annotations],
                    next((s for *_, s in annotations if s), None),
                )
        except UserError as error:
            problems.add("tasks unreadable", str(error))
    names = dict.fromkeys(p.joint for _, labels, _ in found.values() for points, _ in labels for p in points)
    if not names:
        raise UserError(f"'{source}' has no keypoint: joints must be regions of Label Studio's KeyPointLabels")
    joints = chosen_joints(list(names), options.joints)
    pictures = []
    for path, (where, labels, size) in found.items():
        try:
            people = [people_of([p for p in points if p.joint in joints], b, joints, where) for points, b in labels]
        except UserError as error:
            problems.add("pictures whose people cannot be told apart", str(error))
            continue
        name = name_in_set(path, source.parent).removeprefix("images/")
        pictures.append(Picture(path, name, with_repeats(people) if people else (), size=size))
    note = f"Label Studio has no order of joints: they come as first used ({', '.join(joints)})."
    return Labels("object", joints, tuple(pictures), notes=() if options.joints else (note,))


def _picture_names(task: dict, where: str) -> list[str]:
    """The names under which the picture may lie in a folder, the most specific first."""
    data = task.get("data")
    texts = [text for text in data.values() if isinstance(text, str)] if isinstance(data, dict) else []
    for text in texts:
        parts = urlsplit(text)
        path = unquote(parse_qs(parts.query).get("d", [parts.path])[0])
        if PurePosixPath(path).suffix.lower() in PICTURE_SUFFIXES:
            last = PurePosixPath(path).name
            uploaded = last[_PREFIX:] if len(last) > _PREFIX and last[_PREFIX - 1] == "-" else None
            return [name for name in (path.lstrip("/"), last, uploaded) if name]
    raise UserError(f"{where}: no picture is named in 'data'")


def _annotations(task: dict) -> list[dict]:
    rows = task.get("annotations", task.get("completions"))
    rows = rows if isinstance(rows, list) else []
    return [row for row in rows if isinstance(row, dict) and not row.get("was_cancelled") and row.get("result")]


def _regions(annotation: dict, where: str) -> tuple[list[Point], list[Box], tuple[int, int] | None]:
    points, boxes, size = [], [], None
    rows = annotation["result"]
    for row in rows if isinstance(rows, list) else [rows]:
        if not isinstance(row, dict):
            raise UserError(f"{where}: 'result' must be a list of regions")
        kind, value = row.get("type"), row.get("value")
        if kind not in ("keypointlabels", "rectanglelabels"):
            continue
        width, height = (pixels(row.get(key), f"{where}, {key}") for key in ("original_width", "original_height"))
        if row.get("image_rotation") not in (None, 0):
            raise UserError(f"{where}: the picture was turned in the tool, which cannot be converted")
        if not isinstance(value, dict) or width <= 0 or height <= 0:
            raise UserError(f"{where}: a region has no value or no size of its picture")
        size = int(width), int(height)
        x, y = (pixels(value.get(key), where) / 100 * side for key, side in (("x", width), ("y", height)))
        if kind == "keypointlabels":
            points.append(Point(_label(value, kind, where), x, y, VISIBLE, row.get("parentID")))
        else:
            w, h = (pixels(value.get(key), where) / 100 * side for key, side in (("width", width), ("height", height)))
            boxes.append(Box((x, y, w, h), row.get("id")))
    grouped = {point.group for point in points}
    return points, [box if box.group in grouped else Box(box.xywh) for box in boxes], size


def _label(value: dict, kind: str, where: str) -> str:
    labels = value.get(kind)
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise UserError(f"{where}: a keypoint must have one label, but has {labels!r:.60}")
    return labels[0]
