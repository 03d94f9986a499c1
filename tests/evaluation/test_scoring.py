"""Scores of result files: numbers, counts, what is said about them, tables, and refusals in one sentence."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from autopose.data.records import ImageFile, Person, PoseAnnotations
from autopose.data.schema import COCO, MPII, schema_from_category
from autopose.errors import UserError
from autopose.evaluation.result_files import of_categories
from autopose.evaluation.scoring import score_keypoint_results, score_poses, score_results
from autopose.metrics.ap import coco_ap
from bench.ap_speed import synthetic_case


@pytest.fixture(scope="module")
def case():
    dataset, results = synthetic_case(12, seed=0)
    dataset["categories"] = [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}]
    return dataset, results


def people_of(schema, metric, num_people=3, **options):
    """Annotated people, one an image, joints along a diagonal 10 px apart."""
    count = schema.num_joints
    persons = tuple(
        Person(
            image=f"{n}.jpg",
            image_id=n,
            annotation_id=100 + n,
            center=np.zeros(2),
            scale=np.ones(2),
            joints=np.arange(count)[:, None] * np.array([10.0, 10.0]) + n,
            visible=np.full(count, 2, dtype=np.uint8),
            bbox=np.array([0.0, 0.0, 100.0, 200.0]),
            area=1e4,
            head_size=50.0,
        )
        for n in range(num_people)
    )
    images = {n: ImageFile(f"{n}.jpg", 300, 300) for n in range(num_people)}
    return PoseAnnotations(schema, persons, images, None, metric, "ground truth", **options)


def results_of(annotations, offset=(0.0, 0.0), named=True):
    rows = []
    for p in annotations.persons:
        keypoints = np.column_stack([p.joints + offset, np.ones(len(p.joints))]).ravel().tolist()
        row = {"image_id": p.image_id, "category_id": 1, "keypoints": keypoints, "score": 0.5}
        rows.append(row | ({"annotation_id": p.annotation_id} if named else {}))
    return rows


def test_ap_of_files_and_objects(case, tmp_path):
    dataset, results = case
    (tmp_path / "truth.json").write_text(json.dumps(dataset))
    (tmp_path / "results.json").write_text(json.dumps(results))
    score = score_keypoint_results(tmp_path / "truth.json", str(tmp_path / "results.json"))
    assert score.metrics == coco_ap(dataset, results) == score_keypoint_results(dataset, results, COCO).metrics
    labelled = [a for a in dataset["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    assert score.counts == {"images": 12, "people": len(labelled), "detections": len(results)}
    assert "results.json" in score.description() and "maxDets 20" in score.description()


def test_protocol_says_what_is_known(case):
    how = {"boxes": "ground truth", "flip": "yes, shifted by one cell", "decoding": "quarter", "NMS": "oks 0.9"}
    lines = score_keypoint_results(*case, how=how).description().splitlines()
    assert [line for line in lines if line in {f"{key}: {value}" for key, value in how.items()}] == lines[2:6]
    assert lines[-1].startswith("12 images, ")


def test_table_has_the_columns_of_the_literature(case):
    lines = score_keypoint_results(*case).table("AutoPose").splitlines()
    assert lines[0] == "| Arch | AP | Ap .5 | AP .75 | AP (M) | AP (L) | AR | AR .5 | AR .75 | AR (M) | AR (L) |"
    metrics = coco_ap(*case)
    assert lines[2] == "| AutoPose | " + " | ".join(f"{value:.3f}" for value in metrics.values()) + " |"


def test_nothing_found_and_nothing_annotated(case):
    dataset, _ = case
    assert score_keypoint_results(dataset, []).metrics["AP"] == 0
    empty = score_keypoint_results({**dataset, "annotations": []}, [])
    assert empty.metrics["AP"] == -1 and "n/a" in empty.table("none") and empty.counts["people"] == 0


def test_image_subset(case):
    dataset, results = case
    ids = [image["id"] for image in dataset["images"]][:5]
    score = score_keypoint_results(dataset, results, image_ids=[*ids, *ids])
    assert score.metrics == coco_ap(dataset, results, image_ids=ids) and score.counts["images"] == 5


def test_set_with_joints_of_its_own():
    category = {"id": 4, "name": "person", "keypoints": ["nose", "left_hip", "right_hip"]}
    dataset, results = synthetic_case(12, 1, num_joints=3)
    dataset["categories"] = [category]
    for row in [*dataset["annotations"], *results]:
        row["category_id"] = 4
    score = score_keypoint_results(dataset, results)
    assert score.metrics == coco_ap(dataset, results, schema_from_category(category).sigmas)
    assert "0.026, 0.107, 0.107" in score.protocol["sigmas"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"image_id": 10**9}, "image_id 1000000000 is not in the annotation", id="unknown-image"),
        pytest.param({"image_id": "3"}, "expected an integer 'image_id', got '3'", id="image-id-text"),
        pytest.param({"keypoints": [1.0] * 48}, "list of 51 numbers, got 48 values", id="keypoint-count"),
        pytest.param({"keypoints": [float("nan")] * 51}, "no finite number", id="nan-keypoint"),
        pytest.param({"score": float("nan")}, "'score' as a finite number", id="nan-score"),
        pytest.param({"score": None}, "'score' as a finite number", id="no-score"),
        pytest.param({"category_id": None}, "expected an integer 'category_id'", id="no-category"),
    ],
)
def test_results_that_are_refused(case, change, sentence):
    dataset, results = case
    broken = [*results[:3], {**results[3], **change}, *results[4:]]
    with pytest.raises(UserError, match=f"entry 3: .*{sentence}") as error:
        score_keypoint_results(dataset, broken)
    assert "\n" not in str(error.value)


def test_other_categories_only(case):
    dataset, results = case
    with pytest.raises(UserError, match="no entry is of category 1"):
        score_keypoint_results(dataset, [{**row, "category_id": 2} for row in results])


@pytest.mark.parametrize("text", ["", "[", '{"annotations": []}', "[1, 2]", "null"])
def test_result_files_that_are_refused(case, tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match="results.json"):
        score_keypoint_results(case[0], path)
    with pytest.raises(UserError, match="does not exist"):
        score_keypoint_results(case[0], tmp_path / "absent.json")


def test_annotations_that_are_refused(case):
    dataset, results = case
    for key, value in [("images", []), ("categories", []), ("annotations", [{"id": 1}]), ("annotations", None)]:
        with pytest.raises(UserError):
            score_keypoint_results({**dataset, key: value}, results)
    for key, value in [("keypoints", None), ("keypoints", [1, 2]), ("bbox", "wide"), ("area", None), ("id", 1.5)]:
        broken = {**dataset["annotations"][0], key: value}
        with pytest.raises(UserError, match=f"annotation .*'{key}'"):
            score_keypoint_results({**dataset, "annotations": [broken]}, results)
    twice = {**dataset, "annotations": [dataset["annotations"][0]] * 2}
    with pytest.raises(UserError, match="same id"):
        score_keypoint_results(twice, [])


def test_pckh_of_results_and_of_hrnets_file(tmp_path):
    annotations = people_of(MPII, "pckh", head_source="neck and head-top joints")
    score = score_results(annotations, results_of(annotations, (20.0, 0.0)))
    assert score.metrics["Mean"] == 100 and score.metrics["Mean@0.1"] == 0
    assert score.table("A").splitlines()[0] == (
        "| Arch | Head | Shoulder | Elbow | Wrist | Hip | Knee | Ankle | Mean | Mean@0.1 |"
    )
    assert "neck and head-top joints" in score.description() and score.counts["detections"] == 3
    one_based = np.stack([p.joints for p in annotations.persons]) + (20.0, 0.0) + 1
    savemat(tmp_path / "pred.mat", {"preds": one_based})
    assert score_results(annotations, tmp_path / "pred.mat").metrics == score.metrics
    savemat(tmp_path / "pred.mat", {"preds": one_based[:2]})
    with pytest.raises(UserError, match=r"\(3, 16, 2\), found shape \(2, 16, 2\)"):
        score_results(annotations, tmp_path / "pred.mat")


def test_person_without_a_result_is_missed_and_without_a_size_left_out():
    annotations = people_of(COCO, "pck")
    rows = results_of(annotations)
    score = score_results(annotations, rows[:2])
    assert score.metrics["Mean"] == pytest.approx(200 / 3) and score.counts["detections"] == 2
    annotations.persons[0].visible[5] = 0
    score = score_results(annotations, rows[:2])
    assert score.metrics["Mean"] == pytest.approx(50) and score.counts["people"] == 2
    assert score.protocol["left out"].startswith("1 people") and "torso" in score.protocol["metric"]
    whole = score_results(annotations, rows[:2], pck_reference="bbox", pck_alpha=0.1)
    assert whole.counts["people"] == 3 and whole.protocol["metric"] == "PCK@0.1 of the longer side of the person's box"


def test_results_find_their_person():
    annotations = people_of(COCO, "pck")
    shuffled = [results_of(annotations)[n] for n in (2, 0, 1)]
    assert score_results(annotations, shuffled).metrics["Mean"] == 100
    unnamed = results_of(annotations, named=False)
    worse = {**unnamed[0], "keypoints": [900.0] * 51, "score": 0.1}
    assert score_results(annotations, [worse, *unnamed, worse]).metrics["Mean"] == 100
    with pytest.raises(UserError, match="has two results"):
        score_results(annotations, [*shuffled, shuffled[0]])
    with pytest.raises(UserError, match="person 7 is not annotated"):
        score_results(annotations, [{**shuffled[0], "annotation_id": 7}])


def test_pck_refuses():
    annotations = people_of(schema_from_category({"keypoints": ["nose", "left_hip", "right_hip"]}), "pck")
    poses = np.stack([p.joints for p in annotations.persons])
    with pytest.raises(UserError, match="left_shoulder"):
        score_poses(annotations, poses, pck_reference="torso")
    with pytest.raises(UserError, match="torso, bbox, joints, got 'head'"):
        score_poses(annotations, poses, pck_reference="head")
    by_box = score_poses(annotations, poses)  # without a torso: the box
    assert by_box.metrics["Mean"] == 100 and "box" in by_box.protocol["metric"]


def test_annotations_as_results_are_perfect(real_data):
    path = real_data / "coco-mini/annotations/person_keypoints_val2017.json"
    people = [a for a in json.loads(path.read_text())["annotations"] if a["num_keypoints"]]
    keys = ("image_id", "category_id", "keypoints")
    score = score_keypoint_results(path, [{key: a[key] for key in keys} | {"score": 1.0} for a in people])
    assert all(value == pytest.approx(1) for value in score.metrics.values())
    assert score.counts == {"images": 45, "people": 68, "detections": 68}


def test_results_of_other_categories_are_not_counted():
    rows = [{"image_id": 1, "category_id": c, "keypoints": [1.0] * 51, "score": 0.5} for c in (7, 8, 8)]
    kept, fact = of_categories(rows, "results", (7, 9))
    assert kept == rows[:1] and fact["other results"].startswith("2 of other")
    assert of_categories(rows, "results", ()) == (rows, {})
    with pytest.raises(UserError, match="no entry is of category 5"):
        of_categories(rows, "results", (5,))
    with pytest.raises(UserError, match="category_id"):
        of_categories([{"image_id": 1}], "results", (1,))
