"""Crop geometry: values worked out by hand from HRNet's convention, inverses, and sampling."""

import numpy as np
import pytest

from autopose.data.affine import box_to_center_scale, crop_image, crop_matrix, mpii_center_scale, transform_points

SIZE = (192, 256)


@pytest.mark.parametrize(
    ("box", "center", "scale"),
    [
        pytest.param((10, 20, 60, 120), (40, 80), (0.45 * 1.25, 0.6 * 1.25), id="tall-grows-wider"),
        pytest.param((0, 0, 300, 100), (150, 50), (1.5 * 1.25, 2.0 * 1.25), id="wide-grows-taller"),
        pytest.param((-7, 5, 75, 100), (30.5, 55), (0.375 * 1.25, 0.5 * 1.25), id="fits"),
        pytest.param((-38.5, 0, 75, 100), (-1, 50), (0.375, 0.5), id="center-minus-one-is-not-padded"),
    ],
)
def test_box_to_center_scale(box, center, scale):
    got_center, got_scale = box_to_center_scale(np.array([box], dtype=float), aspect=0.75)
    np.testing.assert_allclose(got_center, [center], rtol=1e-6)
    np.testing.assert_allclose(got_scale, [scale], rtol=1e-6)
    single = box_to_center_scale(np.array(box, dtype=float), aspect=0.75)
    assert (single[0] == got_center[0]).all() and (single[1] == got_scale[0]).all()


def test_no_boxes():
    center, scale = box_to_center_scale(np.zeros((0, 4)), aspect=0.75)
    assert center.shape == scale.shape == (0, 2)


def test_mpii_center_scale():
    center, scale = mpii_center_scale(np.array([[966.0, 340.0], [-1.0, -1.0]]), np.array([4.0, 2.0]))
    np.testing.assert_allclose(center, [[965, 340 + 60 - 1], [-2, -2]])
    np.testing.assert_allclose(scale, [[5, 5], [2, 2]])


def test_crop_of_equal_size_only_moves():
    matrix = crop_matrix(np.array([100.0, 100.0]), np.array([0.96, 1.28]), 0, SIZE)
    np.testing.assert_allclose(matrix, [[1, 0, -4], [0, 1, 28]], atol=1e-5)


def test_only_the_width_sets_the_zoom():
    tall = crop_matrix(np.array([100.0, 100.0]), np.array([0.48, 9.0]), 0, SIZE)
    np.testing.assert_allclose(tall[:, :2], [[2, 0], [0, 2]], atol=1e-5)


def test_quarter_turn_brings_right_to_top():
    matrix = crop_matrix(np.array([100.0, 100.0]), np.array([0.96, 1.28]), 90, SIZE)
    np.testing.assert_allclose(transform_points([100 + 96, 100], matrix), [96, 128 - 96], atol=1e-4)
    np.testing.assert_allclose(transform_points([100, 100], matrix), [96, 128], atol=1e-4)


def test_udp_box_corners_meet_corner_pixels():
    matrix = crop_matrix(np.array([100.0, 50.0]), np.array([0.6, 0.8]), 0, SIZE, udp=True)
    np.testing.assert_allclose(transform_points([[40, -30], [160, 130]], matrix), [[0, 0], [191, 255]], atol=1e-9)


def test_udp_turns_the_other_way():
    center, scale = np.array([100.0, 100.0]), np.array([0.96, 1.28])
    point = transform_points([100 + 48, 100], crop_matrix(center, scale, 90, SIZE, udp=True))
    np.testing.assert_allclose(point, [95.5, 127.5 + 48 * 255 / 256], atol=1e-9)


@pytest.mark.parametrize("udp", [False, True])
def test_uncrop_is_the_inverse(udp):
    rng = np.random.default_rng(0)
    for _ in range(200):
        center, scale = rng.uniform(-50, 700, 2), rng.uniform(0.05, 4, 2)
        rotation = rng.uniform(-180, 180)
        points = rng.uniform(-100, 800, (17, 2))
        forward = crop_matrix(center, scale, rotation, SIZE, udp=udp)
        backward = crop_matrix(center, scale, rotation, SIZE, inverse=True, udp=udp)
        np.testing.assert_allclose(transform_points(transform_points(points, forward), backward), points, atol=1e-3)


def test_matrix_in_float32_of_the_box_is_near_double():
    rng = np.random.default_rng(1)
    boxes = np.concatenate([rng.uniform(-20, 600, (100, 2)), rng.uniform(2, 500, (100, 2))], axis=1)
    corners = np.array([[0, 0], [191, 0], [0, 255], [191, 255]])
    for center, scale in zip(*box_to_center_scale(boxes, 0.75), strict=True):
        inverse = crop_matrix(center, scale, 0, SIZE, inverse=True)
        width = float(scale[0]) * 200
        expected = np.asarray(center, float) + (corners - (96, 128)) * width / 192
        np.testing.assert_allclose(transform_points(corners, inverse), expected, atol=1e-2)


def test_points_with_one_matrix_each():
    rng = np.random.default_rng(2)
    points, matrices = rng.normal(size=(5, 17, 2)), rng.normal(size=(5, 2, 3))
    together = transform_points(points, matrices[:, None])
    for n in range(5):
        by_hand = np.column_stack([points[n], np.ones(17)]) @ matrices[n].T
        np.testing.assert_allclose(together[n], by_hand, atol=1e-12)


def test_crop_image_is_bilinear_with_zero_border():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    moved = crop_image(image, np.array([[1.0, 0, 1], [0, 1, 0]]), (4, 3))
    np.testing.assert_array_equal(moved[:, 1:], image[:, :3])
    np.testing.assert_array_equal(moved[:, 0], 0)
    half = crop_image(image, np.array([[1.0, 0, -0.5], [0, 1, 0]]), (4, 3))
    np.testing.assert_allclose(half[:, :3], (image[:, :3] + image[:, 1:]) / 2)
    np.testing.assert_allclose(half[:, 3], image[:, 3] / 2)


def test_crop_image_keeps_dtype_and_channels():
    image = np.full((20, 30, 3), 200, dtype=np.uint8)
    crop = crop_image(image, crop_matrix(np.array([15.0, 10.0]), np.array([0.05, 0.05]), 0, (8, 8)), (8, 8))
    assert crop.shape == (8, 8, 3) and crop.dtype == np.uint8 and (crop == 200).all()
