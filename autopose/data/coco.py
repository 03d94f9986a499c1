"""COCO keypoint annotations and detections, of COCO itself and of any set written the same way.

The filters are HRNet's (arXiv:1902.09212, its COCO dataset code's behaviour): crowds and persons without a labelled
joint are left out, ground-truth boxes are clipped to the image, detection boxes are not.
Letters: K joints.
"""

from pathlib import Path

import numpy as np

from autopose.data.categories import pose_category
from autopose.data.checks import inside, integer, number, read_json, records, text
from autopose.data.crops import crops
from autopose.data.detections import detected_persons
from autopose.data.foreign import hint, hint_of_document
from autopose.data.people import read_people
from autopose.data.records import DataSource, ImageFile, Person, PoseAnnotations
from autopose.data.schema import COCO, KeypointSchema, schema_from_category
from autopose.errors import UserError


def load_coco(source: DataSource, aspect: float = 0.75, *, need_images: bool = True) -> PoseAnnotations:
    """One split of a COCO-style keypoint dataset.

    Args:
        source: where it lies; with a detection file the persons are its boxes and carry no joints.
        aspect: width / height of the network's input; boxes are widened or heightened to it.
        need_images: False for scoring a result file, which needs no image folder.

    Raises:
        UserError: something is missing, is not COCO keypoint JSON, or does not fit the configured joints.
    """
    if Path(source.root).is_file():
        raise UserError(f"data.root={source.root} is a file, a dataset's folder is needed{hint(source.root)}")
    source.check_root()
    path = source.path(source.annotation_file or f"annotations/person_keypoints_{source.split}.json")
    document = _read(path, source)
    remarks: dict[str, str] = {}
    category = pose_category(records(document, "categories", path), source.category, source.joints, path)
    if len(category.ids) > 1:
        remarks["categories"] = f"{len(category.ids)} with the same joints counted as one: {', '.join(category.names)}"
    schema = _schema(category.entry, source, remarks)
    images = _images(records(document, "images", path), source, path, need_images)
    annotations = read_people(records(document, "annotations", path), category.ids, schema, images, path, remarks)
    if source.detection_file:
        persons = detected_persons(source, category.ids, schema, images, aspect, remarks)
        box_source = f"detections {source.path(source.detection_file).name}"
    else:
        persons = _annotated_persons(annotations, schema, images, aspect, remarks)
        box_source = "ground truth"
        if not persons:
            raise UserError(
                f"'{path}' has no person with a labelled joint and a box on the picture: the split '{source.split}' is "
                "empty"
            )
    coco_gt = {
        "images": [{"id": key, "width": i.width, "height": i.height, "file_name": i.path} for key, i in images.items()],
        "annotations": annotations,
        "categories": [{"id": category.ids[0], "name": schema.name, "keypoints": list(schema.joints)}],
    }
    return PoseAnnotations(
        schema, persons, images, coco_gt, source.metric, box_source, category_ids=category.ids, remarks=remarks
    )


def _read(path: Path, source: DataSource) -> dict:
    """The annotation file, or a refusal that says what else it is, and what converts it."""
    try:
        document = read_json(path, "annotation file")
        if not isinstance(document, dict) or not {"images", "annotations", "categories"} & set(document):
            raise UserError(f"'{path}' is not COCO keypoint JSON{hint_of_document(document)}")
    except UserError as error:
        sentence = str(error)
        if "; it looks like" not in sentence:
            sentence += hint(path, source.root) or _others(path, Path(source.root))
        raise UserError(sentence) from None
    return document


def _others(path: Path, root: Path) -> str:
    """A clause that names the JSON files that are there in place of a missing one."""
    if path.exists():
        return ""
    found = sorted(file for pattern in ("*.json", "*/*.json") for file in root.glob(pattern))
    names = ", ".join(str(file.relative_to(root)) for file in found[:3])
    more = ", ..." if len(found) > 3 else ""
    return f"; there are {names}{more}: data.train_annotations and data.val_annotations name others" if found else ""


def _schema(category: dict, source: DataSource, remarks: dict[str, str]) -> KeypointSchema:
    overridden = source.flip_pairs is not None or source.sigmas is not None or source.skeleton is not None
    known = source.joints in (None, COCO.joints) and source.network in (None, COCO) and not overridden
    if known and category.get("keypoints") == list(COCO.joints):
        return COCO
    return schema_from_category(
        category,
        joints=source.joints,
        sigmas=source.sigmas,
        flip_pairs=source.flip_pairs,
        skeleton=source.skeleton,
        like=source.network,
        remarks=remarks,
    )


def _images(rows: list[dict], source: DataSource, path, need_images: bool) -> dict[int, ImageFile]:
    if not rows:
        raise UserError(f"'{path}' lists no images: the split '{source.split}' is empty")
    folder = source.find_image_folder(need_images)
    images: dict[int, ImageFile] = {}
    for row in rows:
        key = integer(row, "id", f"'{path}', an entry of 'images'")
        where = f"'{path}', image {key}"
        image = ImageFile(
            inside(folder, text(row, "file_name", where), where),
            int(number(row, "width", where, least=1)),
            int(number(row, "height", where, least=1)),
        )
        if images.setdefault(key, image) != image:
            raise UserError(f"{where}: two different images have this id")
    return images


def _annotated_persons(
    rows: list[dict], schema: KeypointSchema, images: dict, aspect: float, remarks: dict[str, str]
) -> tuple[Person, ...]:
    """People with a labelled joint and something of a box on their picture; ``remarks`` tells of those without one."""
    labelled = [row for row in rows if not row["iscrowd"] and row["num_keypoints"]]
    wanted = [row for row in labelled if row["area"] > 0]
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

    persons = crops(boxes, usable, aspect, person)
    lost = sorted({row["id"] for row in labelled} - {found.annotation_id for found in persons})
    if lost:
        names = ", ".join(map(str, lost[:3])) + (", ..." if len(lost) > 3 else "")
        remarks["boxes"] = (
            f"{len(lost)} of {len(labelled)} labelled people are left out (annotation {names}): their box is empty or "
            "lies outside of the picture"
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
