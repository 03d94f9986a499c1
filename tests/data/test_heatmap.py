"""Targets and decoding: values worked out by hand, borders, and that decoding inverts encoding."""

import json

import numpy as np
import pytest

from autopose.data.affine import box_to_center_scale, crop_matrix, transform_points
from autopose.data.heatmap import DECODERS, decode, encode, to_image

SIZE, GRID = np.array([192, 256]), np.array([48, 64])


def target_of(x, y, visible=2, **options):
    target, weight = encode(np.array([[x, y]], dtype=float), np.array([visible]), SIZE, GRID, **options)
    return target[0], weight[0]


def test_target_is_a_cut_gaussian_of_peak_one():
    target, weight = target_of(100, 60)
    x, y = np.meshgrid(np.arange(48), np.arange(64))
    inside = (abs(x - 25) <= 6) & (abs(y - 15) <= 6)
    expected = np.where(inside, np.exp(-((x - 25.0) ** 2 + (y - 15.0) ** 2) / 8), 0)
    np.testing.assert_allclose(target, expected, rtol=1e-6)
    assert target.dtype == np.float32 and weight == 1 and target[15, 25] == 1 and (target > 0).sum() == 13 * 13


@pytest.mark.parametrize(
    ("x", "column"),
    [(101.9, 25), (102.0, 26), (0.0, 0), (-2.1, 0), (-5.9, 0), (1.99, 0), (2.0, 1), (191, 48)],
)
def test_rounding_is_half_up_and_towards_zero(x, column):
    target, _ = target_of(x, 60)
    window = np.flatnonzero(target[15])
    assert (window[0], window[-1]) == (max(0, column - 6), min(47, column + 6))


@pytest.mark.parametrize(
    ("x", "y", "weight", "filled"),
    [
        pytest.param(213.9, 60, 1, True, id="right-one-column-left"),
        pytest.param(214.0, 60, 0, False, id="right-outside"),
        pytest.param(-27.9, 60, 1, True, id="left-one-column-left"),
        pytest.param(-30.0, 60, 1, False, id="left-touching-from-outside-keeps-its-weight"),
        pytest.param(-34.0, 60, 0, False, id="left-outside"),
        pytest.param(60, 277.9, 1, True, id="below-one-row-left"),
        pytest.param(60, 278.0, 0, False, id="below-outside"),
        pytest.param(60, -34.0, 0, False, id="above-outside"),
    ],
)
def test_border(x, y, weight, filled):
    target, got = target_of(x, y)
    assert got == weight and target.any() == filled


def test_weights_follow_visibility():
    joints = np.tile([100.0, 60.0], (3, 1))
    target, weight = encode(joints, np.array([0, 1, 2]), SIZE, GRID)
    assert weight.tolist() == [0, 1, 1] and weight.dtype == np.float32
    assert not target[0].any() and (target[1] == target[2]).all() and target[1].any()


@pytest.mark.parametrize("sigma", [1, 2, 3])
def test_window_grows_with_sigma(sigma):
    target, _ = target_of(100, 120, sigma=sigma)
    assert (target > 0).sum() == (6 * sigma + 1) ** 2


def test_udp_target_keeps_the_fraction():
    target, _ = target_of(100, 60, udp=True)
    mean = np.array([100 * 47 / 191, 60 * 63 / 255])
    x, y = np.meshgrid(np.arange(48), np.arange(64))
    cell = np.floor(mean + 0.5)
    inside = (abs(x - cell[0]) <= 6) & (abs(y - cell[1]) <= 6)
    expected = np.where(inside, np.exp(-((x - mean[0]) ** 2 + (y - mean[1]) ** 2) / 8), 0)
    np.testing.assert_allclose(target, expected, rtol=1e-6)


def test_quarter_shift_by_hand():
    maps = np.zeros((1, 3, 64, 48), dtype=np.float32)
    maps[0, :, 20, 10] = 1
    maps[0, 0, 20, 11], maps[0, 0, 19, 10] = 0.5, 0.3
    maps[0, 1, 20, 9], maps[0, 1, 21, 10] = 0.5, 0.3
    coords, scores = decode(maps)
    np.testing.assert_array_equal(coords[0], [[10.25, 19.75], [9.75, 20.25], [10, 20]])
    np.testing.assert_array_equal(scores, np.ones((1, 3)))


@pytest.mark.parametrize(
    ("x", "y", "shifted"),
    [(1, 20, False), (2, 20, True), (46, 20, True), (47, 20, False), (20, 1, False), (20, 62, True), (20, 63, False)],
)
def test_quarter_shift_needs_both_coordinates_off_the_border(x, y, shifted):
    maps = np.full((1, 1, 64, 48), 0.1, dtype=np.float32)
    maps[0, 0, y, x] = 1
    if x < 47:
        maps[0, 0, y, x + 1] = 0.5
    if y < 63:
        maps[0, 0, y + 1, x] = 0.5
    assert decode(maps)[0][0, 0].tolist() == ([x + 0.25, y + 0.25] if shifted else [x, y])


