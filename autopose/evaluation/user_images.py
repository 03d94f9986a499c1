"""A user's own images as a dataset without annotations, for prediction."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from autopose.data.affine import box_to_center_scale
from autopose.data.boxes import box_problem, check_box_format
from autopose.data.checks import number, numbers, read_image, read_json, text
from autopose.data.picture_files import shown_size
from autopose.data.records import ImageFile, Person, PoseAnnotations
from autopose.data.schema import schema_from_dict
from autopose.errors import UserError
from autopose.evaluation.inference import Poses

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def read_pictures(images: str, boxes: str | None, schema: dict, aspect: float) -> PoseAnnotations:
    """One person an image, filling it, or the people of a box file.

    Args:
        images: an image, or a folder of images.
        boxes: JSON list of {"file_name", "bbox": [x, y, width, height] px, "score"}; the score may be missing.
        schema: of the checkpoint, see ``schema_to_dict``.
        aspect: width over height of the network's input.
    """
    files = _image_files(Path(images))
    found = schema_from_dict(schema)
    ids = {path.name: index for index, path in enumerate(files)}
    if boxes:
        rows = _box_rows(boxes, ids, files)
    else:
        rows = [(index, [0.0, 0.0, *read_image(path).shape[1::-1]], 1.0) for index, path in enumerate(files)]
    centers, scales = box_to_center_scale(np.array([box for _, box, _ in rows]).reshape(-1, 4), aspect)
    persons = tuple(
        Person(
            str(files[image]), image, n, centers[n], scales[n], np.zeros((found.num_joints, 2)),
            np.zeros(found.num_joints, np.uint8), np.asarray(box), float(box[2] * box[3]), score,
        )
        for n, (image, box, score) in enumerate(rows)
    )  # fmt: skip
    table = {index: ImageFile(str(path), turned=True) for index, path in enumerate(files)}
    return PoseAnnotations(found, persons, table, None, "oks", f"file {boxes}" if boxes else "whole images")


def _image_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(p for p in path.glob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else []
    if not files:
        raise UserError(f"no image was found at {path}: expected an image or a folder with {', '.join(SUFFIXES)} files")
    return files


def _box_rows(path: str, ids: dict[str, int], files: list[Path]) -> list[tuple[int, list[float], float]]:
    content = read_json(path, "box file")
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise UserError(f'the box file {path} must be a list of {{"file_name", "bbox", "score"}}')
    rows = []
    for n, row in enumerate(content):
        where = f"{path}, row {n}"
        name = text(row, "file_name", where)
        if name not in ids:
            raise UserError(f"{where} names the image {name!r}, which is not among the images given")
        score = number(row, "score", where) if "score" in row else 1.0
        box = numbers(row, "bbox", 4, where).tolist()
        problem = box_problem(box)
        if problem:
            raise UserError(f"{where}: {problem}")
        rows.append((ids[name], box, score))
    sizes = np.array([shown_size(files[image]) for image, _, _ in rows])
    check_box_format(np.array([box for _, box, _ in rows]), sizes, f"the boxes of {path}")
    return rows


def rows_by_image(
    poses: Poses, pictures: PoseAnnotations
) -> list[tuple[dict, Callable[[], np.ndarray], np.ndarray, np.ndarray]]:
    """Per image: a row for JSON, a function that reads the image, joints (P, K, 2) px and scores (P, K)."""
    of_image = np.array([pictures.persons[i].image_id for i in poses.index])
    found = []
    for image_id, file in pictures.images.items():
        joints, scores = poses.joints[of_image == image_id], poses.scores[of_image == image_id]
        people = [np.concatenate([j, s[:, None]], 1).ravel().tolist() for j, s in zip(joints, scores, strict=True)]
        row = {"image_id": image_id, "file_name": Path(file.path).name, "keypoints": people}
        found.append((row, partial(read_image, file.path), joints, scores))
    return found
