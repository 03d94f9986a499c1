"""PCKh and PCK: counted by hand."""

import numpy as np
import pytest

from autopose.data.schema import MPII
from autopose.metrics.pck import (
    COLUMNS,
    MPII_COLUMNS,
    box_sizes,
    columns_of,
    head_sizes_from_boxes,
    head_sizes_from_joints,
    pck,
    pck_table,
    pckh,
    torso_sizes,
    weighted_mean,
)


def test_head_sizes():
    np.testing.assert_allclose(head_sizes_from_boxes([[[10, 20], [40, 60]]]), [0.6 * 50])
    joints = np.zeros((3, 16, 2))
    joints[:, 9] = (30, 40)
    visible = np.ones((3, 16))
    visible[1, 8] = 0
    joints[2, 9] = 0
    np.testing.assert_allclose(head_sizes_from_joints(joints, visible), [0.75 * 50, np.nan, np.nan])


def test_head_size_from_joints_is_that_of_the_box_they_were_made_from():
    """A person of MPII: box of 117 x 158 px around (972.5, 158), joints as published."""
    joints = np.zeros((1, 16, 2))
    joints[0, 8], joints[0, 9] = (982.7591, 235.9694), (962.2409, 80.0306)
    box = np.array([[[914.0, 79.0], [1031.0, 237.0]]])
    np.testing.assert_allclose(head_sizes_from_joints(joints, np.ones((1, 16))), head_sizes_from_boxes(box), atol=1e-4)


def test_torso_and_box_sizes():
    joints = np.array([[[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]])
    sizes = torso_sizes(joints, [[1, 2], [1, 0], [1, 1]], ["left_shoulder", "right_hip"])
    np.testing.assert_allclose(sizes, [5, np.nan, np.nan])
    with pytest.raises(ValueError, match="right_hip"):
        torso_sizes(joints, np.ones((3, 2)), ["left_shoulder", "tail"])
    np.testing.assert_allclose(box_sizes([[5, 5, 30, 70], [0, 0, 0, 0]]), [70, np.nan])


def test_pck_by_hand():
    truth = np.zeros((3, 2, 2))
    found = np.array([[[5.0, 0], [0, 5.01]], [[3, 4], [0, 0]], [[0, 0], [np.nan, np.nan]]])
    percent, counts = pck(found, truth, [[1, 1], [2, 0], [0, 1]], [10, 10, 10], 0.5)
    np.testing.assert_allclose(percent, [100, 0])  # at the threshold counts; no result is a miss
    np.testing.assert_array_equal(counts, [2, 2])
    percent, counts = pck(found, truth, [[1, 0], [2, 0], [0, 0]], [10, np.nan, 10], 0.5)
    np.testing.assert_allclose(percent, [100, np.nan])
    np.testing.assert_array_equal(counts, [1, 0])


def test_weighted_mean():
    assert weighted_mean([100, 50, np.nan], [1, 3, 0]) == pytest.approx((100 + 150) / 4)
    assert weighted_mean([100, 50, 0], [1, 3, 9], left_out=[2]) == pytest.approx((100 + 150) / 4)
    assert np.isnan(weighted_mean([np.nan], [0]))


def test_pckh_by_hand():
    """Ten people, head size 100. Error of joint k of person n: 11 px for n < k, else 9 px."""
    error = np.where(np.arange(10)[:, None] < np.arange(16), 11.0, 9.0)
    truth = np.random.default_rng(0).uniform(0, 500, (10, 16, 2))
    poses = truth + np.stack([error, np.zeros((10, 16))], axis=2)
    visible = np.ones((10, 16))
    visible[5:, 3] = 0  # left hip: five people, of whom three have the larger error
    table = pckh(poses, truth, visible, np.full(10, 100.0))
    assert list(table) == [*COLUMNS, "Mean", "Mean@0.1"]
    assert all(table[c] == 100 for c in (*COLUMNS, "Mean"))
    near = {k: max(0, 10 - k) for k in range(16) if k not in (6, 7, 3)} | {3: 2}
    assert table["Mean@0.1"] == pytest.approx(100 * sum(near.values()) / (13 * 10 + 5))


def test_pckh_at_tenth_is_not_at_eleven_hundredths():
    truth = np.zeros((1, 16, 2))
    poses = truth + (10.5, 0)
    assert pckh(poses, truth, np.ones((1, 16)), [100.0])["Mean@0.1"] == 0
    assert pckh(poses * 0.95, truth, np.ones((1, 16)), [100.0])["Mean@0.1"] == 100


def test_pckh_columns_average_left_and_right():
    truth, poses = np.zeros((4, 16, 2)), np.zeros((4, 16, 2))
    visible = np.ones((4, 16))
    poses[:, 12] = 1000  # right shoulder always missed
    visible[1:, 13] = 0  # left one labelled once
    poses[:, 6:8] = 1000  # pelvis and thorax do not count
    table = pckh(poses, truth, visible, np.full(4, 10.0))
    assert table["Shoulder"] == 50 and table["Elbow"] == 100
    assert table["Mean"] == pytest.approx(100 * (14 * 4 - 4 - 3) / (14 * 4 - 3))


def test_shift_of_the_origin_does_not_matter():
    rng = np.random.default_rng(1)
    truth, poses = rng.uniform(0, 99, (2, 5, 16, 2)).round()
    sizes, visible = rng.uniform(50, 90, 5), rng.integers(0, 2, (5, 16))
    assert pckh(poses + 1, truth + 1, visible, sizes) == pytest.approx(pckh(poses, truth, visible, sizes), nan_ok=True)


def test_columns_by_name():
    assert {name: set(joints) for name, joints in columns_of(MPII.joints).items()} == {
        name: set(joints) for name, joints in MPII_COLUMNS.items()
    }
    assert columns_of(["nose", "left_hip", "tail"]) == {"Head": (0,), "Hip": (1,)}
    assert columns_of(["tail"]) == {}


def test_pck_table():
    names = ["left_hip", "right_hip", "tail"]
    truth, poses = np.zeros((2, 3, 2)), np.zeros((2, 3, 2))
    poses[:, 1, 0], poses[0, 2, 1] = 3, 3
    table = pck_table(poses, truth, np.ones((2, 3)), [10.0, 10.0], names)
    assert table == {"Hip": 50, "Mean": pytest.approx(50), "left_hip": 100, "right_hip": 0, "tail": 50}
