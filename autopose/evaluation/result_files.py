"""Reading results of pose networks: COCO keypoint result JSON, and MPII's pred.mat as HRNet writes it.

Letters: N people, D results, K joints.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from autopose.data.checks import integer, number, numbers, read_json
from autopose.data.mat import read_mat
from autopose.data.records import Person
from autopose.errors import UserError


def read_results(results: str | Path | Sequence[dict]) -> tuple[list[dict], str]:
    """Results from a JSON file, or a list as it is; with the name that messages give them.

    Raises:
        UserError: the file is missing or does not hold a list of objects.
    """
    name = f"'{results}'" if isinstance(results, str | Path) else "the results"
    rows = read_json(results, "result file") if isinstance(results, str | Path) else list(results)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{name} are no COCO keypoint results: expected a list of objects with image_id and keypoints")
    return rows, name


def of_categories(
    rows: Sequence[dict], name: str, category_ids: Sequence[int], required: bool = True
) -> tuple[list[dict], dict[str, str]]:
    """Results of the categories that are scored, and a fact for the protocol where there are others.

    Args:
        rows: COCO keypoint results.
        name: of their source, for the message.
        category_ids: that count; none: all do.
        required: whether each row must have a category.

    Raises:
        UserError: a row without a category, or only other categories.
    """
    if not category_ids:
        return list(rows), {}
    kept = []
    for position, row in enumerate(rows):
        given = required or "category_id" in row
        if not given or integer(row, "category_id", f"{name}, entry {position}") in category_ids:
            kept.append(row)
    if rows and not kept:
        ids = " or ".join(map(str, category_ids[:6]))
        raise UserError(f"{name}: no entry is of category {ids}, the annotation's keypoint category")
    others = len(rows) - len(kept)
    return kept, {"other results": f"{others} of other categories, not counted"} if others else {}


def check_results(rows: Sequence[dict], name: str, num_joints: int, image_ids: Collection[int]) -> None:
    """Refuse results that would be scored wrongly or not at all. An empty list is a legal result: nothing was found.

    Args:
        rows: COCO keypoint results.
        name: of their source, for the message.
        num_joints: K of the dataset.
        image_ids: the dataset's images.

    Raises:
        UserError: an unknown image, a wrong number of keypoints, or a value that is missing or no finite number.
    """
    known = set(image_ids)
    for position, row in enumerate(rows):
        where = f"{name}, entry {position}"
        image_id = integer(row, "image_id", where)
        if image_id not in known:
            raise UserError(f"{where}: image_id {image_id} is not in the annotation: is this the right split?")
        numbers(row, "keypoints", 3 * num_joints, where)
        number(row, "score", where, least=-1e7)


def poses_of_people(rows: Sequence[dict], name: str, persons: Sequence[Person], num_joints: int) -> np.ndarray:
    """The predicted pose of each annotated person, for PCK and PCKh, which score people and not detections.

    A result belongs to the person that its ``annotation_id`` names. Without that key the images must show one person
    each, and the result of the highest score counts.

    Args:
        rows: checked results.
        name: of their source, for the message.
        persons: N annotated people.
        num_joints: K.

    Returns:
        (N, K, 2) px, NaN for a person without a result, whose joints then count as missed.

    Raises:
        UserError: a result names no person or one that another result has, or cannot be given to a person.
    """
    poses = np.full((len(persons), num_joints, 2), np.nan)
    best = np.full(len(persons), -np.inf)
    place = {person.annotation_id: n for n, person in enumerate(persons)}
    in_image: dict[int, list[int]] = {}
    for n, person in enumerate(persons):
        in_image.setdefault(person.image_id, []).append(n)
    for position, row in enumerate(rows):
        where = f"{name}, entry {position}"
        if "annotation_id" in row:
            n = place.get(integer(row, "annotation_id", where))
            if n is None or np.isfinite(best[n]):
                problem = "is not annotated" if n is None else "has two results"
                raise UserError(f"{where}: person {row['annotation_id']} {problem}; PCK needs one result a person")
        else:
            people = in_image.get(row["image_id"], [])
            if len(people) != 1:
                raise UserError(
                    f"{where}: image {row['image_id']} has {len(people)} annotated people, so PCK needs the result's "
                    "annotation_id to tell whose it is"
                )
            n = people[0]
        if row["score"] > best[n]:
            best[n] = row["score"]
            poses[n] = np.reshape(row["keypoints"], (num_joints, 3))[:, :2]
    return poses


def read_mpii_predictions(path: str | Path, num_people: int, num_joints: int) -> np.ndarray:
    """Poses from pred.mat as HRNet writes it: ``preds`` (N, K, 2), 1-based, in the order of the annotation file.

    Returns:
        (N, K, 2) 0-based px.

    Raises:
        UserError: the file is missing, unreadable, or of other shape.
    """
    poses = read_mat(path, "preds", "prediction file")
    shape = (num_people, num_joints)
    if not isinstance(poses, np.ndarray) or poses.ndim != 3 or poses.shape[:2] != shape or poses.shape[2] not in (2, 3):
        came = f"shape {poses.shape}" if isinstance(poses, np.ndarray) else "no such numbers"
        raise UserError(f"'{path}': expected preds of shape ({num_people}, {num_joints}, 2), found {came}")
    return poses[..., :2] - 1.0
