"""Pictures against their annotated sizes: EXIF, resized and exchanged pictures."""

import cv2
import numpy as np
import pytest
from PIL import Image

from autopose.data.dataset import PoseDataset
from autopose.data.pictures import fit_pictures, read_picture
from autopose.data.records import ImageFile, Person, PoseAnnotations
from autopose.data.schema import COCO
from autopose.errors import UserError

SHOWN = np.dstack([np.tile(np.linspace(20, 230, 40), (60, 1)), np.tile(np.linspace(20, 230, 60)[:, None], 40)])
SHOWN = np.dstack([SHOWN, np.full((60, 40), 90)]).astype(np.uint8)  # 40 wide, 60 high
# What is stored for a viewer to turn it to SHOWN, by EXIF orientation.
STORED = {
    1: SHOWN, 2: SHOWN[:, ::-1], 3: SHOWN[::-1, ::-1], 4: SHOWN[::-1], 5: SHOWN.swapaxes(0, 1),
    6: SHOWN.swapaxes(0, 1)[::-1], 7: SHOWN.swapaxes(0, 1)[::-1, ::-1], 8: SHOWN.swapaxes(0, 1)[:, ::-1],
}  # fmt: skip


def write(path, orientation=1, pixels=None):
    tag = Image.Exif()
    tag[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(STORED[orientation] if pixels is None else pixels))
    picture.save(path, exif=tag, **({"quality": 98, "subsampling": 0} if path.suffix == ".jpg" else {}))
    return str(path)


def fit(files, **options):
    images = {n: file for n, file in enumerate(files)}
    return fit_pictures(images, images, **options)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_turned_upright(tmp_path, orientation, suffix):
    path = write(tmp_path / f"a.{suffix}", orientation)
    found, remarks = fit([ImageFile(path, 40, 60)], exif="turn")
    assert found[0].turned == (orientation != 1) == bool(remarks)
    error = np.abs(read_picture(found[0]).astype(int) - SHOWN)
    assert error.mean() < 3


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_annotated_size_tells_what_was_labelled(tmp_path, orientation):
    path = write(tmp_path / "a.png", orientation)
    turned, remarks = fit([ImageFile(path, 40, 60)])
    stored, nothing = fit([ImageFile(path, 60, 40)])
    assert turned[0].turned and not stored[0].turned
    assert remarks == {"pictures turned": "1 of 1 by their EXIF orientation"} and not nothing
    assert read_picture(turned[0]).shape == (60, 40, 3) and read_picture(stored[0]).shape == (40, 60, 3)


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_what_the_size_does_not_tell_the_others_do_or_the_user(tmp_path, orientation):
    unclear = ImageFile(write(tmp_path / "unclear.png", orientation), 40, 60)
    telling = write(tmp_path / "telling.png", 6)
    assert fit([unclear, ImageFile(telling, 40, 60)])[0][0].turned
    assert not fit([unclear, ImageFile(telling, 60, 40)])[0][0].turned
    with pytest.raises(UserError, match=f"1 of 1 .*unclear.png' .orientation {orientation}.*data.exif=turn"):
        fit([unclear])
    with pytest.raises(UserError, match="1 of 3"):
        fit([unclear, ImageFile(telling, 40, 60), ImageFile(telling, 60, 40)])
    assert fit([unclear], exif="turn")[0][0].turned and not fit([unclear], exif="ignore")[0][0].turned


def test_square_pictures_do_not_tell(tmp_path):
    path = write(tmp_path / "a.png", 6, SHOWN[:40])
    with pytest.raises(UserError, match="EXIF"):
        fit([ImageFile(path, 40, 40)])


def test_a_set_without_sizes_is_taken_as_stored(tmp_path):
    path = write(tmp_path / "a.png", 6)
    assert not fit([ImageFile(path)])[0][0].turned and fit([ImageFile(path)], exif="turn")[0][0].turned


def test_pictures_of_another_size_are_refused_or_resized(tmp_path):
    files = []
    for n in range(5):
        path = write(tmp_path / f"{n}.png", pixels=cv2.resize(SHOWN, (20, 30)))
        files.append(ImageFile(path, 40, 60))
    with pytest.raises(
        UserError, match=r"5 of 5 .*0.png' is 20x30 px and annotated as 40x60.*and 2 more.*rescale=true"
    ):
        fit(files)
    found, remarks = fit(files, rescale=True)
    assert remarks == {"pictures resized": "5 of 5 to their annotated size (data.rescale)"}
    picture = read_picture(found[0])
    assert picture.shape == SHOWN.shape and np.abs(picture.astype(int) - SHOWN).mean() < 4
    cut = ImageFile(write(tmp_path / "cut.png", pixels=SHOWN[:40]), 40, 60)
    with pytest.raises(UserError, match="1 of 1 .*ratio differs"):
        fit([cut], rescale=True)


def test_resized_and_turned(tmp_path):
    stored = cv2.resize(np.ascontiguousarray(STORED[6]), (30, 20))
    file = ImageFile(write(tmp_path / "a.png", 6, stored), 40, 60)
    found, remarks = fit([file], rescale=True)
    assert len(remarks) == 2 and np.abs(read_picture(found[0]).astype(int) - SHOWN).mean() < 5


def test_a_picture_that_changed_since(tmp_path):
    path = write(tmp_path / "a.png")
    found, _ = fit([ImageFile(path, 40, 60)])
    write(tmp_path / "a.png", pixels=SHOWN[:30])
    with pytest.raises(UserError, match="is 40x30 px, but is annotated as 40x60"):
        read_picture(found[0])


def test_missing_pictures_and_others_that_nobody_reads(tmp_path):
    images = {0: ImageFile(write(tmp_path / "a.png"), 40, 60), 1: ImageFile(str(tmp_path / "b.png"), 4, 4)}
    assert fit_pictures(images, [0])[0] == images
    with pytest.raises(UserError, match="b.png' cannot be read"):
        fit_pictures(images, [1])


@pytest.mark.parametrize("cache", [False, True])
def test_crops_of_a_turned_picture_equal_those_of_the_upright_one(tmp_path, cache):
    crops = []
    for orientation in (1, 6):
        path = write(tmp_path / f"{orientation}.png", orientation)
        images, _ = fit([ImageFile(path, 40, 60)])
        box = np.array([0.0, 0.0, 39.0, 59.0])
        center, scale = np.array([20.0, 30.0]), np.array([0.3, 0.4])
        person = Person(path, 0, 1, center, scale, np.ones((17, 2)), np.full(17, 2, np.uint8), box, 100.0)
        annotations = PoseAnnotations(COCO, (person,), images, None, "oks", "ground truth")
        crops.append(PoseDataset(annotations, (32, 32), cache=cache)[0, None]["image"].numpy())
    np.testing.assert_array_equal(crops[0], crops[1])
