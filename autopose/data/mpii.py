"""MPII in HRNet's JSON form: annot/{train,valid}.json with joints, joints_vis, center, scale, image.

Letters: K = 16 joints, N persons.
"""

from pathlib import Path

import numpy as np

from autopose.data.affine import PIXEL_STD, mpii_center_scale
from autopose.data.checks import inside, number, numbers, read_json, text
from autopose.data.mat import read_mat
from autopose.data.records import DataSource, ImageFile, Person, PoseAnnotations
from autopose.data.schema import MPII
from autopose.errors import UserError

UPPER_NECK, HEAD_TOP = 8, 9
# PCKh divides by 0.6 of the head box's diagonal (MPII's own evaluation).
HEAD_BOX_SHARE = 0.6
# MPII's published neck and head-top joints were computed from the head box: they lie 0.8 of its diagonal apart.
NECK_TO_TOP_SHARE = 0.8


def load_mpii(source: DataSource, aspect: float = 1.0, *, need_images: bool = True) -> PoseAnnotations:
    """One split of MPII: 1-based to 0-based px, center lowered by 15 * scale px, scale enlarged by 1.25 (HRNet).

    Args:
        source: split is train or valid; head sizes come from `head_file` where it exists, else from the joints.
        aspect: width / height of the input; other than 1, the crop grows so that HRNet's square stays inside.
        need_images: False for scoring a result file.

    Raises:
        UserError: something is missing or is not HRNet's MPII JSON.
    """
    source.check_root()
    path = source.path(source.annotation_file or f"annot/{source.split}.json")
    rows = read_json(path, "annotation file")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"'{path}' is not MPII JSON: expected a non-empty list of objects with image, center, joints")
    folder = source.find_image_folder(need_images)
    heads, head_source = _head_sizes(source, len(rows))
    ids: dict[str, int] = {}
    persons = []
    for n, row in enumerate(rows):
        where = f"'{path}', person {n}"
        name = text(row, "image", where)
        image_id = ids.setdefault(name, len(ids))
        head = None if heads is None else float(heads[n])
        persons.append(_person(row, n, where, inside(folder, name, where), image_id, aspect, head))
    images = {key: ImageFile(str(folder / name)) for name, key in ids.items()}
    return PoseAnnotations(MPII, tuple(persons), images, None, "pckh", "ground truth", head_source)


def _person(row: dict, n: int, where: str, image: str, image_id: int, aspect: float, head: float | None) -> Person:
    raw_center, raw_scale = numbers(row, "center", 2, where), number(row, "scale", where)
    if raw_scale <= 0:
        raise UserError(f"{where}: expected a positive scale, got {raw_scale:g}")
    center, scale = mpii_center_scale(raw_center, raw_scale)
    joints, visible = _joints(row, where)
    side = PIXEL_STD * raw_scale
    return Person(
        image=image,
        image_id=image_id,
        annotation_id=n,
        center=center,
        scale=scale * (max(1.0, aspect), max(1.0, 1.0 / aspect)),
        joints=joints - 1,
        visible=visible,
        bbox=np.array([*(raw_center - 1 - side / 2), side, side]),
        area=0.53 * side * side,
        head_size=_head_from_joints(joints, visible) if head is None else head,
    )


def _joints(row: dict, where: str) -> tuple[np.ndarray, np.ndarray]:
    count = MPII.num_joints
    points = row.get("joints")
    if not isinstance(points, list) or len(points) != count:
        raise UserError(f"{where}: expected 'joints' as a list of {count} points, got {points!r:.50}")
    joints = np.stack([numbers({"joints": point}, "joints", 2, where) for point in points])
    visible = numbers(row, "joints_vis", count, where)
    if not np.isin(visible, (0, 1)).all():
        raise UserError(f"{where}: 'joints_vis' must be 0 or 1, got {visible.tolist()}")
    return joints, visible.astype(np.uint8)


def _head_from_joints(joints: np.ndarray, visible: np.ndarray) -> float | None:
    if not (visible[UPPER_NECK] and visible[HEAD_TOP]):
        return None
    distance = float(np.linalg.norm(joints[HEAD_TOP] - joints[UPPER_NECK]))
    return HEAD_BOX_SHARE / NECK_TO_TOP_SHARE * distance or None


def _head_sizes(source: DataSource, count: int) -> tuple[np.ndarray | None, str]:
    path = source.path(source.head_file or f"annot/gt_{source.split}.mat")
    if not source.head_file and not path.is_file():
        return None, "neck and head-top joints"
    return read_head_sizes(path, count), Path(path).name


def read_head_sizes(path: str | Path, count: int) -> np.ndarray:
    """Head sizes (N,) in px, 0.6 of the head box's diagonal, from MPII's gt_valid.mat (`headboxes_src`, (2, 2, N)).

    Raises:
        UserError: the file is missing, unreadable or not of `count` persons.
    """
    boxes = read_mat(path, "headboxes_src", "head boxes' file")
    if not isinstance(boxes, np.ndarray):
        raise UserError(f"'{path}': expected headboxes_src of shape (2, 2, {count}), found no such numbers")
    if boxes.shape != (2, 2, count) or not np.isfinite(boxes).all():
        raise UserError(f"'{path}': expected finite headboxes_src of shape (2, 2, {count}), found shape {boxes.shape}")
    return HEAD_BOX_SHARE * np.linalg.norm(boxes[1] - boxes[0], axis=0)
