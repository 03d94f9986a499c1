"""COCO-style annotations: HRNet's filters, clipping, detections, and one sentence for everything unusable."""

import json

import numpy as np
import pytest

from autopose.data.coco import load_coco
from autopose.data.records import DataSource
from autopose.data.schema import COCO
from autopose.errors import UserError


def test_filters_and_fields(coco_root):
    data = load_coco(DataSource(coco_root, "val"))
    assert data.schema is COCO and data.metric == "oks" and data.box_source == "ground truth"
    assert [p.annotation_id for p in data.persons] == [1, 2]  # crowd and unlabelled ones are left out
    assert list(data.images) == [10, 11, 12]  # also images without people
    first = data.persons[0]
    assert first.joints.shape == (17, 2) and first.visible.tolist() == [2] * 17 and first.score == 1.0
    assert data.persons[1].visible.tolist() == [2] * 5 + [0] * 12
    assert first.area == 800.0 and first.head_size is None


def test_boxes_are_clipped_as_hrnet_does(coco_root):
    data = load_coco(DataSource(coco_root, "val"), aspect=0.75)
    np.testing.assert_allclose(data.persons[0].bbox, [5, 4, 39, 39])  # x + w - 1 is the last px
    np.testing.assert_allclose(data.persons[1].bbox, [0, 2, 63, 45])
    np.testing.assert_allclose(data.persons[0].center, [24.5, 23.5])
    np.testing.assert_allclose(data.persons[0].scale, np.array([39, 52]) / 200 * 1.25, rtol=1e-6)


def test_ground_truth_for_pycocotools(coco_root, coco_document):
    truth = load_coco(DataSource(coco_root, "val")).coco_gt
    assert [a["id"] for a in truth["annotations"]] == [1, 2, 3, 4]
    for kept, original in zip(truth["annotations"], coco_document["annotations"], strict=True):
        assert kept == original
    assert len(truth["images"]) == 3 and truth["categories"][0]["id"] == 1


def test_derivable_fields_are_filled_in(coco_document, coco_writer):
    for row in coco_document["annotations"]:
        del row["num_keypoints"]
        if not row["iscrowd"]:
            del row["iscrowd"]
    truth = load_coco(DataSource(coco_writer(coco_document), "val")).coco_gt
    assert [a["num_keypoints"] for a in truth["annotations"]] == [17, 5, 17, 0]
    assert [a["iscrowd"] for a in truth["annotations"]] == [0, 0, 1, 0]


def test_other_categories_are_ignored(coco_document, coco_writer):
    coco_document["categories"].append({"id": 7, "name": "dog"})
    coco_document["annotations"].append({"id": 9, "image_id": 12, "category_id": 7, "bbox": [0, 0, 5, 5]})
    data = load_coco(DataSource(coco_writer(coco_document), "val"))
    assert len(data.persons) == 2 and len(data.coco_gt["annotations"]) == 4


def test_repeated_image_entries_count_once(coco_document, coco_writer):
    coco_document["images"].append(dict(coco_document["images"][0]))
    data = load_coco(DataSource(coco_writer(coco_document), "val"))
    assert list(data.images) == [10, 11, 12] and len(data.coco_gt["images"]) == 3


def test_detections(coco_root):
    rows = [
        {"image_id": 12, "category_id": 1, "bbox": [-5, 3, 30, 60], "score": 0.9},
        {"image_id": 10, "category_id": 1, "bbox": [1, 2, 30, 20], "score": 0.2},
        {"image_id": 10, "category_id": 18, "bbox": [1, 2, 30, 20], "score": 0.9},
    ]
    (coco_root / "boxes.json").write_text(json.dumps(rows))
    data = load_coco(DataSource(coco_root, "val", detection_file="boxes.json"))
    assert [(p.image_id, p.score) for p in data.persons] == [(12, 0.9), (10, 0.2)]
    np.testing.assert_allclose(data.persons[0].bbox, [-5, 3, 30, 60])  # not clipped
    assert not data.persons[0].visible.any() and data.box_source == "detections boxes.json"
    assert len(data.coco_gt["annotations"]) == 4
    strict = DataSource(coco_root, "val", detection_file="boxes.json", score_threshold=0.5)
    assert [p.annotation_id for p in load_coco(strict).persons] == [0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "empty"),
        ("{}", "detection file"),
        ('[{"image_id": 10, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.1}]', "no box"),
        ('[{"image_id": 99, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.9}]', "image_id 99"),
        ('[{"image_id": 10, "category_id": 1, "bbox": [0, 0, 5], "score": 0.9}]', "4 numbers"),
        ('[{"image_id": 10, "category_id": 1, "bbox": [0, 0, -5, 5], "score": 0.9}]', "negative"),
        ('[{"image_id": 10, "category_id": 1, "bbox": [0, 0, 5, 5], "score": NaN}]', "score"),
        ('[{"image_id": 10, "category_id": 1, "bbox": [0, 0,', "cut off"),
    ],
)
def test_unusable_detections(coco_root, content, message):
    (coco_root / "boxes.json").write_text(content)
    with pytest.raises(UserError, match=message):
        load_coco(DataSource(coco_root, "val", detection_file="boxes.json", score_threshold=0.5))


