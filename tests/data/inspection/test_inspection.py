"""The check finds what was broken on purpose, keeps quiet otherwise, and its sheet shows the joints."""

import json
import shlex

import cv2
import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_module
from PIL import Image

from autopose.config import from_hydra
from autopose.config.quoting import prepared, shell_command
from autopose.data.__main__ import main
from autopose.data.coco import load_coco
from autopose.data.inspection.command import located, search_arguments
from autopose.data.inspection.sheet import draw_sheet, hues
from autopose.data.inspection.sizes import body_sizes, histogram, recommended_input
from autopose.data.inspection.views import mirrored_share, seen_from_one_side
from autopose.data.records import DataSource, Person
from autopose.data.schema import KeypointSchema

JOINTS = ["nose", "left_ear", "right_ear", "tail"]


def write_set(root, count=6, size=(120, 90), **category):
    """Two splits with one animal a picture on grey; joints on a line from (20, 20) to (80, 60)."""
    rng = np.random.default_rng(0)
    described = {"id": 1, "name": "mouse", "keypoints": JOINTS, "skeleton": [[1, 4]], "sigmas": [0.05] * 4} | category
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        (root / "annotations").mkdir(exist_ok=True)
        images, annotations = [], []
        for n in range(count):
            picture = np.full((size[1], size[0], 3), 128, np.uint8) + rng.integers(
                0, 9, (size[1], size[0], 3), np.uint8
            )
            cv2.imwrite(str(root / split / f"{n}.png"), picture)
            images.append({"id": n, "file_name": f"{n}.png", "width": size[0], "height": size[1]})
            keypoints = [20, 20, 2, 40, 33, 2, 60, 47, 2, 80, 60, 2]
            row = {"id": n + 1, "image_id": n, "category_id": 1, "iscrowd": 0, "bbox": [10, 10, 80, 60]}
            annotations.append(row | {"area": 2544.0, "keypoints": keypoints, "num_keypoints": 4})
        document = {"images": images, "annotations": annotations, "categories": [described]}
        (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(document))
    return root


def check(root, capsys, tmp_path, *keys):
    code = main(["check", f"data.root={root}", f"sheet={tmp_path / 'sheet.png'}", *keys])
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    return code, output.out, output.err


def change(root, split, edit):
    path = root / "annotations" / f"person_keypoints_{split}.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def test_a_sound_set(tmp_path, capsys):
    code, text, _ = check(write_set(tmp_path / "set"), capsys, tmp_path)
    assert code == 0 and "WRONG" not in text
    for expected in (
        "6 pictures, 6 people with 24 labelled joints (0 hidden)",
        "left_ear - right_ear",
        "120x90 (12) px",
        "no picture is in two splits",
        "joints span 60 px in the median",
        "All sigmas are 0.05, which looks guessed",
        "experiment=own",
    ):
        assert expected in text
    config = yaml.safe_load(text.partition("or as keys:\n")[2].partition("\n\nnext")[0])
    assert config["kind"] == "coco" and all(side % 32 == 0 for side in config["image_size"])
    assert (tmp_path / "sheet.png").is_file()


BROKEN = {
    "a picture in two splits": (
        lambda root: (root / "val" / "0.png").write_bytes((root / "train" / "3.png").read_bytes()),
        "Pictures in two splits: 1 (",
    ),
    "a cut-off picture": (
        lambda root: (root / "val" / "0.png").write_bytes((root / "val" / "0.png").read_bytes()[:900]),
        "Pictures that cannot be used: 1; the picture",
    ),
    "a missing picture": (lambda root: (root / "val" / "0.png").unlink(), "missing"),
    "another size": (
        lambda root: cv2.imwrite(str(root / "val" / "0.png"), np.zeros((50, 60, 3), np.uint8)),
        "is 60x50, annotated 120x90",
    ),
    "boxes as corners": (
        lambda root: change(root, "train", lambda d: [a.update(bbox=[70, 50, 50, 40]) for a in d["annotations"]]),
        "6 of 12 boxes do not hold their own joints",
    ),
    "other joints": (
        lambda root: change(root, "val", lambda d: d["categories"][0].update(keypoints=[*JOINTS[:3], "rump"])),
        "joints of val are others",
    ),
    "no validation": (
        lambda root: (root / "annotations" / "person_keypoints_val.json").unlink(),
        "The split val cannot be used",
    ),
}

NOBODYS = ([10, 10, 0, 0], [9000, 9000, 50, 50])


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_is_found_and_said(what, tmp_path, capsys):
    damage, expected = BROKEN[what]
    root = write_set(tmp_path / "set")
    damage(root)
    code, text, _ = check(root, capsys, tmp_path)
    (line,) = [line for line in text.splitlines() if line.startswith("WRONG")]
    assert code == 1 and expected in line


