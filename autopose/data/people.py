"""Annotations of people in a COCO-style file: checked, and completed where a set leaves out what can be derived.

Letters: K joints.
"""

from pathlib import Path

import numpy as np

from autopose.data.boxes import check_box_format
from autopose.data.checks import integer, number, numbers
from autopose.data.schema import KeypointSchema
from autopose.errors import UserError

# Share of a box that a person's segment covers, where a set has no segments (the field's convention for such sets).
AREA_OF_BOX = 0.53


def read_people(
    rows: list[dict],
    category_ids: tuple[int, ...],
    schema: KeypointSchema,
    images: dict,
    path: str | Path,
    remarks: dict[str, str],
) -> list[dict]:
    """Annotations of the pose categories, with the fields pycocotools needs and the first category's id.

    An area that is missing or 0 is taken from the box; a person without keypoints has none labelled; segmentations are
    dropped. ``remarks`` tells how many.

    Raises:
        UserError: an entry that cannot be used, or none of the categories.
    """
    kept: list[dict] = []
    seen: set[int] = set()
    filled = unlabelled = 0
    for row in rows:
        key = integer(row, "id", f"'{path}', an entry of 'annotations'")
        where = f"'{path}', annotation {key}"
        if integer(row, "category_id", where) not in category_ids:
            continue
        if key in seen:
            raise UserError(f"{where}: two annotations have this id")
        seen.add(key)
        image_id = integer(row, "image_id", where)
        if image_id not in images:
            raise UserError(f"{where}: image_id {image_id} is not among the file's images")
        keypoints, labelled = _keypoints(row, schema.num_joints, where)
        bbox = _box(row, labelled, where)
        area = 0.0 if row.get("area") is None else number(row, "area", where)
        if area == 0 and bbox[2] > 0 and bbox[3] > 0:
            area = AREA_OF_BOX * bbox[2] * bbox[3]
            filled += 1
        crowd = _flag(row, "iscrowd", where)
        unlabelled += not labelled and not crowd
        kept.append(
            {
                "id": key,
                "image_id": image_id,
                "category_id": category_ids[0],
                "iscrowd": crowd,
                "area": area,
                "bbox": bbox,
                "keypoints": keypoints,
                "num_keypoints": labelled,
            }
        )
    if rows and not kept:
        _refuse_other_categories(rows, category_ids, path)
    _check_units(kept, images, path)
    if filled:
        remarks["areas"] = f"{AREA_OF_BOX} of the box for {filled} of {len(kept)} people, whose area is missing or 0"
    if unlabelled:
        remarks["unlabelled"] = f"{unlabelled} of {len(kept)} people have no labelled joint and are left out"
    return kept


def _refuse_other_categories(rows: list[dict], category_ids: tuple[int, ...], path) -> None:
    found = ", ".join(map(str, sorted({row["category_id"] for row in rows})[:6]))
    wanted = " or ".join(map(str, category_ids[:6]))
    raise UserError(f"'{path}': none of {len(rows)} annotations is of category {wanted} (found: {found})")


def _keypoints(row: dict, num_joints: int, where: str) -> tuple[list, int]:
    if not row.get("keypoints") and row.get("keypoints") in (None, []):
        return [0] * (3 * num_joints), 0
    visible = numbers(row, "keypoints", 3 * num_joints, where)[2::3]
    if not np.isin(visible, (0, 1, 2)).all():
        raise UserError(f"{where}: visibility must be 0, 1 or 2, got {visible.tolist()!r:.80}")
    return row["keypoints"], int(np.count_nonzero(visible))


def _box(row: dict, labelled: int, where: str) -> list:
    if not labelled and row.get("bbox") in (None, []):
        return [0, 0, 0, 0]
    numbers(row, "bbox", 4, where)
    return row["bbox"]


def _flag(row: dict, key: str, where: str) -> int:
    value = row.get(key, 0)
    if value not in (0, 1) or not isinstance(value, int):
        raise UserError(f"{where}: '{key}' must be 0 or 1, got {value!r:.50}")
    return int(value)


def _check_units(kept: list[dict], images: dict, path) -> None:
    """Refuse boxes and joints that are no px, see ``check_box_format``."""
    people = [row for row in kept if not row["iscrowd"] and row["num_keypoints"]]
    sizes = np.array([(images[row["image_id"]].width, images[row["image_id"]].height) for row in people])
    check_box_format(np.array([row["bbox"] for row in people]), sizes, f"the annotated boxes of '{path}'")
    points = np.array([row["keypoints"] for row in people], dtype=np.float64).reshape(-1, 3)
    labelled = points[points[:, 2] > 0, :2]
    if len(labelled) and labelled.max() <= 1 and labelled.min() >= 0 and labelled.max() > 0 and sizes.min() > 2:
        raise UserError(
            f"the joints of '{path}' look normalised, no coordinate is above 1: give px, which is these times the "
            "picture's width and height"
        )
