"""What the conversion decides: splits by seed, boxes, sigmas, mirror pairs, EXIF turns."""

import json

import numpy as np
import pytest
from PIL import Image

from autopose.data.checks import read_image
from autopose.data.convert import Settings, convert
from autopose.data.convert.labels import LabelledPerson, Picture
from autopose.data.convert.sigmas import GUESSED_SIGMA, sigmas_of
from autopose.data.headers import picture_header, turn_upright
from autopose.data.names import mirror_pairs
from tests.data.convert import foreign
from tests.data.convert.foreign import read_back


def splits(found):
    return {name: entry["split"] for name, entry in found.items()}


def test_the_split_follows_the_seed_and_the_fraction(tmp_path):
    source = foreign.labelme(tmp_path / "source", foreign.draw_truth(count=20))
    drawn = []
    for n, (seed, fraction) in enumerate([(0, 0.2), (0, 0.2), (1, 0.2), (0, 0.4)]):
        done = convert(Settings(source, tmp_path / f"out{n}", seed=seed, val_fraction=fraction))
        drawn.append(splits(read_back(done.folder)))
    assert drawn[0] == drawn[1] != drawn[2]
    assert [list(d.values()).count("val") for d in drawn] == [4, 4, 4, 8]


def test_identical_pictures_stay_on_one_side(tmp_path, converted):
    source = foreign.labelme(tmp_path / "source", foreign.draw_truth(count=12))
    for n in range(4, 12):
        for suffix in (".png", ".json"):
            text = (source / f"picture_{n % 2}{suffix}").read_bytes()
            (source / f"picture_{n}{suffix}").write_bytes(text.replace(b"picture_%d" % (n % 2), b"picture_%d" % n))
    _, found, _ = converted(source, val_fraction=0.5)
    for n in range(4, 12):
        assert found[f"picture_{n}.png"]["split"] == found[f"picture_{n % 2}.png"]["split"]


def test_frames_of_a_video_are_said_to_be_neighbours_and_can_be_held_out_whole(tmp_path):
    source = foreign.deeplabcut(tmp_path / "source", foreign.draw_truth())
    done = convert(Settings(source, tmp_path / "one"))
    assert any("neighbours in training" in line for line in done.lines)
    with pytest.raises(ValueError, match="at least two"):
        convert(Settings(source, tmp_path / "two", split="folder"))
    second = source / "labeled-data" / "video2"
    second.mkdir()
    for path in (source / "labeled-data" / "video1").iterdir():
        text = path.read_bytes().replace(b"video1", b"video2") if path.suffix == ".csv" else path.read_bytes() + b"\0"
        (second / path.name).write_bytes(text)
    done = convert(Settings(source, tmp_path / "three", split="folder"))
    assert len(read_back(done.folder)) == 10  # by last name: both videos have the same frame names
    assert not any("neighbours in training" in line for line in done.lines)
    folders = [
        {name["file_name"].split("/")[0] for name in document["images"]} for document in documents(done.folder).values()
    ]
    assert sorted(map(sorted, folders)) == [["video1"], ["video2"]]


def documents(folder):
    return {path.stem: json.loads(path.read_text()) for path in (folder / "annotations").glob("*.json")}


def test_boxes_without_boxes(tmp_path):
    alone = foreign.deeplabcut(tmp_path / "alone", foreign.draw_truth())
    several = foreign.deeplabcut(tmp_path / "several", foreign.draw_truth(people=2), individuals=True)
    for n, (source, boxes, whole) in enumerate(
        [(alone, "auto", True), (alone, "joints", False), (several, "auto", False), (several, "picture", True)]
    ):
        done = convert(Settings(source, tmp_path / f"out{n}", boxes=boxes))
        for entry in read_back(done.folder).values():
            for joints, visible, bbox, area in entry["people"]:
                assert (bbox == [0, 0, *entry["size"]]) == whole
                labelled = joints[visible > 0]
                assert (labelled >= bbox[:2]).all() and (labelled <= np.add(bbox[:2], bbox[2:])).all()
                # The area is the body's whatever the box is.
                assert 0 < area < 0.53 * entry["size"][0] * entry["size"][1] + 1


def test_sigmas_are_those_that_drew_the_repeated_labels():
    rng = np.random.default_rng(0)
    truth = np.array([[50.0, 50.0], [70.0, 40.0], [20.0, 20.0]])
    wanted, area = np.array([0.03, 0.1]), 900.0
    pictures, visible = [], np.array([2, 2, 0])
    for _ in range(4000):
        # E[d^2] = sigma^2 * area: each axis has half of it.
        labels = [truth.copy() for _ in range(3)]
        for joints in labels:
            joints[:2] += rng.normal(size=(2, 2)) * (wanted * np.sqrt(area / 2))[:, None]
        person = LabelledPerson(labels[0], visible, None, tuple((joints, visible) for joints in labels[1:]))
        pictures.append(Picture(None, "", (person,)))
    sigmas, words = sigmas_of(("tip", "nose", "left_ear"), pictures, [[area]] * len(pictures))
    np.testing.assert_allclose(sigmas[:2], wanted, rtol=0.03)
    assert sigmas[2] == 0.035 and "2 estimated" in words and "1 as published" in words


