"""Pictures and boxes of a user's own: turned by EXIF, boxes in another format refused."""

import json

import numpy as np
import pytest
from PIL import Image

from autopose.data.dataset import PoseDataset
from autopose.data.schema import COCO, schema_to_dict
from autopose.errors import UserError
from autopose.evaluation.user_images import read_pictures


@pytest.fixture
def folder(tmp_path):
    """One upright picture of 40x60 px, stored lying down with an EXIF orientation."""
    upright = np.random.default_rng(0).integers(0, 255, (60, 40, 3), dtype=np.uint8)
    tag = Image.Exif()
    tag[0x0112] = 6
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.rot90(upright)).save(tmp_path / "pictures" / "phone.png", exif=tag)
    Image.fromarray(upright).save(tmp_path / "pictures" / "upright.png")
    return tmp_path


def read(folder, boxes=None):
    path = None
    if boxes is not None:
        path = str(folder / "boxes.json")
        rows = [{"file_name": "phone.png", "bbox": box} for box in boxes]
        (folder / "boxes.json").write_text(json.dumps(rows))
    return read_pictures(str(folder / "pictures"), path, schema_to_dict(COCO), 0.75)


def test_a_phones_picture_is_seen_upright(folder):
    pictures = read(folder)
    assert [person.bbox.tolist() for person in pictures.persons] == [[0, 0, 40, 60]] * 2
    phone, upright = (PoseDataset(pictures, (32, 32))[n, None]["image"] for n in range(2))
    np.testing.assert_array_equal(phone.numpy(), upright.numpy())


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([[5, 5, 0, 0]], "empty"),
        ([[30, 30, -10, -10]], "negative"),
        ([[10, 30, 38, 58]], "two corners"),
        ([[0.1, 0.2, 0.5, 0.6]], "normalised"),
        ([[5, 5, float("nan"), 3]], "finite"),
    ],
)
def test_boxes_that_are_none(folder, boxes, said):
    with pytest.raises(UserError, match=f"boxes.json.*{said}"):
        read(folder, boxes)


def test_boxes_are_in_px_of_the_upright_picture(folder):
    assert read(folder, [[5, 20, 30, 38]]).persons[0].bbox.tolist() == [5, 20, 30, 38]
