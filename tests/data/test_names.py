"""Names of joints in any style: sides, parts, pairs, and the same joints in another order."""

import pytest

from autopose.data.names import mirror_pairs, plain_name, read_name, same_joints
from autopose.data.schema import COCO, MPII, standard_sigma

STYLES = [
    "left_shoulder", "Left Shoulder", "LShoulder", "shoulder_l", "L-Shoulder", "l.shoulder", "shoulderLeft",
    "leftShoulder", "LEFT_SHOULDER", "shoulder (L)", "Shoulder.Left", "lshoulder", "leftshoulder",
    "left-shoulder", "LtShoulder", "lsho",
]  # fmt: skip


@pytest.mark.parametrize("name", STYLES)
def test_a_side_and_a_part_in_any_style(name):
    assert read_name(name) == ("left", "shoulder") and plain_name(name) == "left_shoulder"
    assert standard_sigma(name) == 0.079


@pytest.mark.parametrize("name", ["nose", "bottom", "L5", "T12", "upright", "rear_paw", "lip", "leg", "roof", "collar"])
def test_names_without_a_side(name):
    assert read_name(name)[0] is None


@pytest.mark.parametrize("left", STYLES)
@pytest.mark.parametrize("right", ["right_shoulder", "R-Shoulder", "shoulder_r", "rsho"])
def test_styles_pair_with_each_other(left, right):
    assert mirror_pairs(["neck", right, left]) == (((1, 2),), ())


def test_published_schemas_pair_as_before():
    for schema in (COCO, MPII):
        assert mirror_pairs(schema.joints) == (tuple(sorted(schema.flip_pairs)), ())
        assert tuple(map(plain_name, schema.joints)) == schema.joints


@pytest.mark.parametrize(
    ("names", "pairs", "unpaired"),
    [
        ("inner_left_elbow inner_right_elbow knee_left knee_right LAnkle RAnkle", 3, ()),
        ("paw1LH_top paw2LF_top paw3RF_top paw4RH_top tailBase_top", 2, ()),
        ("FL_paw FR_paw HL_paw HR_paw", 2, ()),
        ("lear rear lheel rheel", 2, ()),
        ("hipl hipr flpaw frpaw", 2, ()),
        ("LEFT_EAR RIGHT_EAR", 1, ()),
        ("left_hip right_hip left_eye", 1, ("left_eye",)),
        ("left_hip right_hip LAnkle RAnkl", 1, ("LAnkle", "RAnkl")),
        ("left_hip_1 left_hip_2 right_hip_1", 1, ("left_hip_2",)),
        ("L1 L2 L5 S1", 0, ()),
    ],
)
def test_all_pairs_or_the_unpaired(names, pairs, unpaired):
    found, left_over = mirror_pairs(names.split())
    assert (len(found), left_over) == (pairs, unpaired)
    used = [k for pair in found for k in pair]
    assert len(set(used)) == len(used)


def test_digits_tell_apart_where_they_do():
    names = ["left_finger_2", "right_finger_1", "left_finger_1", "right_finger_2"]
    assert mirror_pairs(names)[0] == ((0, 3), (1, 2))


def test_the_same_joints():
    assert same_joints(["Left Hip", "nose"], ["nose", "hip_l"]) == [1, 0]
    assert same_joints(["nose"], ["nose", "left_hip"]) is None
    assert same_joints(["nose", "ear"], ["nose", "eye"]) is None
    alike = ["paw_1", "paw1"]  # read alike, but are two joints
    assert same_joints(alike, alike[::-1]) == [1, 0] and same_joints(alike, ["paw_1", "Paw 1"]) is None
