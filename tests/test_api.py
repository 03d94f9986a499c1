"""AutoPose from Python."""

import cv2
import numpy as np
import pytest
import torch

import autopose
from autopose.data.checks import read_image
from autopose.errors import UserError


@pytest.fixture(scope="module")
def model(finished):
    return autopose.load(finished["train"][0] / "checkpoints" / "last.pt", device="cpu")


@pytest.fixture(scope="module")
def picture(small_set):
    return small_set / "val" / "000000.jpg"


def test_a_picture_by_path_and_as_an_array_give_the_same_people(model, picture):
    by_path, by_array = model.predict(picture), model.predict(read_image(picture))
    assert by_path.joints.shape == (1, 17, 2) and by_path.scores.shape == (1, 17) and by_path.boxes.shape == (1, 5)
    np.testing.assert_array_equal(by_path.joints, by_array.joints)


def test_people_share_batches_and_keep_their_pictures(model, picture):
    image = read_image(picture)
    boxes = [[5, 5, 40, 50], [10, 2, 30, 60]]
    alone = [model.predict(image, boxes=[box]).joints[0] for box in boxes]
    together = model.predict_many([image, image], [boxes, None])
    np.testing.assert_allclose(together[0].joints, alone, atol=1e-4)
    assert [len(people) for people in together] == [2, 1]
    assert len(model.predict(image, boxes=[])) == 0


def test_grey_and_transparent_pictures_are_taken(model):
    grey = np.full((40, 30), 90, np.uint8)
    four = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGRA)
    np.testing.assert_array_equal(model.predict(grey).joints, model.predict(four).joints)


def test_drawing_enlarges_and_leaves_the_picture_alone(model, picture):
    image = read_image(picture)
    before = image.copy()
    drawn = model.draw(image, model.predict(image), threshold=-1.0)
    assert drawn.shape == (image.shape[0] * (800 // 64), image.shape[1] * (800 // 64), 3)
    assert np.array_equal(image, before)
    plain = model.draw(image, model.predict(image), threshold=2.0)
    assert (drawn != plain).any()


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[5, 5, -3, 4]], "negative side"),
        ([[5, 5, 0, 4]], "empty"),
        ([[900, 5, 3, 4]], "outside of the picture"),
        ([[float("nan"), 5, 3, 4]], "not finite"),
        ([[1, 2, 3]], "must be .P, 4."),
        ("x", "must be numbers"),
    ],
)
def test_boxes_that_cannot_be_used(model, picture, boxes, message):
    with pytest.raises(UserError, match=message):
        model.predict(picture, boxes=boxes)


def test_no_picture_and_no_checkpoint(model, tmp_path):
    with pytest.raises(UserError, match="uint8 RGB"):
        model.predict(np.zeros((4, 4, 3)))
    with pytest.raises(UserError, match="must have pixels"):
        model.predict(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        autopose.load(tmp_path / "none.pt")


def test_a_device_that_is_not_there(tmp_path):
    missing = [name for name in ("cuda", "mps") if not getattr(torch, name).is_available()]
    for name in missing:
        with pytest.raises(UserError, match=f"device={name} was asked for, but PyTorch sees no"):
            autopose.load(tmp_path / "none.pt", device=name)


def test_a_video_frame_by_frame(model, tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (40, 30))
    for shade in (10, 60, 110):
        video.write(np.full((30, 40, 3), shade, np.uint8))
    video.release()
    found = list(model.predict_video(tmp_path / "v.avi", smooth=True))
    assert [frame.shape for frame, _, _ in found] == [(30, 40, 3)] * 3
    assert all(people.joints.shape == (1, 17, 2) and len(numbers) == 1 for _, people, numbers in found)
    (tmp_path / "w.avi").write_bytes(b"no film")
    with pytest.raises(UserError, match="no frame that can be read"):
        list(model.predict_video(tmp_path / "w.avi"))