def test_sigmas_are_guessed_and_said_so_without_repeats(tmp_path, converted):
    done, _, category = converted(foreign.labelme(tmp_path / "source", foreign.draw_truth()))
    assert category["sigmas"][category["keypoints"].index("tail")] == GUESSED_SIGMA
    assert any("guessed" in line for line in done.lines)


def test_a_mouses_ear_is_no_mans():
    assert sigmas_of(("snout", "leftear", "rightear", "tailbase"), [], [])[0] == (GUESSED_SIGMA,) * 4
    sigmas, words = sigmas_of(("nose", "left_ear", "right_ear", "tail"), [], [])
    assert sigmas == (0.026, 0.035, 0.035, GUESSED_SIGMA) and "3 as published" in words and "1 guessed" in words


def test_a_second_annotation_counts_as_repeated_labels(tmp_path, converted):
    source = foreign.label_studio(tmp_path / "source", foreign.draw_truth(count=40), repeats=1.0)
    done, found, category = converted(source)
    assert any("5 estimated" in line for line in done.lines)
    areas = [person[3] for entry in found.values() for person in entry["people"]]
    # d^2 / area with one label exact and one off by a px an axis: E = 2 / 2 = 1 px^2.
    expected = np.sqrt(np.mean(1 / np.array(areas)))
    np.testing.assert_allclose(category["sigmas"], expected, rtol=0.4)


def test_a_second_scorer_counts_as_repeated_labels(tmp_path, converted):
    truth = foreign.draw_truth(count=12)
    foreign.deeplabcut(tmp_path / "source", truth, scorer="Zoe")
    source = foreign.deeplabcut(tmp_path / "source", truth, scorer="Ann")
    done, found, category = converted(source)
    assert len(found) == 12 and any("estimated from people labelled more than once" in line for line in done.lines)
    assert category["sigmas"][0] == 0.005


PAIRS = {
    ("left_ear", "right_ear", "nose"): [(0, 1)],
    ("leftear", "rightear", "snout"): [(0, 1)],
    ("earL", "earR", "tail"): [(0, 1)],
    ("EarLeft", "EarRight"): [(0, 1)],
    ("tip", "L_paw", "R_paw"): [(1, 2)],
    ("paw_r", "paw_l", "tailBase"): [(0, 1)],
    ("left_ear", "tail"): [],
    ("paw1LH", "paw4RH"): [(0, 1)],
    ("leg", "rump", "collar"): [],
}


@pytest.mark.parametrize("joints", PAIRS)
def test_mirror_pairs_by_name(joints):
    assert list(mirror_pairs(joints)[0]) == PAIRS[joints]


def test_given_pairs_sigmas_and_joints_win(tmp_path, converted):
    source = foreign.labelme(tmp_path / "source", foreign.draw_truth())
    joints = ("tail", "nose", "left_ear")
    _, _, category = converted(source, joints=joints, flip_pairs=(), sigmas=(0.1, 0.2, 0.3), category="mouse")
    assert (category["keypoints"], category["flip_pairs"]) == (list(joints), [])
    assert (category["sigmas"], category["name"]) == ([0.1, 0.2, 0.3], "mouse")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_turned_pictures_become_upright_with_labels_where_they_were_seen(orientation, suffix, tmp_path):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[5:12, 8:20] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "source").mkdir()
    for n in range(4):
        path = tmp_path / "source" / f"p{n}.{suffix}"
        Image.fromarray(stored + np.uint8(n)).save(path, exif=exif, quality=95)
    assert picture_header(path.read_bytes()) == (60, 40, orientation)
    shown = turn_upright(stored, orientation)
    rows, columns = np.nonzero(shown[..., 0] > 128)
    x, y = columns.mean(), rows.mean()
    lines = ["file,tip_x,tip_y"] + [f"p{n}.{suffix},{x},{y}" for n in range(4)]
    (tmp_path / "source" / "labels.csv").write_text("\n".join(lines))
    done = convert(Settings(tmp_path / "source" / "labels.csv", tmp_path / "out"))
    assert any("EXIF turn: written upright" in line for line in done.lines) == (orientation != 1)
    written = read_image(tmp_path / "out" / "images" / f"p0.{suffix}")
    assert written.shape == shown.shape
    assert written[round(y), round(x), 0] > 200 and np.abs(written.astype(int) - shown).max() < 80


def test_linked_pictures(tmp_path, converted):
    done, found, _ = converted(foreign.labelme(tmp_path / "source", foreign.draw_truth()), link=True)
    assert all(path.is_symlink() for path in (done.folder / "images").iterdir()) and len(found) == 10


def test_real_deeplabcut_project(real_data, converted):
    done, found, category = converted(real_data / "lab-openfield")
    assert len(found) == 116 and not done.problems.count
    np.testing.assert_allclose(found["img0000.png"]["people"][0][0][0], [21.521, 265.428], atol=1e-3)
    assert category["flip_pairs"] == [[1, 2]]


def test_real_lightning_pose_table(real_data, converted):
    done, found, _ = converted(real_data / "lab-mirror-mouse" / "CollectedData.csv")
    assert len(found) == 90 and not done.problems.count
    joints, visible, *_ = found["img01.png"]["people"][0]
    np.testing.assert_allclose(joints[1], [253.5, 101.900392541708], atol=1e-3)
    assert visible[4] == 0 and visible[0] == 2
