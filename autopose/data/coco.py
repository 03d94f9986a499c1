"""COCO keypoint annotations and detections, of COCO itself and of any set written the same way.

The filters are HRNet's (arXiv:1902.09212, its COCO dataset code's behaviour): crowds and persons without a labelled
joint are left out, ground-truth boxes are clipped to the image, detection boxes are not.
Letters: K joints.
"""

from collections.abc import Callable

import numpy as np

from autopose.data.affine import box_to_center_scale
from autopose.data.checks import integer, number, numbers, read_json, records, text
from autopose.data.records import DataSource, ImageFile, Person, PoseAnnotations
from autopose.data.schema import COCO, KeypointSchema, schema_from_category
from autopose.errors import UserError

# A box below this many px in both directions holds no person and cannot be magnified to a crop.
_SMALLEST_BOX = 1e-3


def load_coco(source: DataSource, aspect: float = 0.75, *, need_images: bool = True) -> PoseAnnotations:
    """One split of a COCO-style keypoint dataset.

    Args:
        source: where it lies; with a detection file the persons are its boxes and carry no joints.
        aspect: width / height of the network's input; boxes are widened or heightened to it.
        need_images: False for scoring a result file, which needs no image folder.

    Raises:
        UserError: something is missing, is not COCO keypoint JSON, or does not fit the configured joints.
    """
    source.check_root()
    path = source.path(source.annotation_file or f"annotations/person_keypoints_{source.split}.json")
    document = read_json(path, "annotation file")
    category = _pose_category(records(document, "categories", path), source, path)
    schema = _schema(category, source)
    images = _images(records(document, "images", path), source, path, need_images)
    category_id = integer(category, "id", f"'{path}', category '{schema.name}'")
    annotations = _annotations(records(document, "annotations", path), category_id, schema, images, path)
    if source.detection_file:
        persons = _detected_persons(source, category_id, schema, images, aspect)
        box_source = f"detections {source.path(source.detection_file).name}"
    else:
        persons = _annotated_persons(annotations, schema, images, aspect)
        box_source = "ground truth"
        if not persons:
            raise UserError(f"'{path}' has no person with a labelled joint: the split '{source.split}' is empty.")
    coco_gt = {
        "images": [{"id": key, "width": i.width, "height": i.height, "file_name": i.path} for key, i in images.items()],
        "annotations": annotations,
        "categories": [{"id": category_id, "name": schema.name, "keypoints": list(schema.joints)}],
    }
    return PoseAnnotations(schema, persons, images, coco_gt, source.metric, box_source)


def _pose_category(categories: list[dict], source: DataSource, path) -> dict:
    posed = [c for c in categories if c.get("keypoints")] or (categories if source.joints else [])
    if len(posed) > 1:
        posed = [c for c in posed if c.get("name") == "person"]
    if len(posed) != 1:
        raise UserError(
            f"'{path}' must have one category with joint names ('keypoints'), or one called 'person', but has "
            f"{len(posed)} of {len(categories)}: is it a keypoint annotation?"
        )
    return posed[0]


def _schema(category: dict, source: DataSource) -> KeypointSchema:
    overridden = source.flip_pairs is not None or source.sigmas is not None or source.skeleton is not None
    if category.get("keypoints") == list(COCO.joints) and source.joints in (None, COCO.joints) and not overridden:
        return COCO
    return schema_from_category(
        category,
        joints=source.joints,
        sigmas=source.sigmas,
        flip_pairs=source.flip_pairs,
        skeleton=source.skeleton,
    )


def _images(rows: list[dict], source: DataSource, path, need_images: bool) -> dict[int, ImageFile]:
    if not rows:
        raise UserError(f"'{path}' lists no images: the split '{source.split}' is empty.")
    folder = source.find_image_folder(need_images)
    images: dict[int, ImageFile] = {}
    for row in rows:
        key = integer(row, "id", f"'{path}', an entry of 'images'")
        where = f"'{path}', image {key}"
        image = ImageFile(
            str(folder / text(row, "file_name", where)),
            int(number(row, "width", where, least=1)),
            int(number(row, "height", where, least=1)),
        )
        if images.setdefault(key, image) != image:
            raise UserError(f"{where}: two different images have this id.")
    return images


def _annotations(rows: list[dict], category_id: int, schema: KeypointSchema, images: dict, path) -> list[dict]:
    """Checked annotations of the pose category with the fields pycocotools needs, segmentations dropped."""
    kept, seen = [], set()
    for row in rows:
        key = integer(row, "id", f"'{path}', an entry of 'annotations'")
        where = f"'{path}', annotation {key}"
        if integer(row, "category_id", where) != category_id:
            continue
        if key in seen:
            raise UserError(f"{where}: two annotations have this id.")
        seen.add(key)
        image_id = integer(row, "image_id", where)
        if image_id not in images:
            raise UserError(f"{where}: image_id {image_id} is not among the file's images.")
        keypoints = numbers(row, "keypoints", 3 * schema.num_joints, where)
        visible = keypoints[2::3]
        if not np.isin(visible, (0, 1, 2)).all():
            raise UserError(f"{where}: visibility must be 0, 1 or 2, got {visible.tolist()}.")
        numbers(row, "bbox", 4, where)
        kept.append(
            {
                "id": key,
                "image_id": image_id,
                "category_id": category_id,
                "iscrowd": _flag(row, "iscrowd", where),
                "area": number(row, "area", where),
                "bbox": row["bbox"],
                "keypoints": row["keypoints"],
                "num_keypoints": int(np.count_nonzero(visible)),
            }
        )
    return kept


