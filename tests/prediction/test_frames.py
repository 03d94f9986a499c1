"""Sources of pictures and videos, and what is left out of them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from autopose.errors import UserError
from autopose.prediction.frames import open_source


def write_video(path, count=5, size=(32, 24)):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, size)
    for n in range(count):
        video.write(np.full((size[1], size[0], 3), 5 * n, np.uint8))
    video.release()
    return path


def test_kinds_of_pictures_come_as_rgb_and_upright(tmp_path):
    upright = np.random.default_rng(0).integers(0, 255, (60, 40, 3), dtype=np.uint8)
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "phone.png", exif=tag)
    Image.fromarray(upright).save(tmp_path / "rgb.png")
    Image.fromarray(upright[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([upright, np.full((60, 40), 7, np.uint8)])).save(tmp_path / "rgba.png")
    Image.fromarray(upright).convert("CMYK").save(tmp_path / "cmyk.jpg")
    cv2.imwrite(str(tmp_path / "sixteen.png"), (upright[..., ::-1].astype(np.uint16) * 257))
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "iphone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    (tmp_path / "torn.png").write_bytes((tmp_path / "rgb.png").read_bytes()[:-40])
    source = open_source(str(tmp_path))
    found = {frame.name: frame.image for frame in source.frames()}
    assert all(image.shape == (60, 40, 3) and image.dtype == np.uint8 for image in found.values()) and len(found) == 6
    for name in ("phone.png", "rgb.png", "rgba.png", "sixteen.png"):
        np.testing.assert_array_equal(found[name], upright, err_msg=name)
    np.testing.assert_array_equal(found["grey.png"], np.repeat(upright[..., :1], 3, 2))
    told = dict(zip(("empty.jpg", "iphone.heic", "text.png", "torn.png"), source.problems, strict=True))
    assert all(f"{name}' cannot be used: " in problem for name, problem in told.items())
    for name, reason in (("empty", "empty"), ("iphone", "HEIC"), ("text", "not decodable"), ("torn", "truncated PNG")):
        assert any(name in problem and reason in problem for problem in source.problems)


def test_patterns_and_folders_keep_relative_names(tmp_path):
    for name in ("a/one.png", "a/b/two.png", "c/three.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert [name for name, _ in open_source(str(tmp_path)).files] == ["a/b/two.png", "a/one.png", "c/three.jpg"]
    assert [name for name, _ in open_source(f"{tmp_path}/a/**/*.png").files] == ["b/two.png", "one.png"]
    assert [name for name, _ in open_source(f"{tmp_path}/c/three.jpg").files] == ["three.jpg"]


def test_videos_come_frame_by_frame_and_broken_ones_are_told(tmp_path, capfd):
    whole = write_video(tmp_path / "whole.avi", 40)
    source = open_source(str(whole))
    frames = list(source.frames())
    assert [frame.number for frame in frames] == list(range(40)) and frames[0].rate == 10 and not source.problems
    assert len(list(open_source(str(whole)).frames(most=3))) == 3
    (tmp_path / "torn.avi").write_bytes(whole.read_bytes()[: len(whole.read_bytes()) // 2])
    torn = open_source(str(tmp_path / "torn.avi"))
    read = len(list(torn.frames()))
    assert 0 < read < 40 and ("says it has 40 frames" in torn.problems[0] if torn.problems else read > 10)
    (tmp_path / "none.mp4").write_bytes(b"\0" * 200)
    none = open_source(str(tmp_path / "none.mp4"))
    assert not list(none.frames()) and "has no frame that can be read" in none.problems[0]
    assert capfd.readouterr().err == ""


def test_nothing_there_is_one_sentence(tmp_path, capfd):
    for given, message in (
        (str(tmp_path), "no picture or video"),
        ("no/such/*.jpg", "no picture"),
        ("98", "no camera 98"),
    ):
        with pytest.raises(UserError, match=message):
            open_source(given)
    assert capfd.readouterr().err == ""
