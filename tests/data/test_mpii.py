"""MPII in HRNet's JSON: pixel bases, crops, head sizes."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from autopose.data.mpii import load_mpii
from autopose.data.records import DataSource
from autopose.errors import UserError


def test_convention(mpii_root):
    data = load_mpii(DataSource(mpii_root, "valid"))
    first, _, absent = data.persons
    np.testing.assert_allclose(first.center, [109, 90 + 15 * 1.5 - 1])
    np.testing.assert_allclose(first.scale, [1.875, 1.875])
    np.testing.assert_allclose(first.joints[8], [99, 59])
    np.testing.assert_allclose(absent.center, [-2, 89])  # HRNet leaves a center of -1 unmoved and ungrown
    np.testing.assert_allclose(absent.scale, [1.5, 1.5])
    assert [p.image_id for p in data.persons] == [0, 0, 1] and len(data.images) == 2
    assert data.metric == "pckh" and data.coco_gt is None


def test_head_size_from_joints(mpii_root):
    data = load_mpii(DataSource(mpii_root, "valid"))
    assert data.head_source == "neck and head-top joints"
    # The joints lie 40 px apart, 0.8 of the head box's diagonal of 50 px; PCKh's length is 0.6 of that.
    assert data.persons[0].head_size == pytest.approx(30.0)
    assert data.persons[1].head_size is None


def test_head_size_from_the_official_file(mpii_root):
    boxes = np.zeros((2, 2, 3))
    boxes[1] = np.array([[30, 60, 3], [40, 80, 4]])
    savemat(mpii_root / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    data = load_mpii(DataSource(mpii_root, "valid"))
    assert data.head_source == "gt_valid.mat"
    assert [p.head_size for p in data.persons] == pytest.approx([30, 60, 3])
    savemat(mpii_root / "annot" / "gt_valid.mat", {"headboxes_src": boxes[..., :2]})
    with pytest.raises(UserError, match="shape"):
        load_mpii(DataSource(mpii_root, "valid"))
    (mpii_root / "annot" / "gt_valid.mat").write_bytes(b"no matrix")
    with pytest.raises(UserError, match="gt_valid.mat"):
        load_mpii(DataSource(mpii_root, "valid"))
    with pytest.raises(UserError, match="other.mat"):
        load_mpii(DataSource(mpii_root, "valid", head_file="other.mat"))


@pytest.mark.parametrize(("aspect", "scale"), [(0.75, (1.875, 2.5)), (4 / 3, (2.5, 1.875))])
def test_other_aspects_keep_the_square_inside(mpii_root, aspect, scale):
    np.testing.assert_allclose(load_mpii(DataSource(mpii_root, "valid"), aspect).persons[0].scale, scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": [[1, 2]] * 15}, "16 points"),
        ({"joints": [[1, 2, 3]] * 16}, "2 numbers"),
        ({"joints_vis": [2] * 16}, "0 or 1"),
        ({"scale": 0}, "positive scale"),
        ({"center": None}, "center"),
        ({"image": ""}, "file name"),
    ],
)
def test_unusable_rows(mpii_root, change, message):
    path = mpii_root / "annot" / "valid.json"
    rows = json.loads(path.read_text())
    rows[1] |= change
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=message):
        load_mpii(DataSource(mpii_root, "valid"))


def test_real_sample(real_data):
    data = load_mpii(DataSource(real_data / "mpii-sample", "valid"))
    assert len(data.persons) == 5 and all(p.head_size > 40 for p in data.persons)
    # Published head boxes have corners on whole pixels: their squared diagonals are whole numbers.
    diagonals = np.array([p.head_size / 0.6 for p in data.persons])
    np.testing.assert_allclose(diagonals**2, np.round(diagonals**2), atol=0.05)