def _flag(row: dict, key: str, where: str) -> int:
    value = row.get(key, 0)
    if value not in (0, 1) or not isinstance(value, int):
        raise UserError(f"{where}: '{key}' must be 0 or 1, got {value!r:.50}.")
    return int(value)


def _annotated_persons(rows: list[dict], schema: KeypointSchema, images: dict, aspect: float) -> tuple[Person, ...]:
    wanted = [row for row in rows if not row["iscrowd"] and row["num_keypoints"] and row["area"] > 0]
    boxes = np.array([row["bbox"] for row in wanted], dtype=np.float64).reshape(-1, 4)
    sizes = np.array([(images[row["image_id"]].width, images[row["image_id"]].height) for row in wanted])
    boxes, usable = clip_boxes(boxes, sizes.reshape(-1, 2))
    keypoints = np.array([row["keypoints"] for row in wanted], dtype=np.float64).reshape(-1, schema.num_joints, 3)

    def person(n: int, center: np.ndarray, scale: np.ndarray) -> Person:
        row = wanted[n]
        return Person(
            image=images[row["image_id"]].path,
            image_id=row["image_id"],
            annotation_id=row["id"],
            center=center,
            scale=scale,
            joints=keypoints[n, :, :2],
            visible=keypoints[n, :, 2].astype(np.uint8),
            bbox=boxes[n],
            area=row["area"],
        )

    return _crops(boxes, usable, aspect, person)


def _detected_persons(
    source: DataSource, category_id: int, schema: KeypointSchema, images: dict, aspect: float
) -> tuple[Person, ...]:
    path = source.path(source.detection_file)
    rows = read_json(path, "detection file")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"'{path}' is no COCO detection file: expected a list of objects with image_id, bbox, score.")
    if not rows:
        raise UserError(f"The detection file '{path}' is empty.")
    wanted, boxes = [], []
    for n, row in enumerate(rows):
        where = f"'{path}', detection {n}"
        score = number(row, "score", where, least=-1e7)
        if integer(row, "category_id", where) != category_id or score < source.score_threshold:
            continue
        image_id = integer(row, "image_id", where)
        if image_id not in images:
            raise UserError(f"{where}: image_id {image_id} is not in the annotation of split '{source.split}'.")
        boxes.append(numbers(row, "bbox", 4, where))
        wanted.append((n, image_id, score))
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    if (boxes[:, 2:] < 0).any():
        raise UserError(f"'{path}': a detection box has a negative width or height; boxes are x, y, width, height.")
    no_joints = np.zeros((schema.num_joints, 2)), np.zeros(schema.num_joints, dtype=np.uint8)

    def person(n: int, center: np.ndarray, scale: np.ndarray) -> Person:
        position, image_id, score = wanted[n]
        area = float(boxes[n, 2] * boxes[n, 3])
        return Person(images[image_id].path, image_id, position, center, scale, *no_joints, boxes[n], area, score)

    persons = _crops(boxes, np.ones(len(boxes), dtype=bool), aspect, person)
    if not persons:
        raise UserError(
            f"The detection file '{path}' has no box of category {category_id} with a score of at least "
            f"{source.score_threshold:g}."
        )
    return persons


def clip_boxes(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clip ground-truth boxes to their images as HRNet does: the last px of a box is x + w - 1.

    A box that lies wholly inside loses one px of width and height by it.

    Args:
        boxes: (N, 4) x, y, width, height in px.
        sizes: (N, 2) width and height of each box's image, or (2,) of one for all.

    Returns:
        (N, 4) clipped boxes and (N,) bool, whether anything of the box is inside.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    start = np.maximum(boxes[:, :2], 0)
    end = np.minimum(np.asarray(sizes) - 1, start + np.maximum(boxes[:, 2:] - 1, 0))
    return np.concatenate([start, end - start], axis=1), (end >= start).all(axis=1)


def _crops(boxes: np.ndarray, usable: np.ndarray, aspect: float, person: Callable) -> tuple[Person, ...]:
    centers, scales = box_to_center_scale(boxes, aspect)
    usable = usable & (boxes[:, 2:].max(axis=1, initial=0) > _SMALLEST_BOX)
    return tuple(person(n, centers[n], scales[n]) for n in np.flatnonzero(usable))
