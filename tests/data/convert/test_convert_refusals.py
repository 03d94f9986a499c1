"""Bad input: one sentence, the rest goes on and is counted, nothing is half-written."""

import json
import shlex

import cv2
import numpy as np
import pytest
import yaml

from autopose.data.__main__ import main
from autopose.data.convert import Settings, convert
from autopose.errors import UserError
from tests.data.convert import foreign


def refused(source, tmp_path, **settings) -> str:
    with pytest.raises(UserError) as error:
        convert(Settings(source, tmp_path / "out", **settings))
    assert not (tmp_path / "out").exists() and "\n" not in str(error.value)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".out")]
    return str(error.value)


def test_a_table_whose_pictures_are_missing(tmp_path, converted):
    source = foreign.deeplabcut(tmp_path / "source", foreign.draw_truth())
    (source / "labeled-data/video1/picture_4.png").unlink()
    done, found, _ = converted(source)
    assert len(found) == 9 and "picture_4.png" not in found
    assert "picture_4.png' is not there" in done.problems.by_kind["pictures missing"][0]


def test_no_picture_is_there_at_all(tmp_path):
    source = foreign.deeplabcut(tmp_path / "source", foreign.draw_truth())
    for path in source.glob("labeled-data/video1/*.png"):
        path.unlink()
    message = refused(source, tmp_path)
    assert "no picture with labels" in message and "(left out: pictures missing: 10, as in " in message


YOLO_ROWS = {
    "0 0.5 0.5 0.5 0.5 0.1 0.1 2": "expected 5 joints (20 values), got 8 values (1 joints)",
    "0 0.5 0.5 0.5 0.5" + " 0.1 1.7 2" * 5: "from 0 to 1, but one is 1.7",
    "0 0.5 0.5 0.5 0.5" + " nan 0.1 2" * 5: "from 0 to 1",
    "0 0.5 0.5 0.5 0.5" + " 0.1 0.1 3" * 5: "visibility must be 0, 1 or 2",
    "0 0.5 0.5 0.5 0.5" + " a 0.1 2" * 5: "no number",
}


@pytest.mark.parametrize("row", YOLO_ROWS)
def test_a_wrong_row_of_yolo_leaves_its_picture_out(row, tmp_path, converted):
    source = foreign.yolo(tmp_path / "source", foreign.draw_truth())
    (source / "train/labels/picture_7.txt").write_text(row)
    done, found, _ = converted(source)
    (sentence,) = done.problems.by_kind["pictures or labels unusable"]
    assert YOLO_ROWS[row] in sentence and "picture_7.txt', row 1" in sentence
    assert len(found) == 9 and "picture_7.png" not in found


def test_pictures_that_share_a_label(tmp_path, converted):
    source = foreign.yolo(tmp_path / "source", foreign.draw_truth())
    cv2.imwrite(str(source / "train/images/picture_7.jpg"), np.zeros((60, 80, 3), np.uint8))
    done, found, _ = converted(source)
    assert done.problems.count == 1 and len(found) == 10


def test_a_picture_twice_in_a_table(tmp_path, converted):
    source = foreign.deeplabcut(tmp_path / "source", foreign.draw_truth())
    table = source / "labeled-data/video1/CollectedData_Ann.csv"
    table.write_text(table.read_text() + "\n" + table.read_text().splitlines()[-1])
    done, found, _ = converted(source)
    assert done.problems.count == 1 and all(len(f["people"]) == 1 for f in found.values())


