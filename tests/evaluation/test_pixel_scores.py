"""The table of errors in px, and what PCK refers to where boxes are whole pictures."""

from dataclasses import replace

import numpy as np
import pytest

from autopose.data.records import ImageFile, Person, PoseAnnotations
from autopose.data.schema import schema_from_category
from autopose.evaluation.pixel_scores import score_pixels
from autopose.evaluation.scoring import score_poses
from autopose.metrics.pck import choose_reference

SCHEMA = schema_from_category({"name": "mouse", "keypoints": ["snout", "tail"], "sigmas": [0.05] * 2, "flip_pairs": []})


def annotations(box=(0, 0, 639, 479)):
    persons = tuple(
        Person("a.png", n, n, np.zeros(2), np.ones(2), np.array([[100.0, 50], [200, 90]]) + n,
               np.array([2, 2 - 2 * (n == 2)], np.uint8), np.array(box, float), 1e3)
        for n in range(3)
    )  # fmt: skip
    images = {n: ImageFile("a.png", 640, 480) for n in range(3)}
    return PoseAnnotations(SCHEMA, persons, images, None, "oks", "ground truth")


def test_the_table_has_the_errors_in_px_and_the_protocol():
    truth = annotations()
    poses = np.stack([p.joints for p in truth.persons]) + [[3, 4], [0, 1]]
    score = score_pixels(truth, poses, {"split": "val"})
    assert score.metrics["Median px"] == 5 and score.metrics["snout px"] == 5 and score.metrics["tail px"] == 1
    assert score.metrics["RMSE px"] == pytest.approx(np.sqrt((3 * 25 + 2 * 1) / 5))
    header, _, row = score.table("own").splitlines()
    assert header == "| Arch | RMSE px | Median px | 95 % px | snout | tail |" and row.endswith("| 5.000 | 1.000 |")
    assert "original picture" in score.description() and "split: val" in score.description()
    assert score.counts == {"images": 3, "people": 3, "labelled joints": 5}


def test_whole_pictures_are_seen_and_pck_then_refers_to_the_joints():
    whole, boxed = annotations(), annotations((90, 40, 120, 60))
    assert whole.whole_pictures and not boxed.whole_pictures
    assert not replace(whole, images={n: ImageFile("a.png") for n in range(3)}).whole_pictures
    poses = np.stack([p.joints for p in whole.persons]) + [25.0, 0]
    reference = choose_reference(SCHEMA.joints, whole.whole_pictures)
    score = score_poses(whole, poses, pck_reference=reference)
    # 25 px are more than 0.2 of the joints' 100 px, and less than 0.2 of the box's 639 px.
    assert score.metrics["Mean"] == 0 and "labelled joints' extent" in score.protocol["metric"]
    assert score.protocol["left out"].startswith("1 people")
    assert score_poses(whole, poses, pck_reference="bbox").metrics["Mean"] == 100
    assert choose_reference(SCHEMA.joints, False) == "bbox"
    assert choose_reference(("left_shoulder", "right_hip"), True) == "torso"
