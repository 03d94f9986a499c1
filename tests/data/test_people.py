"""Annotations and detections that other tools write: what is completed, what is left out, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from autopose.data.boxes import box_problem, check_box_format
from autopose.data.checks import read_json
from autopose.data.coco import load_coco
from autopose.data.records import DataSource
from autopose.errors import UserError


def load(root, **options):
    return load_coco(DataSource(root, "val", **options))


def test_an_area_that_is_missing_or_zero_comes_from_the_box(coco_document, coco_writer):
    rows = coco_document["annotations"]
    del rows[0]["area"]
    rows[1]["area"] = 0
    data = load(coco_writer(coco_document))
    assert [p.area for p in data.persons] == pytest.approx([0.53 * 40 * 40, 0.53 * 80 * 60])
    assert "for 2 of 4 people" in data.remarks["areas"]
    assert [a["area"] for a in data.coco_gt["annotations"]][2:] == [800, 800]


def test_people_without_keypoints_have_none_labelled(coco_document, coco_writer):
    rows = coco_document["annotations"]
    rows += [{k: v for k, v in rows[0].items() if k not in ("keypoints", "num_keypoints", "bbox")} | {"id": 98}]
    rows += [rows[0] | {"id": 99, "keypoints": [], "bbox": [0, 0, 0, 0], "area": 0}]
    data = load(coco_writer(coco_document))
    assert [p.annotation_id for p in data.persons] == [1, 2]
    assert data.coco_gt["annotations"][-1]["keypoints"] == [0] * 51
    assert data.remarks["unlabelled"].startswith("3 of 6 people")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", None])
def test_json_with_a_byte_order_mark(coco_root, mark):
    path = coco_root / "annotations" / "person_keypoints_val.json"
    text = path.read_text()
    path.write_bytes(mark + text.encode() if mark else text.encode("utf-16"))
    assert len(load(coco_root).persons) == 2


@pytest.mark.parametrize(
    "name", ["at 3.45\u202fPM.png", "\u0645\u06cc\u200c.png", "\u5199\u3000\u771f.png", "a b=c,[d]'.png"]
)
def test_file_names_of_any_letters(coco_document, coco_writer, name):
    coco_document["images"][0]["file_name"] = name
    assert Path(load(coco_writer(coco_document)).persons[0].image).name == name


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31m.png", "a\0.png", "\x9b.png", "\ud800.png", "", None, 3])
def test_control_characters_in_file_names(coco_document, coco_root, name):
    coco_document["images"][0]["file_name"] = name
    (coco_root / "annotations" / "person_keypoints_val.json").write_text(json.dumps(coco_document))
    with pytest.raises(UserError, match="file_name") as error:
        load(coco_root)
    assert str(error.value).isprintable()


def categories(document, *changes):
    first = document["categories"][0]
    document["categories"] = [{**first, "id": n + 1, **change} for n, change in enumerate(changes)]
    for n, row in enumerate(document["annotations"]):
        row["category_id"] = 1 + n % len(changes)
    return document


def test_categories_with_the_same_joints_are_one(coco_document, coco_writer):
    data = load(coco_writer(categories(coco_document, {"name": "cat"}, {"name": "dog"})))
    assert data.category_ids == (1, 2) and len(data.persons) == 2
    assert {a["category_id"] for a in data.coco_gt["annotations"]} == {1}
    assert "cat, dog" in data.remarks["categories"]


def test_a_category_is_chosen_by_name_or_id(coco_document, coco_writer):
    root = coco_writer(categories(coco_document, {"name": "cat"}, {"name": "dog"}))
    for wanted, person in (("cat", 1), ("1", 1), ("dog", 2), ("2", 2)):
        assert [p.annotation_id for p in load(root, category=wanted).persons] == [person]
    with pytest.raises(UserError, match="'bird'.*1 'cat' .17 joints., 2 'dog'"):
        load(root, category="bird")


def test_categories_with_other_joints_need_a_choice(coco_document, coco_writer):
    hand = {"name": "hand", "keypoints": ["left_wrist", "right_wrist"]}
    root = coco_writer(categories(coco_document, {"name": "body"}, hand))
    with pytest.raises(UserError, match="2 categories with different joints.*data.category=body"):
        load(root)
    assert load(root, category="body").schema.num_joints == 17
    person = coco_writer(categories(coco_document, {"name": "person"}, hand))
    assert load(person).category_ids == (1,)  # among several kinds the people


def test_no_annotation_of_the_category(coco_document, coco_writer):
    for row in coco_document["annotations"]:
        row["category_id"] = 0
    with pytest.raises(UserError, match=r"none of 4 annotations is of category 1 \(found: 0\)"):
        load(coco_writer(coco_document))


def test_detections_of_other_categories_do_not_count(coco_root):
    rows = [{"image_id": 10, "category_id": c, "bbox": [1, 2, 30, 20], "score": 0.5} for c in (1, 3, 3)]
    (coco_root / "boxes.json").write_text(json.dumps(rows))
    data = load(coco_root, detection_file="boxes.json")
    assert len(data.persons) == 1 and data.remarks["detections"].startswith("2 of 3")


SIZES = np.tile([120.0, 160.0], (20, 1))


def people_boxes():
    rng = np.random.default_rng(0)
    start = rng.uniform([5, 5], [60, 60], (20, 2))
    return np.column_stack([start, rng.uniform([30, 60], [60, 100], (20, 2))])


def as_corners(boxes):
    return np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def test_boxes_in_another_format_are_noticed():
    boxes = people_boxes()
    check_box_format(boxes, SIZES, "boxes")
    check_box_format(boxes + [-20, -20, 40, 40], SIZES, "boxes that stand out")
    check_box_format(np.zeros((3, 4)), SIZES[:3], "no boxes at all")
    for wrong, message in (
        (as_corners(boxes), "two corners"),
        (boxes / [120, 160, 120, 160], "normalised"),
        (boxes * [1, 1, -1, 1], "negative"),
    ):
        with pytest.raises(UserError, match=f"^the boxes.*{message}"):
            check_box_format(wrong, SIZES, "the boxes")


@pytest.mark.parametrize("kind", ["corners", "normalised"])
def test_annotations_and_detections_in_another_format(coco_document, coco_writer, kind):
    def changed(box):
        x, y, w, h = box
        return [x, y, x + w, y + h] if kind == "corners" else [x / 64, y / 48, w / 64, h / 48]

    message = "two corners" if kind == "corners" else "normalised"
    box = [20, 15, 40, 30]
    rows = [{"image_id": 10, "category_id": 1, "bbox": changed(box), "score": 0.5}]
    root = coco_writer(coco_document)
    (root / "boxes.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=f"boxes.json.*{message}"):
        load(root, detection_file="boxes.json")
    for row in coco_document["annotations"]:
        row["bbox"] = changed(box)
    with pytest.raises(UserError, match=f"annotated boxes.*{message}"):
        load(coco_writer(coco_document))


def test_normalised_joints(coco_document, coco_writer):
    for row in coco_document["annotations"]:
        points = np.array(row["keypoints"]).reshape(-1, 3) / [64, 48, 1]
        row["keypoints"] = points.ravel().tolist()
    with pytest.raises(UserError, match="joints.*normalised"):
        load(coco_writer(coco_document))


def test_a_box_of_nobody():
    assert box_problem([1, 2, 3, 4]) is None
    assert "negative" in box_problem([60, 60, -40, 50]) and "empty" in box_problem([10, 10, 0, 5])


FOREIGN = {
    "YOLO-pose": lambda r: (r / "data.yaml").write_text(
        "kpt_shape: [17, 3]\ntrain: images/train\nnames: {0: person}\n"
    ),
    "CVAT": lambda r: (r / "annotations.xml").write_text("<?xml version='1.0'?><annotations></annotations>"),
    "DeepLabCut": lambda r: (r / "CollectedData_me.csv").write_text("scorer,me\nbodyparts,nose\ncoords,x\n"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_tools_files_are_named_with_the_command_that_converts_them(tmp_path, kind):
    root = tmp_path / "my data"
    root.mkdir()
    FOREIGN[kind](root)
    with pytest.raises(UserError, match=f"looks like .*{kind}.*python -m autopose.data convert 'source=.*my data.*'"):
        load(root)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ([{"image": "a.png", "center": [1, 2], "scale": 1.0}], "data=mpii"),
        ([{"image_id": 1, "keypoints": []}], "results"),
        ({"shapes": [], "imagePath": "a.png", "version": "5"}, "LabelMe"),
        ({"_via_settings": {}, "_via_img_metadata": {}}, "VIA"),
        ([], "not COCO keypoint JSON"),
        (3, "not COCO keypoint JSON"),
    ],
)
def test_json_of_something_else(coco_root, content, hint):
    path = coco_root / "annotations" / "person_keypoints_val.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=hint) as error:
        load(coco_root)
    assert "\n" not in str(error.value)


def test_a_missing_annotation_names_the_files_that_are_there(coco_root):
    path = coco_root / "annotations" / "person_keypoints_val.json"
    path.rename(coco_root / "labels.json")
    with pytest.raises(UserError, match="does not exist; there are labels.json: data.train_annotations and data.val_a"):
        load(coco_root)
    assert len(load(coco_root, annotation_file="labels.json").persons) == 2


def test_a_file_given_as_the_root(tmp_path):
    path = tmp_path / "annotations.xml"
    path.write_text("<?xml version='1.0'?><annotations></annotations>")
    with pytest.raises(UserError, match="is a file.*CVAT.*convert"):
        load(path)


def test_a_table_given_as_the_annotation(coco_root):
    (coco_root / "CollectedData_x.csv").write_text("scorer,me\nbodyparts,nose\ncoords,x\n")
    with pytest.raises(UserError, match="DeepLabCut.*convert"):
        load(coco_root, annotation_file="CollectedData_x.csv")


def test_utf16_without_a_mark_is_refused(tmp_path):
    (tmp_path / "a.json").write_bytes("[1]".encode("utf-16-le"))
    with pytest.raises(UserError, match="a.json"):
        read_json(tmp_path / "a.json", "file")
