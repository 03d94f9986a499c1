"""YOLO-pose folders (ultralytics, Roboflow): data.yaml, images/ and labels/ with one text file a picture.

A label's row is class, box centre and size, then K times x, y(, visibility), all coordinates as shares of the
picture's width and height. Letters: K joints.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autopose.data.picture_files import shown_size
from autopose.data.schema import COCO
from autopose.errors import UserError

from .labels import HIDDEN, UNLABELLED, VISIBLE, LabelledPerson, Labels, Picture, Problems, ReadOptions, person_of
from .sources import PICTURE_SUFFIXES, name_in_set, pictures_below, read_text, read_yaml

_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
# How far a share may lie outside of [0, 1]: what writing it with three decimals may do.
_ROUNDING = 1e-3


def looks_like(source: Path) -> bool:
    """The data.yaml with kpt_shape, or the folder it lies in."""
    return _configuration(source) is not None


def read(source: Path, options: ReadOptions, problems: Problems) -> Labels:
    """Labels of all splits; a picture without a label file has nobody on it, as ultralytics takes it.

    Raises:
        UserError: no kpt_shape, or no picture in any split.
    """
    path = _configuration(source)
    if path is None:
        raise UserError(
            f"'{source}' is no YOLO-pose set: expected a data.yaml with 'kpt_shape', as in kpt_shape: [17, 3]"
        )
    config = read_yaml(path, "YOLO configuration")
    layout = _layout(config, path, options)
    pictures, seen = [], set()
    for split, folder in _splits(config, path, options):
        for picture in _pictures_of(folder):
            label = _label_file(picture)
            if label in seen:
                problems.add("pictures that share a label", f"'{picture}': its label '{label.name}' is another's.")
                continue
            seen.add(label)
            _add(picture, label, _SPLITS[split], path.parent, layout, pictures, problems)
    if not pictures:
        raise UserError(f"'{path}' names no folder with pictures that can be used: train and val are folders of them")
    return Labels(
        layout.category, layout.joints, tuple(pictures), layout.flip_pairs, layout.skeleton, True, layout.notes
    )


@dataclass(frozen=True)
class _Layout:
    joints: tuple[str, ...]
    values: int
    category: str
    flip_pairs: tuple[tuple[int, int], ...] | None
    skeleton: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]


def _configuration(source: Path) -> Path | None:
    candidates = sorted([*source.glob("*.yaml"), *source.glob("*.yml")]) if source.is_dir() else [source]
    for path in candidates:
        if path.suffix.lower() in (".yaml", ".yml") and "kpt_shape" in path.read_text("utf-8", errors="replace"):
            return path
    return None


def _layout(config: dict, path: Path, options: ReadOptions) -> _Layout:
    shape = config.get("kpt_shape")
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or type(shape[0]) is not int
        or shape[0] < 1
        or shape[1] not in (2, 3)
    ):
        raise UserError(f"'{path}': kpt_shape must be [joints, 2] or [joints, 3]")
    count, notes = shape[0], []
    names = config.get("names")
    classes = [str(n) for n in (names.values() if isinstance(names, dict) else names or [])]
    flip = config.get("flip_idx")
    if flip is not None and (not isinstance(flip, list) or sorted(map(str, flip)) != sorted(map(str, range(count)))):
        raise UserError(f"'{path}': flip_idx must be the numbers 0 to {count - 1} in the order of the mirrored picture")
    joints, skeleton = _joint_names(config, count, flip, options, path), ()
    if joints == COCO.joints:
        skeleton = COCO.skeleton
    elif joints[0] == "joint_0" and options.joints is None:
        notes.append(f"The {count} joints have no names in '{path.name}': they are called joint_0 and so on (joints=).")
    if len(classes) > 1:
        notes.append(f"{len(classes)} classes ({', '.join(classes[:5])}) share the joints and become one category.")
    pairs = (
        None if flip is None else tuple((k, other) for k, other in enumerate(flip) if k < other and flip[other] == k)
    )
    return _Layout(joints, shape[1], classes[0] if len(classes) == 1 else "object", pairs, skeleton, tuple(notes))


def _joint_names(config: dict, count: int, flip: list | None, options: ReadOptions, path: Path) -> tuple[str, ...]:
    if options.joints is not None:
        if len(options.joints) != count:
            raise UserError(f"joints= has {len(options.joints)} names, but '{path}' says {count} joints (kpt_shape)")
        return options.joints
    named = config.get("kpt_names")
    if isinstance(named, dict) and named:
        named = next(iter(named.values()))
    if isinstance(named, list) and len(named) == count and len({str(n) for n in named}) == count:
        return tuple(str(n) for n in named)
    if count == COCO.num_joints and flip == list(COCO.flip_order):
        return COCO.joints
    return tuple(f"joint_{k}" for k in range(count))


def _splits(config: dict, path: Path, options: ReadOptions) -> list[tuple[str, Path]]:
    base = path.parent / str(config.get("path") or "")
    found = []
    for split in _SPLITS:
        entries = config.get(split)
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str) or not entry:
                continue
            # Roboflow writes ../train/images for a folder that lies beside data.yaml.
            inside = entry.replace("\\", "/").lstrip("./")
            places = [base / entry, path.parent / entry, path.parent / inside]
            place = next((p for p in places if p.exists()), None)
            if place is None:
                raise UserError(f"'{path}': {split} is '{entry}', which is not there")
            if (split, place.resolve()) not in found:
                found.append((split, place.resolve()))
    return found


def _pictures_of(place: Path) -> list[Path]:
    if place.is_dir():
        return pictures_below(place)
    if place.suffix != ".txt":
        raise UserError(f"'{place}' is neither a folder of pictures nor a .txt list of them")
    lines = (line.strip() for line in read_text(place, "list of pictures").splitlines())
    found = [place.parent / line for line in lines if line]
    return [path for path in found if path.suffix.lower() in PICTURE_SUFFIXES]


def _label_file(picture: Path) -> Path:
    parts = list(picture.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[:-1][::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def _add(
    picture: Path,
    label: Path,
    split: str,
    root: Path,
    layout: _Layout,
    pictures: list[Picture],
    problems: Problems,
) -> None:
    if not picture.is_file():
        problems.add("pictures missing", f"The picture '{picture}' is not there.")
        return
    try:
        size = shown_size(picture)
        people = _people(label, size, layout) if label.is_file() else ()
    except UserError as error:
        problems.add("pictures or labels unusable", str(error))
        return
    pictures.append(Picture(picture, _name(picture, root), people, split))


def _name(picture: Path, root: Path) -> str:
    return "/".join(part for part in name_in_set(picture, root).split("/") if part != "images")


def _people(label: Path, size: tuple[int, int], layout: _Layout) -> tuple[LabelledPerson, ...]:
    count, values = len(layout.joints), layout.values
    people = []
    for number, line in enumerate(read_text(label, "label").splitlines(), start=1):
        where = f"'{label}', row {number}"
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 5 + count * values:
            joints = (len(cells) - 5) / values
            raise UserError(
                f"{where}: expected {count} joints ({5 + count * values} values), got {len(cells)} values"
                f"{f' ({joints:g} joints)' if joints > 0 and joints.is_integer() else ''}"
            )
        try:
            row = np.array(cells, dtype=np.float64)
        except ValueError:
            raise UserError(f"{where}: there is something that is no number") from None
        people.append(_person(row[1:5], row[5:].reshape(count, values), size, layout.joints, where))
    return tuple(people)


def _person(box: np.ndarray, points: np.ndarray, size: tuple[int, int], joints, where: str) -> LabelledPerson:
    if points.shape[1] == 3:
        states = points[:, 2]
        if not np.isin(states, (UNLABELLED, HIDDEN, VISIBLE)).all():
            raise UserError(f"{where}: visibility must be 0, 1 or 2, got {states.tolist()}")
    else:
        # Without a visibility the tools write (0, 0) or a negative number for a joint that is not there.
        absent = (points < 0).any(axis=1) | (points == 0).all(axis=1)
        states = np.where(absent, UNLABELLED, VISIBLE)
    shares = np.concatenate([points[states != UNLABELLED, :2].ravel(), box])
    if not ((shares >= -_ROUNDING) & (shares <= 1 + _ROUNDING)).all():
        worst = shares[np.argmax(np.abs(np.nan_to_num(shares, nan=np.inf) - 0.5))]
        raise UserError(f"{where}: coordinates must be shares of the picture from 0 to 1, but one is {worst:g}")
    width, height = size
    named = zip(joints, points[:, 0] * width, points[:, 1] * height, states, strict=True)
    corner = (box[0] - box[2] / 2) * width, (box[1] - box[3] / 2) * height
    found = {name: (float(x), float(y), int(v)) for name, x, y, v in named}
    return person_of(found, joints, (*corner, box[2] * width, box[3] * height))
