"""AP: known values, the fast path against pycocotools on everything awkward, and real annotations."""

import copy
import json

import numpy as np
import pytest

from autopose.metrics.ap import METRICS, coco_ap
from autopose.metrics.fast_ap import fast_ap, index_truth
from autopose.metrics.oks import COCO_SIGMAS
from bench.ap_speed import result_arrays, synthetic_case

PERSON = {"id": 1, "name": "person"}


def person(key, image_id, joints=((50, 50), (60, 70)), visible=(2, 2), area=5000.0, **others):
    keypoints = [value for (x, y), v in zip(joints, visible, strict=True) for value in (x, y, v)]
    annotation = {"id": key, "image_id": image_id, "category_id": 1, "area": area, "bbox": [40, 40, 40, 40]}
    annotation |= {"iscrowd": 0, "keypoints": keypoints, "num_keypoints": sum(v > 0 for v in visible)}
    return annotation | others


def result(image_id, score, joints=((50, 50), (60, 70)), **others):
    keypoints = [value for x, y in joints for value in (x, y, 0.9)]
    return {"image_id": image_id, "category_id": 1, "keypoints": keypoints, "score": score} | others


def dataset_of(annotations, image_ids=(1, 2, 3)):
    return {"images": [{"id": i} for i in image_ids], "annotations": annotations, "categories": [PERSON]}


def both(dataset, results, sigmas=(0.05, 0.05), image_ids=None):
    """pycocotools' numbers, after checking that the fast path gives the same."""
    official = coco_ap(dataset, results, sigmas, image_ids)
    truth = index_truth(dataset, sigmas, image_ids)
    arrays = result_arrays(results) if results else ([], [], [])
    assert fast_ap(truth, *arrays) == pytest.approx(official, abs=1e-9, rel=0)
    assert list(official) == list(METRICS)
    return official


def test_perfect_results():
    medium, large = person(1, 1, area=5000.0), person(2, 2, area=50000.0)
    scores = both(dataset_of([medium, large]), [result(1, 0.9), result(2, 0.8)])
    assert all(value == pytest.approx(1) for value in scores.values())


def test_oks_between_thresholds_counts_below_it_only():
    # OKS = exp(-d^2 / (2 * 5000 * 0.01)) = 0.77 at d = 5.1: found at .50 .. .75, six of ten thresholds
    scores = both(dataset_of([person(1, 1)]), [result(1, 0.9, ((55.1, 50), (65.1, 70)))])
    assert scores["AP50"] == scores["AP75"] == pytest.approx(1)
    assert scores["AP"] == pytest.approx(0.6) and scores["AR"] == pytest.approx(0.6)
    assert scores["APL"] == -1


def test_one_false_positive_above_halves_the_precision():
    scores = both(dataset_of([person(1, 1)]), [result(1, 0.5), result(2, 0.9)])
    assert scores["AP"] == pytest.approx(0.5) and scores["AR"] == pytest.approx(1)


def test_half_of_the_people_found():
    scores = both(dataset_of([person(1, 1), person(2, 2)]), [result(1, 0.9)])
    assert scores["AP"] == pytest.approx(51 / 101) and scores["AR"] == pytest.approx(0.5)


def test_nothing_found_is_zero_and_nothing_annotated_is_minus_one():
    found_none = both(dataset_of([person(1, 1)]), [])
    assert found_none["AP"] == found_none["AR"] == 0 and found_none["APL"] == -1
    assert set(both(dataset_of([]), [result(1, 0.9)]).values()) == {-1}
    assert set(both(dataset_of([]), []).values()) == {-1}


def test_crowd_takes_any_number_and_counts_neither_way():
    crowd = person(2, 1, visible=(0, 0), iscrowd=1)
    results = [result(1, 0.9), result(1, 0.8), result(1, 0.7), result(1, 0.6)]
    scores = both(dataset_of([person(1, 1), crowd]), results)
    assert scores["AP"] == pytest.approx(1) and scores["AR"] == pytest.approx(1)
    unlabelled = person(2, 1, visible=(0, 0))
    assert both(dataset_of([person(1, 1), unlabelled]), results)["AP"] == pytest.approx(1)
    late = [result(2, 0.1), *results[1:]]  # the unlabelled person takes one only, the next are false positives
    assert both(dataset_of([unlabelled, person(1, 2)]), late)["AP"] == pytest.approx(1 / 3)


