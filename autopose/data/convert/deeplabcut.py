"""DeepLabCut projects (config.yaml, labeled-data/VIDEO/CollectedData_SCORER.csv) and Lightning Pose's single table.

A table's header has the rows scorer, individuals (multi-animal projects only), bodyparts and coords; a row begins with
the picture's path in one cell or in three. Coordinates are px of the stored frame; an empty cell is not labelled.
Letters: K joints.
"""

from dataclasses import dataclass
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
from .sources import find_picture, name_in_set, read_table, read_yaml

_HEADER = ("scorer", "individuals", "bodyparts", "coords")
# The individual of a multi-animal project under which joints stand that are no animal's.
_NO_ANIMAL = "single"


def looks_like(source: Path) -> bool:
    """A project's folder, its config.yaml, a folder with one table, or the table itself."""
    if source.is_dir():
        return bool(_tables(source)) or _is_project(source / "config.yaml")
    if source.suffix.lower() == ".csv":
        return source.open("rb").read(16).lstrip(b"\xef\xbb\xbf").startswith(b"scorer")
    return source.name == "config.yaml" and _is_project(source)


def read(source: Path, options: ReadOptions, problems: Problems) -> Labels:
    """Labels of all tables; a second scorer's table of the same video counts as repeated labels.

    Raises:
        UserError: no table, a table that is none of DeepLabCut's, or no joint in common.
    """
    root = source if source.is_dir() else source.parent
    paths = [source] if source.suffix.lower() == ".csv" else _tables(root)
    if not paths:
        raise UserError(
            f"'{source}' is a DeepLabCut project without labels: expected labeled-data/VIDEO/CollectedData_SCORER.csv"
        )
    config = read_yaml(root / "config.yaml", "DeepLabCut configuration") if (root / "config.yaml").is_file() else {}
    scorer = str(config.get("scorer", ""))
    paths.sort(key=lambda path: (not path.stem.endswith(f"_{scorer}"), path))
    tables = [_read(path) for path in paths]
    names = list(dict.fromkeys(joint for table in tables for _, joint in table.columns))
    joints = chosen_joints(names, options.joints)
    by_picture: dict[Path, list[tuple[LabelledPerson, ...]]] = {}
    for table in tables:
        _add(table, joints, root, options, by_picture, problems)
    pictures = tuple(
        Picture(path, _name(path, root), with_repeats(labels), group=path.parent.name)
        for path, labels in by_picture.items()
    )
    return Labels(
        category=str(config.get("Task") or "animal"),
        joints=joints,
        pictures=pictures,
        skeleton=_skeleton(config, joints),
        turned=False,
        notes=_notes(tables),
    )


@dataclass(frozen=True)
class _Table:
    """``columns``: (individual, joint) to the position of its x; ``rows``: picture's path and the cells."""

    path: Path
    columns: dict[tuple[str, str], int]
    rows: list[tuple[str, list[str]]]
    dropped: int


def _is_project(config: Path) -> bool:
    if not config.is_file():
        return False
    text = config.read_text(encoding="utf-8", errors="replace")
    return "bodyparts:" in text and "scorer:" in text


def _tables(root: Path) -> list[Path]:
    found = sorted(root.glob("labeled-data/*/CollectedData*.csv")) or sorted(root.glob("CollectedData*.csv"))
    return [path for path in found if not path.parent.name.endswith("_labeled")]


