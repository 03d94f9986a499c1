"""The constant pose: what it is, where it is placed, and its row in every table."""

import numpy as np
import pytest

from autopose.data.affine import PIXEL_STD
from autopose.data.records import Person
from autopose.data.schema import COCO
from autopose.evaluation.constant_pose import ConstantPose
from autopose.evaluation.scoring import Score


def person(places: np.ndarray, center, size, visible=2) -> Person:
    """Joints at shares of a crop."""
    center, scale = np.array(center, float), np.array(size, float) / PIXEL_STD
    joints = center - np.array(size) / 2 + places * size
    seen = np.full(17, visible, np.uint8)
    return Person("x.png", 0, 0, center, scale, joints, seen, np.array([0.0, 0, 9, 9]), 81.0)


def test_people_of_one_pose_give_that_pose_whatever_their_crops():
    places = np.linspace(0.1, 0.9, 34).reshape(17, 2)
    persons = [person(places, (50, 60), (40, 80)), person(places, (300, 20), (10, 20))]
    found = ConstantPose.of(persons, COCO)
    for name, tolerance in (("mean", 1e-12), ("median", 1e-12), ("mode", 1 / 64)):
        np.testing.assert_allclose(found.poses[name], places, atol=tolerance)
        placed = found.placed(name, persons, COCO)
        sizes = np.array([[40, 80], [10, 20]])[:, None]
        np.testing.assert_allclose(placed / sizes, np.stack([p.joints for p in persons]) / sizes, atol=tolerance)


def test_the_mode_is_where_most_are_and_unlabelled_joints_do_not_count():
    here, there = np.full((17, 2), 0.25), np.full((17, 2), 0.75)
    persons = [person(here, (0, 0), (64, 64))] * 3 + [person(there, (0, 0), (64, 64))]
    persons += [person(there, (0, 0), (64, 64), visible=0)] * 9
    found = ConstantPose.of(persons, COCO)
    np.testing.assert_allclose(found.poses["mode"], 0.25, atol=1 / 64)
    np.testing.assert_allclose(found.poses["mean"], 0.375)


def test_back_from_a_checkpoint_and_in_another_order_of_joints():
    found = ConstantPose.of([person(np.linspace(0, 1, 34).reshape(17, 2), (0, 0), (8, 8))], COCO)
    again = ConstantPose.from_dict(found.to_dict())
    assert again.joints == found.joints and np.array_equal(again.poses["mean"], found.poses["mean"])
    assert ConstantPose.from_dict(None) is None
    lacking = ConstantPose(found.joints[:-1], found.poses)
    assert lacking.placed("mean", [person(np.zeros((17, 2)), (0, 0), (8, 8))], COCO) is None


@pytest.mark.parametrize(("column", "metrics", "best"), [("AP", (0.1, 0.3, 0.2), 0.3), ("RMSE", (9.0, 4.0, 6.0), 4.0)])
def test_the_best_candidate_stands_in_the_table(column, metrics, best):
    score = Score({column: 1.0}, {"images": 1}, {}, ((column, column),))
    for name, value in zip(("mean", "median", "mode"), metrics, strict=True):
        score = score.beside(Score({column: value}, {}, {}, score.columns), name)
    assert score.constant == {column: best}
    assert score.table("net").splitlines()[-1] == f"| constant pose | {best:.3f} |"
    assert score.protocol["constant pose"] == "median of training joints"
