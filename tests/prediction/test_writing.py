"""What is drawn over pictures, and where it is written."""

from dataclasses import replace

import numpy as np
import pytest

from autopose.data.schema import KeypointSchema
from autopose.prediction.frames import Frame
from autopose.prediction.predictor import People
from autopose.prediction.writing import Writer, drawn
from autopose.report.skeleton import LEFT, RIGHT, joint_colours

SCHEMA = KeypointSchema("toy", ("left", "right", "top"), ((0, 1),), ((0, 2), (1, 2), (0, 1)), (0.05,) * 3)


def person(*points, scores=(1.0, 1.0, 1.0)) -> People:
    joints = np.array([points], float)
    return People(joints, np.array([scores]), np.array([[10, 10, 100, 200, 1.0]]), np.ones(1))


def nobody() -> People:
    return People(np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros((0, 5)), np.zeros(0))


@pytest.mark.parametrize("shape", [(801, 573), (229, 1001)])
def test_a_picture_without_people_is_kept_pixel_by_pixel(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    np.testing.assert_array_equal(drawn(image, nobody(), SCHEMA, 0.2), image)


def test_only_sure_joints_are_drawn_coloured_by_side():
    image = np.zeros((900, 900, 3), np.uint8)
    shown = drawn(image, person((100, 100), (100, 700), (500, 400), scores=(0.9, 0.9, 0.1)), SCHEMA, 0.2)
    assert shown[380:420, 480:520].max() == 0
    assert (np.abs(shown.astype(int) - RIGHT).max(-1) < 8).any() and (
        np.abs(shown.astype(int) - LEFT).max(-1) < 8
    ).any()


def test_without_limbs_every_joint_has_a_colour_of_its_own():
    bare = replace(SCHEMA, skeleton=())
    shown = drawn(np.zeros((900, 900, 3), np.uint8), person((100, 100), (100, 700), (500, 400)), bare, 0.2).astype(int)
    for point, colour in zip(((100, 100), (100, 700), (500, 400)), joint_colours(bare), strict=True):
        assert np.abs(shown[point[1], point[0]] - colour).max() < 8
    assert len(set(joint_colours(bare))) == 3 > len(set(joint_colours(replace(SCHEMA, flip_pairs=()))))


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_limbs_stand_out_on_any_background(shade):
    image = np.full((900, 900, 3), shade, np.uint8)
    shown = drawn(image, person((60, 60), (740, 740), (60, 740)), SCHEMA, 0.2, ["12"]).astype(int)
    assert np.ptp(shown[400, 370:430].sum(-1)) > 250
    corner = shown[8:30, 8:44]
    assert np.ptp(corner.sum(-1)) > 400


def test_small_pictures_are_enlarged_and_frames_are_not():
    image = np.zeros((97, 61, 3), np.uint8)
    assert drawn(image, nobody(), SCHEMA, 0.2).shape == (97 * 8, 61 * 8, 3)
    assert drawn(image, nobody(), SCHEMA, 0.2, enlarge=False).shape == (97, 61, 3)


def test_an_error_leaves_no_half_written_results(tmp_path):
    frame = Frame("a.png", None, np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(RuntimeError), Writer(tmp_path, SCHEMA, 0.2, True, {}) as writer:
        writer.write(frame, nobody(), None)
        raise RuntimeError
    assert not (tmp_path / "results").exists() and (tmp_path / "pictures" / "a.png").is_file()


def test_no_two_sources_share_a_file(tmp_path):
    grey = np.zeros((32, 48, 3), np.uint8)
    names = ["a.bmp", "a.heic", "a.png", "a.tif", "b.avi", "b.mp4", "b.mov"]
    with Writer(tmp_path, SCHEMA, 0.2, True, {}) as writer:
        for name in names:
            writer.write(Frame(name, 0 if name[0] == "b" else None, grey, 25.0), nobody(), None)
    pictures, videos = (sorted(path.name for path in (tmp_path / kind).iterdir()) for kind in ("pictures", "videos"))
    assert pictures == ["a.bmp", "a.png", "a.tif.png", "a_.png"] and videos == ["b.mov.mp4", "b.mp4", "b_.mp4"]