def test_notes_do_not_fail_a_set(tmp_path, capsys):
    root = write_set(tmp_path / "set", flip_pairs=[])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(root / "train" / "2.png").save(root / "train" / "2.png", exif=exif)
    change(root, "val", lambda d: [a["keypoints"].__setitem__(slice(9, 12), [0, 0, 0]) for a in d["annotations"]])
    code, text, _ = check(root, capsys, tmp_path)
    assert code == 0
    change(root, "train", lambda d: [d["annotations"][n].update(bbox=box) for n, box in enumerate(NOBODYS)])
    code, text, _ = check(root, capsys, tmp_path)
    assert code == 0 and "train: 2 of 6 labelled people are left out (annotation 1, 2): their box is empty or" in text
    for expected in ("No mirror pairs", "1 pictures are turned by their EXIF tag", "Never labelled in val: tail"):
        assert expected in text


def test_a_picture_labelled_as_shown_is_drawn_as_shown(tmp_path, capsys):
    """Turned by EXIF and annotated at its shown size, a set looks on its sheet as the upright one does."""
    sheets = []
    for name, orientation in (("upright", 1), ("turned", 6)):
        root = write_set(tmp_path / name, size=(90, 120))
        exif = Image.Exif()
        exif[0x0112] = orientation
        for path in root.rglob("*.png"):
            shown = Image.open(path)
            stored = shown.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else shown
            stored.save(path, exif=exif)
        code, text, _ = check(root, capsys, tmp_path)
        assert code == 0 and ("12 pictures carry a turn" in text) == (orientation == 6)
        sheets.append(cv2.imread(str(tmp_path / "sheet.png")))
    assert np.array_equal(*sheets)


def test_a_turn_that_sizes_do_not_explain_is_wrong(tmp_path, capsys):
    root = write_set(tmp_path / "set")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(root / "train" / "2.png").save(root / "train" / "2.png", exif=exif)
    code, text, _ = check(root, capsys, tmp_path)
    assert code == 1 and "say data.exif=turn or data.exif=ignore" in text
    assert check(root, capsys, tmp_path, "data.exif=ignore")[0] == 0


def test_keys_of_the_datasets_are_accepted(tmp_path, capsys):
    root = write_set(tmp_path / "set")
    (root / "annotations" / "person_keypoints_val.json").rename(root / "mine.json")
    code, text, _ = check(root, capsys, tmp_path, "data.val_annotations=mine.json", "data.val_images=val", "seed=3")
    assert code == 0 and "data.val_annotations=mine.json" in text


