"""A plain table: ``file,nose_x,nose_y,nose_v,tail_x,tail_y,...``, one row a person.

Columns: the picture (file, filename, image or path), NAME_x and NAME_y of every joint in px, optionally NAME_v (0 not
labelled, 1 hidden, 2 visible), ``split`` (train, val, test), ``annotator`` (rows of one picture by different people are
repeated labels) and bbox_x, bbox_y, bbox_w, bbox_h. Empty cells are not labelled.
"""

from pathlib import Path

from autopose.errors import UserError

from .labels import (
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
    with_repeats,
)
from .sources import find_picture, name_in_set, read_table

_FILE = ("file", "filename", "file_name", "image", "path")
_BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def looks_like(source: Path) -> bool:
    """A .csv or .tsv whose header has a picture's column and joints."""
    if source.suffix.lower() not in (".csv", ".tsv"):
        return False
    header = [cell.strip() for cell in read_table(source, "table")[0]]
    return bool(_file_column(header)) and bool(_joints(header))


def read(source: Path, options: ReadOptions, problems: Problems) -> Labels:
    """Labels of every row.

    Raises:
        UserError: the header lacks the picture's column or joints, or has a column twice.
    """
    rows = read_table(source, "table")
    header = [cell.strip() for cell in rows[0]]
    column, names = _file_column(header), _joints(header)
    if column is None or not names:
        raise UserError(
            f"'{source}': expected a header like file,nose_x,nose_y,tail_x,tail_y (a picture's column and at least one "
            f"joint), got {','.join(header)[:100]!r}"
        )
    if len(set(header)) != len(header):
        raise UserError(f"'{source}' has a column twice")
    joints = chosen_joints(names, options.joints)
    folders = [options.pictures] if options.pictures else []
    folders += [source.parent, source.parent / "images"]
    people: dict[Path, dict[str, list[LabelledPerson]]] = {}
    splits: dict[Path, str | None] = {}
    for number, cells in enumerate(rows[1:], start=2):
        where = f"'{source}', row {number}"
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        path = find_picture(row.get(column, ""), folders)
        if path is None:
            problems.add("pictures missing", f"{where}: the picture '{row.get(column, '')[:80]}' is not there.")
            continue
        try:
            if len(cells) > len(header):
                raise UserError(f"{where}: {len(cells)} cells, but the header has {len(header)}")
            person, split = _person(row, joints, where), _split(row, where)
            if splits.setdefault(path, split) != split:
                raise UserError(f"{where}: '{path.name}' is in another split already")
        except UserError as error:
            problems.add("rows unreadable", str(error))
            continue
        own = people.setdefault(path, {}).setdefault(row.get("annotator", ""), [])
        if (person.visible != UNLABELLED).any():
            own.append(person)
    pictures = tuple(
        Picture(path, _name(path, source.parent), with_repeats([tuple(p) for p in labels.values()]), splits[path])
        for path, labels in people.items()
    )
    return Labels("object", joints, pictures)


def _file_column(header: list[str]) -> str | None:
    return next((cell for cell in header if cell.lower() in _FILE), None)


def _joints(header: list[str]) -> list[str]:
    known = set(header)
    return [
        cell[:-2]
        for cell in header
        if cell.endswith("_x") and cell[:-2] + "_y" in known and cell not in _BOX and cell[:-2]
    ]


def _name(path: Path, root: Path) -> str:
    return name_in_set(path, root).removeprefix("images/")


def _split(row: dict[str, str], where: str) -> str | None:
    text = row.get("split", "")
    if text and text.lower() not in _SPLITS:
        raise UserError(f"{where}: split must be train, val or test, got {text[:30]!r}")
    return _SPLITS.get(text.lower())


def _person(row: dict[str, str], joints: tuple[str, ...], where: str) -> LabelledPerson:
    points = {}
    for joint in joints:
        x, y, state = (row.get(f"{joint}_{axis}", "") for axis in "xyv")
        if bool(x) != bool(y):
            raise UserError(f"{where}: {joint} has an x or a y alone")
        if state not in ("", "0", "1", "2", "0.0", "1.0", "2.0"):
            raise UserError(f"{where}: {joint}_v must be 0, 1 or 2, got {state[:30]!r}")
        if x:
            points[joint] = (pixels(x, where), pixels(y, where), int(float(state)) if state else VISIBLE)
    box = [row.get(name, "") for name in _BOX]
    return person_of(points, joints, [pixels(cell, where) for cell in box] if all(box) else None)
