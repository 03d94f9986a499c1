"""MPII's official mpii_human_pose_v1_u12_1.mat: the training pictures' people with 16 joints.

The file counts pixels from 1, this project and COCO from 0 (as HRNet subtracts 1). A joint whose ``is_visible`` is 0
is hidden; upper neck and head top have no ``is_visible`` and count as visible. Source: Andriluka et al., CVPR 2014.
"""

from pathlib import Path

import numpy as np

from autopose.data.affine import PIXEL_STD
from autopose.data.mat import read_mat
from autopose.data.schema import MPII
from autopose.errors import UserError

from .labels import HIDDEN, VISIBLE, LabelledPerson, Labels, Picture, Problems, ReadOptions, person_of, pixels
from .sources import find_picture

FILE_NAME = "mpii_human_pose_v1_u12_1.mat"


def looks_like(source: Path) -> bool:
    """The .mat file, or a folder with MPII's file in it."""
    return source.suffix.lower() == ".mat" or (source.is_dir() and (source / FILE_NAME).is_file())


def read(source: Path, options: ReadOptions, problems: Problems) -> Labels:
    """People with joints of the pictures whose ``img_train`` is 1; MPII keeps the others' labels to itself.

    Raises:
        UserError: unreadable, or not of MPII's structure.
    """
    path = source / FILE_NAME if source.is_dir() else source
    release = read_release(path)
    images, training = _list(_field(release, "annolist")), np.atleast_1d(_field(release, "img_train"))
    if not images or len(images) != len(training) or not np.isin(training, (0, 1)).all():
        raise UserError(f"'{path}': expected RELEASE.annolist and as many RELEASE.img_train, each 0 or 1")
    folders = [options.pictures] if options.pictures else []
    folders += [path.parent / "images", path.parent]
    pictures, without_joints = [], 0
    for number, (image, train) in enumerate(zip(images, training, strict=True), start=1):
        if int(train) != 1:
            continue
        name = str(_field(_field(image, "image"), "name"))
        where = f"'{path}', picture {number} ('{name[:60]}')"
        file = find_picture(name, folders)
        if file is None:
            problems.add("pictures missing", f"{where}: the picture is not there (pictures=FOLDER).")
            continue
        people = []
        try:
            for rectangle in _list(_field(image, "annorect")):
                person = _person(rectangle, where)
                people += [person] if person else []
                without_joints += person is None
        except UserError as error:
            problems.add("pictures unreadable", str(error))
            continue
        if people:
            pictures.append(Picture(file, file.name, tuple(people)))
    notes = [f"{int((training != 1).sum())} test pictures have no labels in this file and are not converted."]
    if without_joints:
        notes.append(f"{without_joints} people have no joints and are not converted.")
    skeleton = tuple(MPII.skeleton)
    return Labels("person", MPII.joints, tuple(pictures), MPII.flip_pairs, skeleton, turned=False, notes=tuple(notes))


def read_release(path: Path) -> object:
    """The struct RELEASE of MPII's file, fields as attributes."""
    release = read_mat(path, "RELEASE", "MATLAB file")
    if release is None:
        raise UserError(f"'{path}' has no RELEASE: it is another MATLAB file than MPII's {FILE_NAME}")
    return release


def _field(struct: object, name: str) -> object:
    """A field without axes of length 1, a lone number as such; an empty array where there is none."""
    value = getattr(struct, name, np.empty(0))
    if not isinstance(value, np.ndarray):
        return value
    return value.item() if value.size == 1 else value.squeeze()


def _list(value: object) -> list:
    """Structs as a list: one stands alone, and none is an empty array."""
    if isinstance(value, list):
        return value
    return list(value.ravel()) if isinstance(value, np.ndarray) else [value]


def _person(rectangle: object, where: str) -> LabelledPerson | None:
    rows = [p for p in _list(_field(_field(rectangle, "annopoints"), "point")) if hasattr(p, "id")]
    if not rows:
        return None
    points = {}
    for row in rows:
        joint = int(pixels(_field(row, "id"), where))
        if not 0 <= joint < MPII.num_joints:
            raise UserError(f"{where}: joint {joint} is none of MPII's {MPII.num_joints}")
        x, y = (pixels(_field(row, axis), where) - 1 for axis in "xy")
        hidden = str(_field(row, "is_visible")) in ("0", "0.0")
        points[MPII.joints[joint]] = (x, y, HIDDEN if hidden else VISIBLE)
    return person_of(points, MPII.joints, _box(rectangle, where))


def _box(rectangle: object, where: str) -> tuple[float, float, float, float] | None:
    """The square of 200 px times the scale around the person's middle, or None where the file has no scale."""
    middle, scale = _field(rectangle, "objpos"), _field(rectangle, "scale")
    if not hasattr(middle, "x") or np.size(scale) != 1:
        return None
    side = PIXEL_STD * pixels(scale, where)
    x, y = (pixels(_field(middle, axis), where) for axis in "xy")
    return x - 1 - side / 2, y - 1 - side / 2, side, side
