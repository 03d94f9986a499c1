"""Augmentation presets: marginal frequencies, half-body crops, and what a mirrored crop looks like."""

import numpy as np
import pytest

from autopose.data.augment import PRESETS, Augmentation, draw_view, half_body
from autopose.data.schema import COCO, MPII
from autopose.errors import UserError

DRAWS = 6000
CENTER, SCALE, WIDTH = np.array([50.0, 60.0]), np.array([0.6, 0.8]), 120


def _joints(schema):
    rng = np.random.default_rng(0)
    return rng.uniform(20, 100, (schema.num_joints, 2)), np.full(schema.num_joints, 2)


def _draw(preset, schema=COCO, visible=None):
    """Views of many seeds as arrays: center, scale, rotation, flip."""
    joints, all_visible = _joints(schema)
    visible = all_visible if visible is None else visible
    views = [
        draw_view(PRESETS[preset], np.random.default_rng((7, n)), CENTER, SCALE, joints, visible, schema, WIDTH)
        for n in range(DRAWS)
    ]
    columns = [[getattr(view, name) for view in views] for name in ("center", "scale", "rotation", "flip")]
    return tuple(np.array(column) for column in columns)


def _close(share, probability):
    """Within four standard deviations of a binomial share."""
    return abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / DRAWS)


def test_none_changes_nothing():
    center, scale, rotation, flip = _draw("none")
    assert (center == CENTER).all() and (scale == SCALE).all() and not rotation.any() and not flip.any()


def test_paper():
    center, scale, rotation, flip = _draw("paper")
    assert _close(flip.mean(), 0.5)
    assert np.abs(rotation).max() <= 45 and (rotation != 0).all()
    for low in (-45, -15, 15):  # uniform
        assert _close(((rotation >= low) & (rotation < low + 30)).mean(), 1 / 3)
    assert (scale == SCALE).all()
    assert (center[flip] == [WIDTH - 1 - 50, 60]).all() and (center[~flip] == CENTER).all()


@pytest.mark.parametrize(
    ("preset", "schema", "factor", "angle", "half"),
    [("hrnet_coco", COCO, 0.35, 45, 0.3), ("hrnet_mpii", MPII, 0.25, 30, 0.0)],
)
def test_hrnet(preset, schema, factor, angle, half):
    center, scale, rotation, flip = _draw(preset, schema)
    assert _close(flip.mean(), 0.5)
    assert _close((rotation != 0).mean(), 0.6)
    assert np.abs(rotation).max() == 2 * angle
    # Of the rotated ones a normal law of this deviation: 68.27 % inside one, 4.55 % clipped at two.
    assert _close((np.abs(rotation) > angle).mean(), 0.6 * 0.3173)
    assert _close((np.abs(rotation) == 2 * angle).mean(), 0.6 * 0.0455)
    own_center = np.where(flip[:, None], [WIDTH - 1 - CENTER[0], CENTER[1]], CENTER)
    halved = (center != own_center).any(axis=1)
    assert _close(halved.mean(), half) if half else not halved.any()
    ratio = scale[~halved, 0] / SCALE[0]
    np.testing.assert_allclose(ratio, scale[~halved, 1] / SCALE[1])
    assert ratio.min() == pytest.approx(1 - factor) and ratio.max() == pytest.approx(1 + factor)
    # clip(1 + s z, 1 - s, 1 + s) with z normal: 15.87 % at each end.
    assert _close(np.isclose(ratio, 1 + factor).mean(), 0.1587) and _close(np.isclose(ratio, 1 - factor).mean(), 0.1587)


def test_half_body_takes_the_upper_one_as_often_as_hrnet():
    joints, visible = _joints(COCO)
    center, _, _, flip = _draw("hrnet_coco")
    upper = half_body(joints, visible, COCO, True, 0.75)[0]
    lower = half_body(joints, visible, COCO, False, 0.75)[0]
    shares = []
    for expected in (upper, lower):
        mirrored = np.where(flip[:, None], [WIDTH - 1 - expected[0], expected[1]], expected)
        shares.append(np.isclose(center, mirrored).all(axis=1).mean())
    assert _close(shares[0], 0.3 * 0.6915) and _close(shares[1], 0.3 * 0.3085)


def test_half_body_needs_more_than_eight_joints():
    visible = np.array([2] * 8 + [0] * 9)
    center, _, _, flip = _draw("hrnet_coco", visible=visible)
    assert (center[~flip] == CENTER).all()


def test_half_body_box_by_hand():
    joints, visible = np.zeros((17, 2)), np.zeros(17)
    joints[5], joints[6], joints[7] = (10, 20), (40, 20), (10, 80)
    visible[[5, 6, 7]] = 2
    center, scale = half_body(joints, visible, COCO, False, 0.75)  # no lower joints: the upper body
    np.testing.assert_allclose(center, [20, 40])
    np.testing.assert_allclose(scale * 200, np.array([45, 60]) * 1.5)
    assert half_body(joints, np.zeros(17), COCO, True, 0.75) is None
    assert half_body(np.zeros((17, 2)), visible, COCO, True, 0.75) is None  # all in one place


@pytest.mark.parametrize(
    "fields",
    [{"flip": 1.5}, {"half_body": -0.1}, {"rotation": 200}, {"scale": 1.0}, {"rotation_law": "triangular"}],
)
def test_unusable_values(fields):
    with pytest.raises(UserError, match="augmentation"):
        Augmentation(**fields)