def test_more_than_twenty_detections():
    wrong = [result(1, 0.9, ((500, 500), (510, 520))) for _ in range(20)]
    assert both(dataset_of([person(1, 1)]), [*wrong, result(1, 0.5)])["AR"] == 0
    assert both(dataset_of([person(1, 1)]), [*wrong[1:], result(1, 0.5)])["AR"] == 1


def test_equal_scores_and_equal_people():
    people = [person(1, 1), person(2, 1), person(3, 1, joints=((50, 51), (60, 71)))]
    both(dataset_of(people), [result(1, 0.5), result(1, 0.5), result(1, 0.5, ((50, 51), (60, 71))), result(2, 0.5)])


def test_missing_optional_keys():
    bare = {key: person(1, 1)[key] for key in ("id", "image_id", "category_id", "area", "keypoints")}
    no_joints = {"id": 2, "image_id": 2, "category_id": 1, "area": 100.0}
    assert both(dataset_of([bare, no_joints]), [result(1, 0.9)])["AP"] == pytest.approx(1)


def test_annotation_of_id_zero_is_never_found_as_in_pycocotools():
    scores = both(dataset_of([person(0, 1), person(1, 2)]), [result(1, 0.9), result(2, 0.8)])
    assert scores["AR"] == pytest.approx(0.5)


def test_image_list_with_repetitions_and_order():
    dataset = dataset_of([person(1, 1), person(2, 2), person(3, 3)])
    results = [result(1, 0.9), result(2, 0.8, ((500, 500), (9, 9)))]
    once = both(dataset, results, image_ids=[1, 2])
    assert both(dataset, results, image_ids=[2, 1, 2, 2]) == once and once["AR"] == pytest.approx(0.5)
    assert both(dataset_of(dataset["annotations"], (1, 1, 2, 3, 3)), results) == both(dataset, results)


def test_arguments_are_left_alone_and_nothing_is_printed(capsys):
    dataset, results = synthetic_case(8, seed=1)
    before = copy.deepcopy((dataset, results))
    both(dataset, results, COCO_SIGMAS)
    assert (dataset, results) == before and capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", range(6))
def test_fast_equals_pycocotools(seed):
    dataset, results = synthetic_case(40, seed)
    assert 0 < both(dataset, results, COCO_SIGMAS)["AP"] < 1


@pytest.mark.parametrize("num_joints", [1, 14, 40])
def test_custom_sigmas(num_joints):
    sigmas = np.random.default_rng(0).uniform(0.03, 0.2, num_joints)
    dataset, results = synthetic_case(25, 3, num_joints)
    assert both(dataset, results, sigmas) != both(dataset, results, sigmas / 3)


def test_index_is_reused():
    dataset, results = synthetic_case(20, seed=2)
    truth, arrays = index_truth(dataset), result_arrays(results)
    first = fast_ap(truth, *arrays)
    fast_ap(truth, arrays[0][::2], arrays[1][::2], arrays[2][::2])
    assert fast_ap(truth, *arrays) == first == fast_ap(truth, arrays[0], arrays[1][..., :2], arrays[2])


def noisy_results(dataset, rng):
    """Every labelled person three times: near, further away, and beside."""
    results = []
    for annotation in dataset["annotations"]:
        keypoints = np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)
        if not keypoints[:, 2].any():
            keypoints[:, :2] = rng.uniform(0, 1, (len(keypoints), 2)) * annotation["bbox"][2:] + annotation["bbox"][:2]
        for spread in (0.01, 0.06, 0.3):
            pose = keypoints.copy()
            pose[:, :2] += rng.normal(size=(len(pose), 2)) * spread * np.sqrt(annotation["area"])
            results.append(result(annotation["image_id"], float(rng.random()), pose[:, :2].tolist()))
    return results


@pytest.mark.parametrize("part", ["coco-mini/train2017", "coco-mini/val2017", "lsp/val"])
def test_real_annotations(part, real_data):
    folder, split = part.split("/")
    path = real_data / folder / "annotations" / f"person_keypoints_{split}.json"
    dataset = json.loads(path.read_text())
    joints = len(dataset["categories"][0]["keypoints"])
    sigmas = COCO_SIGMAS if joints == 17 else np.full(joints, 0.08)
    results = noisy_results(dataset, np.random.default_rng(0))
    scores = both(dataset, results, sigmas)
    assert 0.1 < scores["AP"] < 0.95
    some = [image["id"] for image in dataset["images"]][::3]
    assert both(dataset, results, sigmas, some + some) != scores
