"""The flip test on arrays and tensors."""

import numpy as np
import pytest
import torch

from autopose.data.heatmap import encode
from autopose.data.schema import COCO, MPII
from autopose.metrics.flip import flip_back, flip_order, merge_flip


def test_by_hand():
    maps = np.arange(12.0).reshape(1, 3, 1, 4)
    flipped = flip_back(maps, [(0, 2)])
    np.testing.assert_array_equal(flipped[0, :, 0], [[11, 10, 9, 8], [7, 6, 5, 4], [3, 2, 1, 0]])
    shifted = flip_back(maps, [(0, 2)], shift=True)
    np.testing.assert_array_equal(shifted[0, :, 0], [[11, 11, 10, 9], [7, 7, 6, 5], [3, 3, 2, 1]])
    np.testing.assert_array_equal(merge_flip(maps, maps, [(0, 2)])[0, 0, 0], [5.5, 6, 6, 6])
    np.testing.assert_array_equal(merge_flip(maps, maps, [(0, 2)], shift=False)[0, 0, 0], [5.5, 5.5, 5.5, 5.5])
    np.testing.assert_array_equal(maps.ravel(), np.arange(12.0))


@pytest.mark.parametrize("schema", [COCO, MPII], ids=["coco", "mpii"])
def test_flip_of_flip(schema):
    maps = np.random.default_rng(0).random((2, schema.num_joints, 5, 4))
    np.testing.assert_array_equal(flip_back(flip_back(maps, schema.flip_pairs), schema.flip_pairs), maps)
    order = flip_order(schema.num_joints, schema.flip_pairs)
    assert tuple(order) == schema.flip_order and [order[k] for k in order] == list(range(schema.num_joints))


@pytest.mark.parametrize("shift", [False, True])
def test_tensors_as_arrays(shift):
    plain, mirrored = np.random.default_rng(1).random((2, 2, 17, 6, 5)).astype(np.float32)
    merged = merge_flip(torch.from_numpy(plain), torch.from_numpy(mirrored), COCO.flip_pairs, shift)
    assert torch.is_tensor(merged)
    np.testing.assert_array_equal(merged.numpy(), merge_flip(plain, mirrored, COCO.flip_pairs, shift))


@pytest.mark.parametrize("udp", [False, True])
def test_targets_of_the_mirrored_input_meet_the_plain_ones(udp):
    """A perfect network: without UDP only the shifted maps fall on the plain ones, with UDP only the unshifted."""
    joints = np.random.default_rng(2).integers(10, 36, (17, 2)) * 4.0
    if udp:
        joints *= 191 / 192
    mirrored = joints[list(COCO.flip_order)] * (-1, 1) + (191, 0)
    size, grid = (192, 256), (48, 64)
    plain = encode(joints, np.ones(17), size, grid, udp=udp)[0][None]
    of_mirrored = encode(mirrored, np.ones(17), size, grid, udp=udp)[0][None]
    right, wrong = (flip_back(of_mirrored, COCO.flip_pairs, shift=s) for s in (not udp, udp))
    assert abs(right - plain).max() < 2e-2 if udp else (right == plain).all()
    assert abs(wrong - plain).max() > 0.1
