"""OKS-NMS, soft-NMS and rescoring: small cases by hand and a plain loop as second opinion."""

import numpy as np
import pytest

from autopose.metrics.nms import nms_by_image, oks_nms, scaled_box_area, soft_oks_nms
from autopose.metrics.oks import COCO_SIGMAS
from autopose.metrics.rescore import rescore

SIGMAS = [0.1]


def at(*xs):
    """One-joint poses at these x, of area 100: OKS of distance d is exp(-d^2 / 8)."""
    return np.array([[[float(x), 0.0]] for x in xs]), np.full(len(xs), 100.0)


def test_rescore_by_hand():
    scores = rescore([0.5, 0.8, 1.0], [[0.9, 0.3, 0.2], [0.1, 0.2, 0.0], [0.21, 0.2, 0.19]])
    np.testing.assert_allclose(scores, [0.5 * 0.6, 0.0, 0.21])
    assert rescore(np.zeros(0), np.zeros((0, 17))).shape == (0,)


def test_area_of_scaled_box():
    np.testing.assert_allclose(scaled_box_area(np.array([[0.5, 1.0], [2, 3]])), [100 * 200, 400 * 600])


def test_oks_nms_by_hand():
    poses, areas = at(0, 0.5, 10, 10.5, 3)  # exp(-0.25 / 8) = 0.969 is above 0.9, exp(-9 / 8) = 0.32 is not
    assert oks_nms(poses, [0.5, 0.9, 0.7, 0.6, 0.1], areas, SIGMAS) == [1, 2, 4]
    assert oks_nms(poses, [0.5, 0.9, 0.7, 0.6, 0.1], areas, SIGMAS, threshold=0.99) == [1, 2, 3, 0, 4]


def test_oks_at_the_threshold_is_kept():
    poses, areas = at(0, 2)
    overlap = np.exp(-4 / 8)
    assert oks_nms(poses, [1.0, 0.5], areas, SIGMAS, threshold=overlap) == [0, 1]
    assert oks_nms(poses, [1.0, 0.5], areas, SIGMAS, threshold=np.nextafter(overlap, 0)) == [0]


def test_suppression_is_greedy_and_not_transitive():
    poses, areas = at(0, 0.8, 1.6)  # neighbours overlap by 0.92, the ends by 0.73
    assert oks_nms(poses, [0.9, 0.8, 0.7], areas, SIGMAS) == [0, 2]


def test_soft_nms_reorders_by_damped_scores():
    poses, areas = at(0, 0, 10)
    # the double falls to 0.9 * exp(-1 / 0.9) = 0.296, below 0.5
    assert soft_oks_nms(poses, [1.0, 0.9, 0.5], areas, SIGMAS) == [0, 2, 1]
    assert soft_oks_nms(poses, [1.0, 0.9, 0.5], areas, SIGMAS, max_detections=2) == [0, 2]


def test_soft_nms_keeps_twenty():
    poses, areas = at(*range(0, 250, 10))
    assert soft_oks_nms(poses, np.linspace(1, 0.1, 25), areas, SIGMAS) == list(range(20))


def test_none_and_single():
    poses, areas = at(3)
    for suppress in (oks_nms, soft_oks_nms):
        assert suppress(poses[:0], [], areas[:0], SIGMAS) == []
        assert suppress(poses, [0.3], areas, SIGMAS) == [0]


def plain_nms(poses, scores, areas, threshold):
    """Pair by pair, with a flag for each pose."""
    dropped, keep = set(), []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if i in dropped:
            continue
        keep.append(i)
        for j in range(len(scores)):
            squared = ((poses[i, :, :2] - poses[j, :, :2]) ** 2).sum(axis=1)
            similarity = np.exp(-squared / (2 * COCO_SIGMAS) ** 2 / ((areas[i] + areas[j]) / 2) / 2).mean()
            if j not in keep and similarity > threshold:
                dropped.add(j)
    return keep


@pytest.mark.parametrize("seed", range(10))
def test_against_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    people = rng.uniform(0, 300, (4, 17, 3))
    poses = people[rng.integers(0, 4, 40)] + rng.normal(size=(40, 17, 3)) * rng.choice([0.5, 3, 20], (40, 1, 1))
    scores, areas = rng.random(40), rng.uniform(2e3, 9e4, 40)
    assert oks_nms(poses, scores, areas, threshold=0.9) == plain_nms(poses, scores, areas, 0.9)


def test_by_image():
    poses, areas = at(0, 0, 0.1, 5, 5)
    scores = [0.2, 0.5, 0.9, 0.3, 0.4]
    assert nms_by_image([7, 3, 7, 3, 3], poses, scores, areas, SIGMAS) == [2, 1, 4]
    assert nms_by_image([7, 3, 7, 3, 3], poses, scores, areas, SIGMAS, method="soft") == [2, 0, 1, 4, 3]
    assert nms_by_image([7, 3, 7, 3, 3], poses, scores, areas, SIGMAS, method="none") == [0, 1, 2, 3, 4]
    assert nms_by_image([], poses[:0], [], areas[:0], SIGMAS) == []
    with pytest.raises(ValueError, match="oks, soft, none, got 'box'"):
        nms_by_image([1], poses[:1], [1.0], areas[:1], SIGMAS, method="box")
