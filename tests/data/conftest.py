"""Hand-made datasets in COCO's and MPII's layout."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from autopose.data.schema import COCO, MPII


def person(key, image_id, keypoints, bbox, **fields):
    """A COCO annotation; keypoints (K, 3)."""
    keypoints = np.asarray(keypoints)
    return {
        "id": key,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "area": 0.5 * bbox[2] * bbox[3],
        "bbox": list(bbox),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "keypoints": keypoints.ravel().tolist(),
    } | fields


def document():
    """Three 64x48 images: 10 has two persons, 11 a crowd and one without joints, 12 nobody."""
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(8, 40, 17), rng.uniform(6, 40, 17), np.full(17, 2)]).round(1)
    partly = points.copy()
    partly[5:] = 0
    hidden = np.zeros((17, 3))
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in (10, 11, 12)],
        "annotations": [
            person(1, 10, points, (5, 4, 40, 40)),
            person(2, 10, partly, (-3, 2, 80, 60)),
            person(3, 11, points, (5, 4, 40, 40), iscrowd=1),
            person(4, 11, hidden, (5, 4, 40, 40)),
        ],
        "categories": [
            {
                "id": 1,
                "name": "person",
                "keypoints": list(COCO.joints),
                "skeleton": [[a + 1, b + 1] for a, b in COCO.skeleton],
            }
        ],
    }


def write_coco(root: Path, data: dict, split: str = "val") -> Path:
    """Write an annotation and smooth random pictures for its images."""
    (root / "annotations").mkdir(exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(data))
    for image in data["images"]:
        rng = np.random.default_rng(image["id"])
        picture = cv2.resize(rng.uniform(0, 255, (6, 8, 3)).astype(np.uint8), (image["width"], image["height"]))
        cv2.imwrite(str(root / split / image["file_name"]), picture)
    return root


def mpii_rows():
    """Two persons of one image and one of another, in HRNet's MPII JSON."""
    rng = np.random.default_rng(1)
    joints = rng.uniform(20, 180, (MPII.num_joints, 2)).round(1)
    joints[8], joints[9] = (100, 60), (100, 20)
    row = {"image": "a.png", "scale": 1.5, "center": [110.0, 90.0], "joints": joints.tolist(), "joints_vis": [1] * 16}
    unseen_head = row | {"joints_vis": [1] * 9 + [0] + [1] * 6}
    return [row, unseen_head, row | {"image": "b.png", "center": [-1, 90.0]}]


@pytest.fixture
def coco_document():
    return document()


@pytest.fixture
def coco_root(tmp_path):
    return write_coco(tmp_path, document())


@pytest.fixture
def coco_writer(tmp_path):
    """Writes a document as the split val and gives the root."""
    return lambda data: write_coco(tmp_path, data)


@pytest.fixture
def mpii_root(tmp_path):
    (tmp_path / "annot").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "annot" / "valid.json").write_text(json.dumps(mpii_rows()))
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((200, 200, 3), 90, np.uint8))
    return tmp_path
