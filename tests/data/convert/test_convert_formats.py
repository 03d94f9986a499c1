"""Every format keeps every label to 1e-3 px, and its own boxes, visibility, splits and mirror pairs."""

import numpy as np
import pytest
from scipy.io import savemat

from autopose.data.coco import load_coco
from autopose.data.convert.formats import FORMATS, recognise
from autopose.data.convert.labels import ReadOptions
from autopose.data.convert.yolo import _layout
from autopose.data.records import DataSource
from autopose.data.schema import COCO, MPII
from tests.data.convert import foreign

# Writer, format it must be recognised as, animals a picture, whether it stores hidden joints, and boxes.
CASES = {
    "yolo": (foreign.yolo, "yolo", 1, True, True),
    "yolo two animals": (foreign.yolo, "yolo", 2, True, True),
    "yolo without visibility": (lambda root, t: foreign.yolo(root, t, 2), "yolo", 1, False, True),
    "deeplabcut": (foreign.deeplabcut, "deeplabcut", 1, False, False),
    "deeplabcut, path in three cells": (lambda r, t: foreign.deeplabcut(r, t, cells=3), "deeplabcut", 1, False, False),
    "deeplabcut, two animals": (lambda r, t: foreign.deeplabcut(r, t, True, 3), "deeplabcut", 2, False, False),
    "lightning pose": (foreign.lightning_pose, "deeplabcut", 1, False, False),
    "cvat skeletons": (foreign.cvat, "cvat", 2, True, True),
    "cvat single points": (foreign.cvat_points, "cvat", 2, True, True),
    "label studio": (foreign.label_studio, "label_studio", 2, False, True),
    "labelme": (foreign.labelme, "labelme", 2, True, True),
    "table": (foreign.plain_table, "csv", 2, True, True),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_are_kept_to_a_thousandth_of_a_pixel(case, tmp_path, converted):
    write, name, people, hidden, boxed = CASES[case]
    truth = foreign.draw_truth(people=people)
    source = write(tmp_path / "source", truth)
    assert recognise(source) == name
    done, found, category = converted(source)
    assert not done.problems.count and set(found) == set(truth)
    order = [category["keypoints"].index(joint) for joint in foreign.JOINTS]
    for file, (size, animals) in truth.items():
        assert found[file]["size"] == size and len(found[file]["people"]) == len(animals)
        for animal, (joints, visible, bbox, area) in zip(animals, found[file]["people"], strict=True):
            labelled = animal.visible > 0
            assert np.abs(joints[order] - animal.joints)[labelled].max() < 1e-3
            np.testing.assert_array_equal(visible[order], animal.visible if hidden else 2 * labelled)
            assert (joints[order][~labelled] == 0).all() and area > 0
            if boxed:
                np.testing.assert_allclose(bbox, animal.box, atol=1e-3)
    assert {tuple(sorted(pair)) for pair in category["flip_pairs"]} == {tuple(sorted((order[1], order[2])))}


@pytest.mark.parametrize("case", CASES)
def test_the_written_set_loads(case, tmp_path, converted):
    write, _, people, *_ = CASES[case]
    done, found, _ = converted(write(tmp_path / "source", foreign.draw_truth(people=people)))
    loaded = [load_coco(DataSource(done.folder, split)) for split in ("train", "val")]
    assert sum(len(part.persons) for part in loaded) == sum(len(f["people"]) for f in found.values())
    assert loaded[0].schema == loaded[1].schema and len(loaded[0].schema.sigmas) == 5


def test_every_format_has_a_case():
    assert {name for _, name, *_ in CASES.values()} | {"mpii"} == set(FORMATS)


def test_splits_of_yolo_are_kept(tmp_path, converted):
    _, found, _ = converted(foreign.yolo(tmp_path / "source", foreign.draw_truth()))
    assert [found[f"picture_{n}.png"]["split"] for n in range(5)] == ["val"] * 3 + ["train"] * 2


@pytest.mark.parametrize("write", [foreign.deeplabcut, foreign.cvat])
def test_bones_come_along(write, tmp_path, converted):
    _, _, category = converted(write(tmp_path / "source", foreign.draw_truth()))
    names = category["keypoints"]
    assert [[names[end - 1] for end in bone] for bone in category["skeleton"]] == [["nose", "tail"]]


def test_seventeen_joints_with_cocos_mirror_order_are_cocos():
    config = {"kpt_shape": [17, 3], "flip_idx": list(COCO.flip_order), "names": ["person"]}
    assert _layout(config, None, ReadOptions()).joints == COCO.joints


def mpii_file(root, truth):
    """MPII's structure with one joint hidden and one without is_visible; a test picture and an unlabelled person."""
    foreign.write_pictures(root / "images", truth)
    rng = np.random.default_rng(3)
    images, joints = [], {}
    for file, ((width, height), _) in truth.items():
        places = rng.uniform(2, (width, height), (16, 2))
        joints[file] = places
        points = [
            {"x": x + 1, "y": y + 1, "id": k, "is_visible": np.empty(0) if k in (8, 9) else int(k != 3)}
            for k, (x, y) in enumerate(places.tolist())
        ]
        person = {"x1": 1, "y1": 1, "x2": 9, "y2": 9, "scale": 0.4, "objpos": {"x": 41.0, "y": 31.0}}
        people = [person | {"annopoints": {"point": points}}, person | {"annopoints": np.empty(0)}]
        images.append({"image": {"name": file}, "annorect": people})
    images.append({"image": {"name": "test.jpg"}, "annorect": np.empty(0)})
    release = {"annolist": images, "img_train": [1] * len(truth) + [0]}
    savemat(root / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    return joints, MPII


def test_mpii_counts_from_zero_and_keeps_hidden_joints(tmp_path, converted):
    truth = foreign.draw_truth(count=4)
    (tmp_path / "source").mkdir()
    joints, schema = mpii_file(tmp_path / "source", truth)
    done, found, category = converted(tmp_path / "source")
    assert category["keypoints"] == list(schema.joints) and not done.problems.count and set(found) == set(truth)
    for file, places in joints.items():
        (person,) = found[file]["people"]
        np.testing.assert_allclose(person[0], places, atol=1e-3)
        assert person[1].tolist() == [2, 2, 2, 1] + [2] * 12
        np.testing.assert_allclose(person[2], [0, -10, 80, 80], atol=1e-9)