def test_broken_and_wrong_sized_pictures(tmp_path, converted):
    source = foreign.cvat(tmp_path / "source", foreign.draw_truth())
    folder = tmp_path / "source/images"
    whole = (folder / "picture_1.png").read_bytes()
    (folder / "picture_1.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(folder / "picture_2.png"), np.zeros((30, 30, 3), np.uint8))
    done, found, _ = converted(source)
    assert "truncated PNG" in done.problems.by_kind["pictures unusable"][0]
    assert "is 30x30 px, but was labelled at" in done.problems.by_kind["pictures of another size than labelled"][0]
    assert len(found) == 8


def test_labels_in_other_units(tmp_path):
    source = foreign.plain_table(tmp_path / "source", foreign.draw_truth())
    lines = source.read_text().splitlines()
    source.write_text("\n".join([lines[0]] + [line.split(";")[0] + ";90000;90000;2" + ";" * 16 for line in lines[1:]]))
    assert "joints outside" in refused(source, tmp_path)


BOMB = """<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<annotations><image name="&b;"/></annotations>"""
FILES = {
    "bomb.xml": (BOMB, "DOCTYPE"),
    "cut.xml": ("<annotations><image name='a.png'>", "not XML or is cut off"),
    "video.xml": ("<annotations><track id='0'/></annotations>", "format for videos"),
    "nothing.xml": ("<annotations></annotations>", "no joints"),
    "voc.xml": ("<annotation><object/></annotation>", "Pascal VOC"),
    "kpt_shape.yaml": ("kpt_shape: [3, 3\nnames: {", "not YAML at line"),
    "tagged.yaml": ("kpt_shape: !!python/object/apply:os.system ['true']", "not YAML"),
    "shape.yaml": ("kpt_shape: many", "kpt_shape must be"),
    "list.yaml": ("- kpt_shape", "must be a YAML mapping"),
    "folder.yaml": ("kpt_shape: [3, 3]\ntrain: nowhere", "'nowhere', which is not there"),
    "coco.json": ('{"images": [], "annotations": [], "categories": []}', "COCO keypoints already"),
    "other.json": ('{"a": 1}', "no labelling tool"),
    "tasks.json": ('[{"annotations": []', "not JSON or is cut off"),
    "likelihood.csv": ("scorer,a,a,a\nbodyparts,n,n,n\ncoords,x,y,likelihood\na.png,1,2,0.5", "predictions"),
    "half.csv": ("scorer,a,a\nbodyparts,n,n\na.png,1,2", "no DeepLabCut table"),
    "odd.csv": ("name,value\na,1", "header like file,nose_x"),
    "release.mat": ("MATLAB? no", "cannot be read"),
    "note.txt": ("hello", "of no format known here"),
}


@pytest.mark.parametrize("name", FILES)
def test_unusable_files_are_named_for_what_they_are(name, tmp_path):
    content, expected = FILES[name]
    (tmp_path / name).write_text(content)
    assert expected in refused(tmp_path / name, tmp_path)


def test_people_that_cannot_be_told_apart(tmp_path):
    source = foreign.labelme(tmp_path / "source", foreign.draw_truth(people=2))
    for path in source.glob("*.json"):
        document = json.loads(path.read_text())
        document["shapes"] = [
            shape | {"group_id": None} for shape in document["shapes"] if shape["shape_type"] == "point"
        ]
        path.write_text(json.dumps(document))
    assert "group the points of each person" in refused(source, tmp_path)


def test_an_existing_folder_is_not_overwritten(tmp_path, capsys):
    source = foreign.labelme(tmp_path / "source", foreign.draw_truth())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert main(["convert", f"source={source}", f"out={tmp_path / 'out'}"]) == 2
    assert "is not overwritten" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_where_too_few_pictures_are_left_the_sentence_says_why(tmp_path):
    source = foreign.labelme(tmp_path / "source", foreign.draw_truth(count=2))
    first, _ = sorted(source.glob("*.json"))
    first.write_text('{"shapes": 5, "imagePath": "x.png"}')
    message = refused(source, tmp_path)
    assert "at least two different pictures (left out: label files unreadable: 1, as in " in message
    assert "must have a list of shapes and the picture's name as imagePath)" in message


def test_a_yolo_set_without_joints_is_told_what_it_lacks(tmp_path):
    (tmp_path / "source" / "labels").mkdir(parents=True)
    (tmp_path / "source" / "labels" / "1.txt").write_text("0 .5 .5 .1 .1")
    assert "a YOLO folder without its data.yaml" in refused(tmp_path / "source", tmp_path)
    (tmp_path / "source" / "data.yaml").write_text("names: [mouse]\n")
    assert "its data.yaml has no kpt_shape" in refused(tmp_path / "source", tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    source = foreign.labelme(tmp_path / "source", foreign.draw_truth())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    assert "No space left" in refused(source, tmp_path)


def test_exit_codes(tmp_path, capsys):
    source = foreign.deeplabcut(tmp_path / "source", foreign.draw_truth())
    assert main(["convert", f"source={source}", f"out={tmp_path / 'a b'}"]) == 0
    *_, following = capsys.readouterr().out.splitlines()
    assert following.startswith("next ") and main([*shlex.split(following)[4:], f"sheet={tmp_path / 'sheet.png'}"]) == 0
    (source / "labeled-data/video1/picture_4.png").unlink()
    assert main(["convert", f"source={source}", f"out={tmp_path / 'b'}"]) == 1
    assert "1 thing was left out\npictures missing: 1\n" in capsys.readouterr().err
    assert main(["convert", f"source={source}"]) == 2
    assert main(["convert", f"source={source}", "out=x", "colour=red"]) == 2
    assert main(["convert", f"source={source}", "out=x", "val_fraction=2"]) == 2
    assert main(["convert", f"source={source}", "out=x", "format=voc"]) == 2
    assert main(["convert", f"source={tmp_path / 'nowhere'}", "out=x"]) == 2
    assert main(["turn"]) == 2 and main([]) == 2 and main(["--help"]) == 0
    output = capsys.readouterr()
    assert "Traceback" not in output.err and "unknown key 'colour': expected one of source, out" in output.err


def test_a_mistyped_key_or_command_is_told_the_nearest(capsys):
    for words, meant in (
        (["convert", "sorce=x"], "source"),
        (["check", "data.rot=x"], "data.root"),
        (["chek"], "check"),
    ):
        assert main(words) == 2 and f": did you mean {meant}?" in capsys.readouterr().err


def test_yaml_that_refers_to_itself_a_thousandfold_is_no_harm(tmp_path):
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30))
    text = "l0: &l0 [1]\n" + levels + "\nkpt_shape: *l29\n"
    (tmp_path / "data.yaml").write_text(text)
    assert yaml.safe_load(text)["kpt_shape"]
    assert "kpt_shape must be" in refused(tmp_path / "data.yaml", tmp_path)