def _read(path: Path) -> _Table:
    rows = read_table(path, "DeepLabCut table")
    header = {row[0].strip(): row for row in rows[:4] if row[0].strip() in _HEADER}
    if not {"scorer", "bodyparts", "coords"} <= set(header):
        raise UserError(
            f"'{path}' is no DeepLabCut table: its first rows must be scorer, bodyparts and coords, but are "
            f"{', '.join(repr(row[0][:20]) for row in rows[:3])}"
        )
    coords = [cell.strip() for cell in header["coords"]]
    if "likelihood" in coords:
        raise UserError(f"'{path}' is a table of DeepLabCut's predictions (it has likelihoods): labels are wanted")
    index = next((n for n, cell in enumerate(coords) if cell == "x"), len(coords))
    bodyparts, individuals = header["bodyparts"], header.get("individuals")
    if individuals and len(individuals) < len(coords):
        raise UserError(f"'{path}': the row individuals has {len(individuals)} cells, the row coords {len(coords)}")
    columns: dict[tuple[str, str], int] = {}
    dropped = 0
    for n in range(index, len(coords) - 1, 2):
        if coords[n : n + 2] != ["x", "y"] or len(bodyparts) <= n:
            raise UserError(f"'{path}': column {n + 1} must be the x and column {n + 2} the y of one joint")
        animal = individuals[n].strip() if individuals else ""
        if individuals and animal == _NO_ANIMAL:
            dropped += 1
        elif columns.setdefault((animal, bodyparts[n].strip()), n) != n:
            raise UserError(f"'{path}' has the joint {bodyparts[n].strip()!r} twice")
    if not columns:
        raise UserError(f"'{path}' has no joint: expected columns x and y under every body part")
    data = rows[len(header) :]
    return _Table(path, columns, [("/".join(filter(None, map(str.strip, r[:index]))), r) for r in data], dropped)


def _add(
    table: _Table,
    joints: tuple[str, ...],
    root: Path,
    options: ReadOptions,
    by_picture: dict[Path, list[tuple[LabelledPerson, ...]]],
    problems: Problems,
) -> None:
    folders = [root, table.path.parent, table.path.parent.parent.parent]
    folders = [options.pictures, *folders] if options.pictures else folders
    seen: set[Path] = set()
    for number, (name, row) in enumerate(table.rows, start=1):
        where = f"'{table.path}', row {number}"
        path = find_picture(name, folders)
        if path is None:
            problems.add("pictures missing", f"{where}: the picture '{name}' is not there.")
        elif path in seen:
            problems.add("rows twice in a table", f"{where}: '{name}' has a row already, which is kept.")
        else:
            seen.add(path)
            try:
                people = _people(table, row, joints, where)
            except UserError as error:
                problems.add("rows unreadable", str(error))
            else:
                by_picture.setdefault(path, []).append(people)


def _people(table: _Table, row: list[str], joints: tuple[str, ...], where: str) -> tuple[LabelledPerson, ...]:
    points: dict[str, dict[str, tuple[float, float, int]]] = {}
    for (animal, joint), n in table.columns.items():
        cells = [cell.strip() for cell in [*row, "", ""][n : n + 2]]
        if len(row) < n + 2 and any(cells):
            raise UserError(f"{where}: the row is cut off at {joint}")
        empty = [cell in ("", "nan", "NaN", "NA") for cell in cells]
        if any(empty) != all(empty):
            raise UserError(f"{where}: {joint} has an x or a y alone")
        if not all(empty):
            x, y = (pixels(cell, f"{where}, {joint}") for cell in cells)
            points.setdefault(animal, {})[joint] = (x, y, VISIBLE)
    people = (person_of(found, joints) for found in points.values())
    return tuple(person for person in people if (person.visible != UNLABELLED).any())


def _name(path: Path, root: Path) -> str:
    return name_in_set(path, root).removeprefix("labeled-data/")


def _skeleton(config: dict, joints: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    bones = config.get("skeleton")
    pairs = [b for b in bones if isinstance(b, list) and len(b) == 2] if isinstance(bones, list) else []
    return tuple((joints.index(a), joints.index(b)) for a, b in pairs if a in joints and b in joints and a != b)


def _notes(tables: list[_Table]) -> tuple[str, ...]:
    notes = []
    dropped = max(table.dropped for table in tables)
    if dropped:
        notes.append(f"{dropped} joints that belong to no animal (individual '{_NO_ANIMAL}') are not converted.")
    return tuple(notes)
