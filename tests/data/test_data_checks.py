"""Bad files at the start of a run: images are named, and no JSON content escapes as anything but a UserError."""

import copy
import json
import struct
import zlib

import cv2
import numpy as np
import pytest

from autopose.data.augment import PRESETS
from autopose.data.checks import check_images, image_problem, read_image, read_json
from autopose.data.coco import load_coco
from autopose.data.dataset import PoseDataset
from autopose.data.mpii import load_mpii
from autopose.data.records import DataSource
from autopose.errors import UserError


@pytest.fixture
def picture(tmp_path):
    """Writes a noise picture and gives its path."""

    def write(name):
        path = tmp_path / name
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
        return path

    return write


def test_good_images_pass(picture):
    assert check_images([picture("a.jpg"), picture("b.png"), picture("a.jpg")]) == 2
    assert check_images([]) == 0


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.98])
def test_truncated_image(picture, name, share):
    path = picture(name)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert image_problem(path) is not None


def test_header_of_an_absurd_size(picture):
    path = picture("a.png")
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 90_000, 90_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    assert "90000x90000 px" in image_problem(path)
    with pytest.raises(UserError, match="a.png"):
        read_image(path)


def test_message_names_the_first_few(picture, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    missing = [tmp_path / f"missing{n}.jpg" for n in range(4)]
    with pytest.raises(UserError) as error:
        check_images([picture("a.jpg"), text, *missing])
    message = str(error.value)
    assert message.startswith("5 of 6 images") and "text.jpg' (not decodable)" in message
    assert "missing0.jpg' (missing)" in message and "missing3" not in message and message.endswith("and 2 more")


def test_read_image_is_rgb_and_turned_where_asked(tmp_path):
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 2] = 255
    cv2.imwrite(str(tmp_path / "red.png"), red)
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]
    cv2.imwrite(str(tmp_path / "red.jpg"), red)
    data = (tmp_path / "red.jpg").read_bytes()
    tag = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # EXIF: turn by 90 degrees
    exif = b"\xff\xe1" + (len(tag) + 8).to_bytes(2, "big") + b"Exif\0\0" + tag
    (tmp_path / "turned.jpg").write_bytes(data[:2] + exif + data[2:])
    assert cv2.imread(str(tmp_path / "turned.jpg")).shape == (60, 40, 3)
    assert read_image(tmp_path / "turned.jpg").shape == (60, 40, 3)
    assert read_image(tmp_path / "turned.jpg", upright=False).shape == (40, 60, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("more", [1, 20_000])
def test_anything_may_follow_a_picture(picture, name, more):
    path = picture(name)
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * (len(data) + more))
    assert image_problem(path) is None
    path.write_bytes(data[:-20] + b"\0" * (len(data) + more))
    assert image_problem(path) is not None


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(picture):
    path = picture("a.jpg")
    data = path.read_bytes()
    thumbnail = b"Exif\0\0" + data
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:-200])
    assert image_problem(path) == "truncated JPEG"


def test_read_image_names_the_file(tmp_path):
    with pytest.raises(UserError, match="nothing.png"):
        read_image(tmp_path / "nothing.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(UserError, match="empty.png' cannot be used: empty"):
        read_image(tmp_path / "empty.png")


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"a": 1', "nul"])
def test_read_json_refuses(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match="annotation file .*a.json"):
        read_json(tmp_path / "a.json", "annotation file")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path, "annotation file")


VALUES = (
    *(None, True, False, 0, -1, 1, 3, 10**400, 2**63, 1.5, -0.0, 1e300, float("nan"), float("inf")),
    *("", "x", "\0", "\ud800", "../../x", [], [1], [None], [[]], {}, {"id": 1}),
)


def _places(node, path=()):
    """Paths of all nodes of a JSON document."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from _places(child, (*path, key))


def _mutated(document, rng, places):
    """A copy with one to three nodes replaced, removed or repeated."""
    result = copy.deepcopy(document)
    for _ in range(rng.integers(1, 4)):
        path = places[rng.integers(len(places))]
        value = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        if not path:
            return value
        node = result
        try:
            for key in path[:-1]:
                node = node[key]
            kind = rng.integers(4)
            if kind == 0:
                del node[path[-1]]
            elif kind == 1 and isinstance(node, list):
                node.append(copy.deepcopy(node[path[-1]]))
            else:
                node[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation removed the place
    return result


def _fuzz(document, path, load, rounds):
    """Load mutated documents; gives the numbers of accepted and refused ones."""
    rng = np.random.default_rng(0)
    places = list(_places(document))
    counts = [0, 0]
    for _ in range(rounds):
        path.write_text(json.dumps(_mutated(document, rng, places)))
        try:
            load()
            counts[0] += 1
        except UserError as error:
            message = str(error)
            assert len(message) < 600 and "\n" not in message
            counts[1] += 1
    return counts


def test_fuzzed_coco(coco_root, coco_document):
    path = coco_root / "annotations" / "person_keypoints_val.json"

    def load():
        data = load_coco(DataSource(coco_root, "val"))
        dataset = PoseDataset(data, (32, 32), PRESETS["hrnet_coco"])
        for index in range(len(dataset)):
            assert dataset[index, 5]["image"].shape == (32, 32, 3)

    accepted, refused = _fuzz(coco_document, path, load, 1500)
    assert accepted > 50 and refused > 500


def test_fuzzed_detections(coco_root):
    rows = [{"image_id": n, "category_id": 1, "bbox": [1.5, 2, 30, 20], "score": 0.5} for n in (10, 11, 12)]
    source = DataSource(coco_root, "val", detection_file="boxes.json")
    accepted, refused = _fuzz(rows, coco_root / "boxes.json", lambda: load_coco(source), 500)
    assert accepted > 20 and refused > 100


def test_fuzzed_mpii(mpii_root):
    path = mpii_root / "annot" / "valid.json"
    rows = json.loads(path.read_text())
    accepted, refused = _fuzz(rows, path, lambda: load_mpii(DataSource(mpii_root, "valid")), 500)
    assert accepted > 20 and refused > 100