def test_image_folders(coco_root):
    assert load_coco(DataSource(coco_root, "val")).images[10].path == str(coco_root / "val" / "10.png")
    (coco_root / "val").rename(coco_root / "images")
    assert load_coco(DataSource(coco_root, "val")).images[10].path == str(coco_root / "images" / "10.png")
    (coco_root / "images").rename(coco_root / "elsewhere")
    assert (
        load_coco(DataSource(coco_root, "val", image_folder="elsewhere")).images[10].path.endswith("elsewhere/10.png")
    )
    with pytest.raises(UserError, match="no image folder"):
        load_coco(DataSource(coco_root, "val"))
    assert len(load_coco(DataSource(coco_root, "val"), need_images=False).persons) == 2


def test_missing_root_and_annotation(tmp_path, coco_root):
    with pytest.raises(UserError, match="does not exist"):
        load_coco(DataSource(tmp_path / "nowhere", "val"))
    with pytest.raises(UserError, match="person_keypoints_train.json' does not exist"):
        load_coco(DataSource(coco_root, "train"))


def _set(*path, value):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("annotations"), "'annotations'"),
        (lambda d: d.pop("categories"), "'categories'"),
        (_set("images", value=[]), "empty"),
        (_set("images", value={"id": 1}), "'images'"),
        (_set("annotations", value=[]), "no person with a labelled joint"),
        (_set("images", 1, "id", value=10), "two different images"),
        (_set("images", 0, "width", value=0), "width"),
        (_set("images", 0, "file_name", value=None), "file_name"),
        (_set("annotations", 0, "image_id", value=99), "image_id 99"),
        (_set("annotations", 1, "id", value=1), "two annotations"),
        (_set("annotations", 0, "keypoints", value=[1, 2, 2] * 14), "51 numbers, got 42"),
        (_set("annotations", 0, "keypoints", 0, value=float("nan")), "finite"),
        (_set("annotations", 0, "keypoints", 0, value=1e300), "finite"),
        (_set("annotations", 0, "keypoints", 2, value=3), "visibility"),
        (_set("annotations", 0, "bbox", 2, value="40"), "finite"),
        (_set("annotations", 0, "area", value="big"), "area"),
        (_set("annotations", 0, "iscrowd", value="no"), "iscrowd"),
        (_set("categories", 0, "keypoints", value=["nose"]), "flip_pairs"),
        (_set("categories", 0, "keypoints", value=[]), "no category with joint names"),
        (_set("categories", value=[]), "no category with joint names"),
    ],
)
def test_unusable_annotations(coco_document, coco_writer, change, message):
    change(coco_document)
    root = coco_writer({**coco_document, "images": []})
    (root / "annotations" / "person_keypoints_val.json").write_text(json.dumps(coco_document))
    with pytest.raises(UserError, match=message):
        load_coco(DataSource(root, "val"))


def test_joints_must_fit_the_configured_ones(coco_root):
    with pytest.raises(UserError, match="do not fit"):
        load_coco(DataSource(coco_root, "val", joints=("left_eye", "right_eye")))
    assert load_coco(DataSource(coco_root, "val", joints=COCO.joints)).schema is COCO


def test_truncated_file(coco_root):
    path = coco_root / "annotations" / "person_keypoints_val.json"
    path.write_text(path.read_text()[:-200])
    with pytest.raises(UserError, match="cut off"):
        load_coco(DataSource(coco_root, "val"))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_coco(DataSource(coco_root, "val"))


def test_real_sets(real_data):
    val = load_coco(DataSource(real_data / "coco-mini", "val2017"))
    assert (len(val.images), len(val.persons), len(val.coco_gt["annotations"])) == (45, 68, 118)
    train = load_coco(DataSource(real_data / "coco-mini", "train2017"))
    assert (len(train.images), len(train.persons)) == (42, 86)
    boxes = "person_detection_results/person_detections_val2017.json"
    assert len(load_coco(DataSource(real_data / "coco-mini", "val2017", detection_file=boxes)).persons) == 173
    lsp = load_coco(DataSource(real_data / "lsp", "val"))
    assert (len(lsp.persons), lsp.schema.num_joints, len(lsp.schema.flip_pairs)) == (500, 14, 6)
    assert lsp.schema.sigmas[0] == 0.089
