"""Boxes of a person detector in COCO's result format, in place of the annotated ones."""

import numpy as np

from autopose.data.boxes import check_box_format
from autopose.data.checks import integer, number, numbers, read_json
from autopose.data.crops import crops
from autopose.data.records import DataSource, Person
from autopose.data.schema import KeypointSchema
from autopose.errors import UserError


def detected_persons(
    source: DataSource,
    category_ids: tuple[int, ...],
    schema: KeypointSchema,
    images: dict,
    aspect: float,
    remarks: dict[str, str],
) -> tuple[Person, ...]:
    """Persons without joints, one for each box of the pose categories with at least the configured score.

    Raises:
        UserError: no COCO detection file, boxes in another format, or none that counts.
    """
    path = source.path(source.detection_file)
    rows = read_json(path, "detection file")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"'{path}' is no COCO detection file: expected a list of objects with image_id, bbox, score")
    if not rows:
        raise UserError(f"the detection file '{path}' is empty")
    wanted, boxes, others = [], [], 0
    for n, row in enumerate(rows):
        where = f"'{path}', detection {n}"
        score = number(row, "score", where, least=-1e7)
        if integer(row, "category_id", where) not in category_ids:
            others += 1
            continue
        if score < source.score_threshold:
            continue
        image_id = integer(row, "image_id", where)
        if image_id not in images:
            raise UserError(f"{where}: image_id {image_id} is not in the annotation of split '{source.split}'")
        boxes.append(numbers(row, "bbox", 4, where))
        wanted.append((n, image_id, score))
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    sizes = [(images[image_id].width, images[image_id].height) for _, image_id, _ in wanted]
    check_box_format(boxes, np.array(sizes).reshape(-1, 2), f"the boxes of '{path}'")
    if others:
        remarks["detections"] = f"{others} of {len(rows)} are of other categories and not counted"
    no_joints = np.zeros((schema.num_joints, 2)), np.zeros(schema.num_joints, dtype=np.uint8)

    def person(n: int, center: np.ndarray, scale: np.ndarray) -> Person:
        position, image_id, score = wanted[n]
        area = float(boxes[n, 2] * boxes[n, 3])
        return Person(images[image_id].path, image_id, position, center, scale, *no_joints, boxes[n], area, score)

    persons = crops(boxes, np.ones(len(boxes), dtype=bool), aspect, person)
    if not persons:
        ids = " or ".join(map(str, category_ids[:6]))
        raise UserError(
            f"the detection file '{path}' has no box of category {ids} with a score of at least "
            f"{source.score_threshold:g} ({others} of {len(rows)} are of other categories)"
        )
    return persons