def test_refusals(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for keys in (
        ["data.root=/nowhere"],
        [],
        [f"data.root={tmp_path / 'empty'}"],
        [f"data.root={tmp_path}", "data.colour=red"],
        [f"data.root={tmp_path}", "data.kind=voc"],
        [f"data.root={tmp_path}", "data.image_size=3"],
    ):
        assert main(["check", *keys]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1


def test_a_folder_of_another_tool_is_sent_to_convert(real_data, capsys):
    assert main(["check", f"data.root={real_data / 'lab-openfield'}"]) == 2
    assert "convert it first" in capsys.readouterr().err


def test_real_sets(real_data, tmp_path, capsys):
    code, text, _ = check(real_data / "coco-mini", capsys, tmp_path)
    assert code == 0 and "data.train_split=train2017" in text and "19 bones" in text
    code, text, _ = check(real_data / "mpii-sample", capsys, tmp_path)
    assert code == 1 and "The split train cannot be used" in text and "kind: mpii" in text and "(0 hidden)" in text


def test_the_sheet_shows_each_joint_in_its_colour_at_its_place(tmp_path):
    root = write_set(tmp_path / "set", count=16)
    splits = {name: load_coco(DataSource(root, name)) for name in ("train", "val")}
    assert draw_sheet(splits, tmp_path / "sheet.png") == 16
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1].astype(int)
    for colour in hues(4):
        tiles = sheet[:342, :320]
        assert (np.abs(tiles - colour).max(axis=2) < 12).sum() > 10
    nose, tail = (np.argwhere(np.abs(sheet[:342, :320] - hues(4)[k]).max(axis=2) < 12).mean(0) for k in (0, 3))
    # Joints (20, 20) and (80, 60) of a picture of 120 px in a tile of 304 px.
    np.testing.assert_allclose((tail - nose)[::-1], np.array([60, 40]) * 304 / 120, atol=2)


def person(joints, bbox):
    joints = np.array(joints, dtype=float)
    rest = (np.zeros(2), np.ones(2), joints, np.full(len(joints), 2, np.uint8), np.array(bbox, float), 1.0)
    return Person("", 0, 0, *rest)


@pytest.mark.parametrize("bbox, expected", [((0, 0, 640, 480), 4 / 3), ((0, 0, 100, 200), 0.5), ((5, 5, 90, 95), 1.0)])
def test_the_recommended_input_has_the_boxes_aspect_and_no_more_px_than_the_crops(bbox, expected):
    (width, height), why = recommended_input([person([(10, 10), (40, 50)], bbox)] * 3)
    assert width / height == pytest.approx(expected, rel=0.15) and width % 32 == height % 32 == 0
    assert max(width, height) <= max(1.25 * max(bbox[2:]) + 16, 64) and f"{width}x{height}" in why


def test_a_larger_body_needs_fewer_px():
    small, large = (
        recommended_input([person([(0, 0), (side, side)], (0, 0, 640, 480))] * 500)[0] for side in (60, 400)
    )
    assert small[0] > large[0]


def test_few_people_begin_with_the_smaller_input():
    mouse = person([(100, 100), (180, 180)], (0, 0, 640, 480))
    (few, why), (many, _) = (recommended_input([mouse] * count) for count in (100, 1000))
    assert few == (256, 192) and many == (384, 288)
    assert why.startswith("256x192: ") and "384x288 has cells of" in why and "with 100 people" in why


def test_the_histogram_counts_everybody():
    people = [person([(0, 0), (side, 5)], (0, 0, 9, 9)) for side in (10, 11, 12, 50, 200)]
    assert sum(int(line.rsplit(maxsplit=1)[-1]) for line in histogram(body_sizes(people))) == 5
    assert histogram(np.array([])) == []


def composed_next(given, understood, people):
    """The configuration of the command that a check ends with."""
    command = shell_command("autopose.search", search_arguments(given, understood, people))
    with initialize_config_module("autopose.configs", version_base="1.3"):
        return from_hydra(compose("search", prepared(shlex.split(command)[3:], sweeping=False)))


def test_the_next_command_composes_into_the_same_keys(tmp_path):
    given = {"kind": "coco", "root": "/a b,c", "joints": ["x", "y"]}
    config = composed_next(given, {"image_size": [128, 96], "augmentation": "fixed_view"}, 900)
    assert (config.name, config.data.kind, config.data.root, config.data.joints) == (
        "own",
        "coco",
        "/a b,c",
        ["x", "y"],
    )
    assert (config.data.image_size, config.search.image_size) == ([128, 96], [64, 48])
    assert (config.data.augmentation, config.evaluate.flip_test) == ("fixed_view", False)
    assert (config.train.epochs, config.train.milestones, config.train.evaluate_every) == (27, [20, 25], 4)
    size = {"image_size": [256, 256]}
    assert [key for key, _ in search_arguments({"kind": "coco"}, size, 90)] == [
        "experiment",
        "data.image_size",
        "search.image_size",
    ]
    assert search_arguments({"kind": "mpii"}, size, 10**5)[:2] == [("experiment", "coco"), ("data", "mpii")]
    assert search_arguments({"kind": "coco"}, size, 10**5)[1] == ("data", "keypoints")
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot" / "valid.json").write_text("[]")
    assert located(tmp_path)["kind"] == "mpii"


def test_few_people_in_mpiis_form_are_searched_as_a_set_of_ones_own():
    given = {"kind": "mpii", "train_split": "train", "val_split": "valid", "root": "few"}
    config = composed_next(given, {"image_size": [128, 128]}, 90)
    assert (config.name, config.data.kind, config.data.metric, config.data.val_split) == (
        "own",
        "mpii",
        "pckh",
        "valid",
    )
    assert (config.data.root, config.data.udp, config.search.image_size) == ("few", True, [64, 64])


def test_a_fixed_view_is_told_from_one_that_turns():
    """Bodies that lean a little to one side have no mirror image among them; where half are mirrored they have."""
    schema = KeypointSchema("toy", ("nose", "tail", "left", "right"), ((2, 3),), (), (0.05,) * 4)
    noise = np.random.default_rng(0).normal(0, 3, (40, 4, 2))
    points = np.array([(0, 0), (100, 20), (60, 30), (55, -5)]) + noise
    fixed = [person(body.tolist(), (0, 0, 640, 480)) for body in points]
    assert mirrored_share(fixed, schema) == 0 and seen_from_one_side(fixed, schema)
    points[::2] = (points * [-1, 1])[::2, [0, 1, 3, 2]]
    turned = [person(body.tolist(), (0, 0, 640, 480)) for body in points]
    assert mirrored_share(turned, schema) > 0.9 and not seen_from_one_side(turned, schema)
    assert mirrored_share(fixed[:10], schema) is None and not seen_from_one_side(fixed[:10], schema)
