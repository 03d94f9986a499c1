"""OKS: the formula by hand, and pycocotools' own matrix to the bit."""

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from autopose.metrics.ap import coco_index
from autopose.metrics.oks import COCO_SIGMAS, oks_matrix, pose_similarity
from bench.ap_speed import result_arrays, synthetic_case


def test_one_joint_by_hand():
    # d = 5, area = 100, sigma = 0.1: exp(-25 / (2 * 100 * 0.04))
    value = oks_matrix([[[3.0, 4.0]]], [[[0.0, 0.0]]], [[2]], [100.0], [[0, 0, 9, 9]], [0.1])
    assert value == pytest.approx(np.exp(-25 / 8), rel=1e-12)


def test_mean_over_labelled_joints_only():
    truth = np.zeros((1, 3, 2))
    detection = np.array([[[0.0, 0.0], [3.0, 4.0], [1e6, 1e6]]])
    value = oks_matrix(detection, truth, [[1, 2, 0]], [100.0], [[0, 0, 9, 9]], [0.1, 0.1, 0.1])
    assert value == pytest.approx((1 + np.exp(-25 / 8)) / 2, rel=1e-12)


def test_person_without_joints_uses_the_box_grown_by_its_size():
    box = [10.0, 20.0, 30.0, 40.0]  # grown: x -20..70, y -20..100
    detection = np.array([[[0.0, 0.0], [70.0, 100.0]], [[73.0, 104.0], [-20.0, -20.0]], [[-23.0, -24.0], [0.0, 0.0]]])
    values = oks_matrix(detection, np.full((1, 2, 2), 999.0), [[0, 0]], [100.0], [box], [0.1, 0.1])
    half = (1 + np.exp(-25 / 8)) / 2
    np.testing.assert_allclose(values, [[1.0], [half], [half]], rtol=1e-12)


def test_shapes_without_people_or_detections():
    sigmas, none = COCO_SIGMAS, np.zeros((0, 17, 2))
    assert oks_matrix(none, np.zeros((2, 17, 2)), np.ones((2, 17)), np.ones(2), np.ones((2, 4)), sigmas).shape == (0, 2)
    assert oks_matrix(np.zeros((3, 17, 2)), none, none[..., 0], np.ones(0), np.ones((0, 4)), sigmas).shape == (3, 0)


def test_bits_of_pycocotools():
    dataset, results = synthetic_case(60, seed=5)
    truth = coco_index(dataset, 17)
    evaluation = COCOeval(truth, truth.loadRes([dict(r) for r in results]), "keypoints")
    evaluation._prepare()
    checked = 0
    for image in dataset["images"]:
        people = [a for a in dataset["annotations"] if a["image_id"] == image["id"]]
        found = sorted((r for r in results if r["image_id"] == image["id"]), key=lambda r: -r["score"])[:20]
        if people and found:
            keypoints = np.array([a["keypoints"] for a in people]).reshape(-1, 17, 3)
            boxes, areas = [a["bbox"] for a in people], [a["area"] for a in people]
            poses = result_arrays(found)[1][..., :2]
            ours = oks_matrix(poses, keypoints[..., :2], keypoints[..., 2], areas, boxes)
            np.testing.assert_array_equal(ours, evaluation.computeOks(image["id"], 1))
            checked += ours.size
    assert checked > 1000


def test_pose_similarity_by_hand():
    pose = np.zeros((2, 2))
    others = np.array([[[0.0, 0.0], [0.0, 0.0]], [[3.0, 4.0], [0.0, 0.0]]])
    values = pose_similarity(pose, 50.0, others, np.array([70.0, 150.0]), [0.1, 0.1])
    np.testing.assert_allclose(values, [1, (1 + np.exp(-25 / 8)) / 2], rtol=1e-12)