@pytest.mark.parametrize("method", DECODERS)
def test_map_without_positive_value_decodes_to_origin(method):
    maps = np.full((1, 2, 64, 48), -1.0, dtype=np.float32)
    maps[0, 0, 30, 20] = -0.5
    maps[0, 1] = 0
    coords, scores = decode(maps, method)
    assert not coords.any() and scores.tolist() == [[-0.5, 0.0]]


@pytest.mark.parametrize("method", DECODERS)
def test_batch_equals_single(method):
    maps = np.random.default_rng(0).random((4, 3, 16, 12)).astype(np.float32)
    coords, scores = decode(maps, method)
    for n in range(4):
        single = decode(maps[n : n + 1], method)
        assert (single[0][0] == coords[n]).all() and (single[1][0] == scores[n]).all()


def test_decode_refuses():
    with pytest.raises(ValueError, match="quarter, dark, dark_udp, argmax, got 'mean'"):
        decode(np.zeros((1, 1, 4, 4)), "mean")
    with pytest.raises(ValueError, match=r"\(N, K, h, w\)"):
        decode(np.zeros((1, 4, 4)))
    assert decode(np.zeros((0, 17, 4, 4)), "dark")[0].shape == (0, 17, 2)


def gaussian_maps(means):
    """(1, K, 64, 48) uncut Gaussians of sigma 2 around (K, 2) cells."""
    x, y = np.arange(48.0), np.arange(64.0)[:, None]
    return np.stack([np.exp(-((x - m[0]) ** 2 + (y - m[1]) ** 2) / 8) for m in means])[None].astype(np.float32)


@pytest.mark.parametrize(("method", "error"), [("argmax", 0.5), ("quarter", 0.25), ("dark", 1e-3), ("dark_udp", 2e-2)])
def test_decoding_finds_a_gaussian(method, error):
    means = np.random.default_rng(1).uniform((14, 14), (33, 49), (200, 2))
    coords, _ = decode(gaussian_maps(means), method)
    assert abs(coords[0] - means).max() <= error + 1e-6


@pytest.mark.parametrize("udp", [False, True])
def test_decode_inverts_encode(udp):
    rng = np.random.default_rng(2)
    joints = rng.uniform((40, 40), (150, 210), (100, 2))
    target, weight = encode(joints, np.ones(100), SIZE, GRID, udp=udp)
    stride = (SIZE - 1) / (GRID - 1) if udp else SIZE / GRID
    coords, scores = decode(target[None], "dark_udp" if udp else "argmax")
    assert weight.all()
    if udp:
        assert abs(coords[0] - joints / stride).max() < 0.05
    else:
        assert (coords[0] == np.floor(joints / stride + 0.5)).all() and (scores == 1).all()


@pytest.mark.parametrize("udp", [False, True])
def test_to_image_inverts_the_crop(udp):
    rng = np.random.default_rng(3)
    boxes = np.concatenate([rng.uniform(-20, 600, (50, 2)), rng.uniform(2, 500, (50, 2))], axis=1)
    center, scale = box_to_center_scale(boxes, 0.75)
    points = rng.uniform(-50, 700, (50, 17, 2))
    cells = [
        transform_points(points[n], crop_matrix(center[n], scale[n], 0, GRID, udp=udp)) for n in range(len(points))
    ]
    np.testing.assert_allclose(to_image(np.stack(cells), center, scale, GRID, udp=udp), points, atol=1e-3)
    assert to_image(np.zeros((0, 17, 2)), np.zeros((0, 2)), np.zeros((0, 2)), GRID, udp=udp).shape == (0, 17, 2)


def check_whole_chain(boxes, joints, visible):
    """Image -> crop -> target -> decode -> image: off by at most half a cell in x and in y."""
    centers, scales = box_to_center_scale(boxes, 0.75)
    checked = 0
    for center, scale, points, seen in zip(centers, scales, joints, visible, strict=True):
        target, weight = encode(transform_points(points, crop_matrix(center, scale, 0, SIZE)), seen, SIZE, GRID)
        back = to_image(decode(target[None], "argmax")[0], center[None], scale[None], GRID)[0]
        cells = transform_points(points, crop_matrix(center, scale, 0, GRID))
        whole = (weight > 0) & (cells > 0).all(axis=1) & (cells < GRID - 1).all(axis=1)
        assert (abs(back - points)[whole] <= 0.5 * float(scale[0]) * 200 / 48 + 1e-3).all()
        checked += whole.sum()
    return checked


def test_whole_chain_synthetic():
    rng = np.random.default_rng(4)
    boxes = np.concatenate([rng.uniform(0, 400, (40, 2)), rng.uniform(20, 300, (40, 2))], axis=1)
    joints = boxes[:, None, :2] + rng.random((40, 17, 2)) * boxes[:, None, 2:]
    assert check_whole_chain(boxes, joints, rng.integers(0, 3, (40, 17))) > 300


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_whole_chain_coco(split, real_data):
    path = real_data / "coco-mini" / "annotations" / f"person_keypoints_{split}.json"
    people = [a for a in json.loads(path.read_text())["annotations"] if a["num_keypoints"]]
    keypoints = np.array([a["keypoints"] for a in people], dtype=float).reshape(-1, 17, 3)
    assert check_whole_chain(np.array([a["bbox"] for a in people]), keypoints[..., :2], keypoints[..., 2]) > 500
