"""Joint vocabularies: COCO's and MPII's constants, and schemas of any other category."""

import re

import numpy as np
import pytest

from autopose.data.schema import COCO, MPII, KeypointSchema, joint_order, schema_from_category
from autopose.errors import UserError

LSP_JOINTS = [
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist"),
    *("right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
]


def test_coco_constants():
    assert COCO.num_joints == 17 and COCO.joints[0] == "nose" and COCO.joints[16] == "right_ankle"
    assert COCO.flip_pairs == tuple((n, n + 1) for n in range(1, 16, 2))
    twice = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
    assert COCO.sigmas == pytest.approx([v / 1000 for v in twice], abs=0)
    assert (15, 13) in COCO.skeleton and len(COCO.skeleton) == 19
    assert COCO.upper_body == tuple(range(11))


def test_mpii_constants():
    assert MPII.num_joints == 16
    assert set(MPII.flip_pairs) == {(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)}
    assert MPII.upper_body == tuple(range(7, 16))
    assert MPII.joints[8:10] == ("upper_neck", "head_top")


def test_flip_order_is_its_own_inverse():
    for schema in (COCO, MPII):
        order = np.array(schema.flip_order)
        assert (order[order] == np.arange(schema.num_joints)).all()
        for k, other in enumerate(order):
            swapped = {"left": "right", "right": "left"}
            side, _, part = schema.joints[k].partition("_")
            expected = f"{swapped[side]}_{part}" if side in swapped else schema.joints[k]
            assert schema.joints[other] == expected


def test_lsp_category_takes_sigmas_and_pairs_by_name():
    schema = schema_from_category({"name": "person", "keypoints": LSP_JOINTS, "skeleton": [[1, 2], [13, 14]]})
    values = (0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.062, 0.072, 0.079, 0.079, 0.072, 0.062, 0.079, 0.079)
    assert schema.sigmas == values
    assert set(schema.flip_pairs) == {(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)}
    assert schema.skeleton == ((0, 1), (12, 13))


@pytest.mark.parametrize("names", [["nose", "l_eye", "r_eye"], ["Nose", "Left Eye", "right-eye"]])
def test_other_spellings_of_sides(names):
    schema = schema_from_category({"keypoints": names})
    assert schema.flip_pairs == ((1, 2),) and schema.sigmas == (0.026, 0.025, 0.025)


def test_config_overrides_and_category_extras():
    category = {"name": "hand", "keypoints": ["a", "b", "c"], "sigmas": [0.1, 0.2, 0.3], "flip_pairs": [[0, 2]]}
    assert schema_from_category(category).flip_pairs == ((0, 2),)
    schema = schema_from_category(category, sigmas=[0.5, 0.5, 0.5], flip_pairs=[("a", "b")], skeleton=[(1, 2)])
    assert schema == KeypointSchema("hand", ("a", "b", "c"), ((0, 1),), ((1, 2),), (0.5, 0.5, 0.5))
    assert schema_from_category({"name": "x"}, joints=["a", "b"], sigmas=[1, 1], flip_pairs=[]).joints == ("a", "b")


@pytest.mark.parametrize(
    ("category", "options", "message"),
    [
        ({}, {}, "joint names"),
        ({"keypoints": "nose"}, {}, "joint names"),
        ({"keypoints": ["nose", 3]}, {}, "unique"),
        ({"keypoints": ["nose", "nose"]}, {}, "unique"),
        ({"keypoints": ["nose", "left_eye"]}, {}, "flip_pairs"),
        ({"keypoints": ["tip", "base"]}, {}, "flip_pairs"),
        ({"keypoints": ["tip", "base"]}, {"flip_pairs": []}, "configure data.sigmas"),
        ({"keypoints": ["tip", "base"]}, {"flip_pairs": [], "sigmas": [0.1]}, "2 sigmas"),
        ({"keypoints": ["tip", "base"]}, {"flip_pairs": [], "sigmas": [0.1, float("nan")]}, "positive numbers"),
        ({"keypoints": ["a", "b"]}, {"flip_pairs": [["a", "c"]], "sigmas": [1, 1]}, "pairs"),
        ({"keypoints": ["a", "b"]}, {"flip_pairs": [[0, 1], [1, 0]], "sigmas": [1, 1]}, "one flip pair"),
        ({"keypoints": ["left_eye", "right_eye"]}, {"skeleton": [[1, 2]]}, "skeleton"),
        ({"keypoints": ["left_eye", "right_eye"]}, {"joints": ["right_eye", "left_eye"]}, "do not fit"),
    ],
)
def test_unusable_categories(category, options, message):
    with pytest.raises(UserError, match=message):
        schema_from_category(category, **options)


@pytest.mark.parametrize(
    ("skeleton", "expected", "said"),
    [
        ([[1, 2], [2, 3]], ((0, 1), (1, 2)), None),
        ([[0, 1], [1, 2]], ((0, 1), (1, 2)), "read as 0-based"),
        ([["left_eye", "nose"]], ((1, 0),), None),
        ([[1, 2], [32, 33]], (), r"left out: \[\[1, 2\], \[32, 33\]\]"),
        ([[0, 3]], (), "left out"),
        ([[1, 2, 3]], (), "left out"),
        ("1-2", (), "left out"),
        ([[1, None]], (), "left out"),
    ],
)
def test_skeletons_are_for_drawings_only(skeleton, expected, said):
    remarks = {}
    category = {"keypoints": ["nose", "left_eye", "right_eye"], "skeleton": skeleton}
    assert schema_from_category(category, remarks=remarks).skeleton == expected
    assert bool(said) == bool(remarks) and (said is None or re.search(said, remarks["skeleton"]))


def test_joints_of_a_network_in_another_order_and_style():
    network = schema_from_category(
        {"keypoints": ["nose", "left_eye", "right_eye"], "skeleton": [[1, 2]]}, sigmas=[0.1, 0.2, 0.3]
    )
    schema = schema_from_category({"keypoints": ["Right Eye", "LEye", "Nose"], "sigmas": [1, 1, 1]}, like=network)
    assert joint_order(network, schema.joints) == [2, 1, 0]
    assert (schema.sigmas, schema.flip_pairs, schema.skeleton) == ((0.3, 0.2, 0.1), ((1, 0),), ((2, 1),))
    remarks = {}
    own = {"keypoints": ["nose", "left_eye", "right_eye"], "sigmas": [1, 1, 1]}
    assert schema_from_category(own, like=network, remarks=remarks).sigmas == network.sigmas and "sigmas" in remarks
    assert schema_from_category({}, like=network).joints == network.joints  # a category without names
    with pytest.raises(UserError, match="3 joints.*has 2.*the data lack right_eye"):
        schema_from_category({"keypoints": ["nose", "left_eye"]}, like=network)
    with pytest.raises(UserError, match="the network does not know left_ear"):
        schema_from_category({"keypoints": ["nose", "left_ear", "right_eye"]}, like=network)
