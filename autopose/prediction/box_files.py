"""People's boxes from whatever the user has: one box, a file of detections, annotations, or none."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from autopose.data.boxes import check_box_format
from autopose.data.checks import number, numbers, read_json
from autopose.errors import UserError

from .boxes import box_problem


class Boxes:
    """Boxes by picture.

    ``boxes=`` may be one box for every picture, a list of {"file_name" or "image_id", "bbox", "score"} (COCO's result
    format, and the software's own), or COCO annotations. Without any, a picture is one person's box.
    """

    def __init__(self, given: object = None):
        """
        Args:
            given: None, four numbers, or the path of a JSON file.

        Raises:
            UserError: something else, or a file that is none of these.
        """
        self.everywhere: np.ndarray | None = None
        self.of_name: dict[str, list[np.ndarray]] | None = None
        self.problems: list[str] = []
        self._asked: set[str] = set()
        self._looked = False
        self.ids: dict[str, int] = {}
        if given is None:
            self.description = "none given: every picture is taken as one person's box"
        elif isinstance(given, list | tuple):
            self.everywhere = _one_box(given)
            self.description = f"the same in every picture: {[float(f'{v:g}') for v in self.everywhere[0, :4]]}"
        else:
            self.of_name = self._read(str(given))
            self.description = f"of {given}, {sum(map(len, self.of_name.values()))} people"

    def of(self, name: str, image: np.ndarray) -> np.ndarray:
        """(P, 5) x, y, width, height in px, score of a picture's people; boxes that cannot be used are left out."""
        height, width = image.shape[:2]
        if self.of_name is None and self.everywhere is None:
            return np.array([[0.0, 0.0, width, height, 1.0]])
        rows = self.everywhere if self.everywhere is not None else self._rows(name)
        if self.of_name is not None and rows is not None and len(rows) and not self._looked:
            self._looked = True
            finite = [row for row in rows if np.isfinite(row).all() and (row[2:4] > 0).all()]
            check_box_format(np.array(finite)[:, :4] if finite else [], [(width, height)] * len(finite), "the boxes")
        good = []
        for row in rows:
            problem = box_problem(row, width, height)
            if problem:
                self.problems.append(f"{name}: {problem}")
            else:
                good.append(row)
        return np.array(good).reshape(-1, 5)

    def unused(self) -> list[str]:
        """Names in the file that no picture had."""
        return sorted(set(self.of_name or {}) - self._asked)

    def _rows(self, name: str) -> list[np.ndarray]:
        """By the whole name, the file's name alone, its stem, or the number that the stem is."""
        known, path = self.of_name or {}, Path(name)
        keys = [name, path.name, path.stem, path.stem.lstrip("0") or "0"]
        for key in keys:
            if key in known:
                self._asked.add(key)
                return known[key]
        return []

    def _read(self, path: str) -> dict[str, list[np.ndarray]]:
        content, names = read_json(path, "box file"), {}
        if isinstance(content, dict) and isinstance(content.get("annotations"), list):
            images = [row for row in content.get("images", []) if isinstance(row, dict)]
            names = {row["id"]: row["file_name"] for row in images if {"id", "file_name"} <= set(row)}
            self.ids = {name: key for key, name in names.items() if isinstance(key, int)}
            content = content["annotations"]
        if not isinstance(content, list) or not all(isinstance(row, Mapping) for row in content):
            raise UserError(
                f"the box file {path} must be COCO annotations, or a list of rows with bbox and file_name or image_id"
            )
        found: dict[str, list[np.ndarray]] = {}
        for n, row in enumerate(content):
            where = f"{path}, row {n}"
            key = _name(row, names, where)
            if "bbox" not in row:
                raise UserError(f"{where} has no bbox: give x, y, width, height in px")
            score = number(row, "score", where) if "score" in row else 1.0
            found.setdefault(key, []).append(np.array([*_box_of(row, where), score]))
        return found


def _name(row: Mapping, names: Mapping, where: str) -> str:
    if isinstance(row.get("file_name"), str):
        return row["file_name"]
    key = row.get("image_id")
    if key in names:
        return str(names[key])
    if isinstance(key, int | str) and not isinstance(key, bool):
        return str(key)
    raise UserError(f"{where} must name its picture by file_name or image_id")


def _box_of(row: Mapping, where: str) -> list[float]:
    """Four numbers; one that is not finite is told when its picture comes."""
    box = row["bbox"]
    if isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box):
        return [float(value) for value in box]
    return numbers(row, "bbox", 4, where).tolist()


def _one_box(given) -> np.ndarray:
    try:
        box = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        box = np.zeros(0)
    if box.shape != (4,):
        raise UserError(f"boxes must be [x, y, width, height] in px or the path of a JSON file, but is {list(given)}")
    return np.array([[*box, 1.0]])
