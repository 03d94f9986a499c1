"""The page of a run: whole, self-contained, and of any width."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from autopose.data.inspection.sheet import hues
from autopose.data.records import Person
from autopose.data.schema import COCO
from autopose.errors import UserError
from autopose.evaluation.scoring import Score
from autopose.report import page
from autopose.report.__main__ import main
from autopose.report.contact_sheet import CELL, contact_sheet, rank
from autopose.report.curves import draw_training_curves
from autopose.report.run_page import write_run_page
from autopose.report.summary import save_summary
from autopose.runs.clock import Clock

NAME = '<b>&"{name} '
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Tags(HTMLParser):
    """Opened tags and their attributes; an end tag must close the last one opened."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def folder(tmp_path) -> Path:
    """A training that ended, with names that HTML must escape and a line as long as they get."""
    draw_training_curves([{"epoch": 0, "loss": 1.0, "lr": 0.1}], tmp_path / "training_curves.png")
    columns = tuple((name, name) for name in ("AP", *"abcdefghijkl"))
    metrics = {name: 0.5 for name, _ in columns} | {"AP": float("nan"), "left_hip": 25.0}
    score = Score(metrics, {"images": 3}, {"metric": "OKS-AP, as ever", "boxes": NAME}, columns)
    save_summary(
        tmp_path, "train", NAME, "python -m autopose.train " + "x" * 300, Clock().report(), title=f"A network {NAME}",
        headline={"AP": "n/a"}, facts={"file": "/very/long/" * 30}, scores=[score], joints=["left_hip"],
        tables=[{"title": "t", "header": ["h"], "rows": [[NAME]]}],
        figures={"training_curves.png": "The training.", "missing.png": "not there"}, next_command="next 'one'",
    )  # fmt: skip
    return tmp_path


def test_the_page_holds_everything_and_needs_nothing(folder):
    write_run_page([folder], folder / "report.html")
    text = (folder / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    sources = [attrs[key] for _, attrs in tags.seen for key in ("src", "href") if key in attrs]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    assert not re.search(r"https?://|@import|url\(", text)
    assert NAME not in text and "&lt;b&gt;&amp;&quot;{name}" in text
    assert "n/a" in text and "25.0 %" in text and "not there" not in text


@pytest.mark.skipif(CHROMIUM is None, reason="no headless Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_in_a_real_browser(folder, width):
    write_run_page([folder, folder], folder / "report.html")
    probe = (
        "<script>const [image, pre] = ['img', 'pre'].map(tag => document.querySelector(tag));"
        "document.title=`W${document.documentElement.scrollWidth}/${window.innerWidth} image ${image.width} "
        "command ${pre.scrollWidth}/${pre.clientWidth}`</script></body>"
    )
    probed = folder / "probed.html"
    frame = folder / "frame.html"
    probed.write_text((folder / "report.html").read_text().replace("</body>", probe))
    # Headless windows are at least 500 px wide, so the page stands in a frame of the width asked for.
    frame.write_text(
        f"<iframe id=f src=probed.html style='width:{width}px;height:900px;border:0'></iframe><script>onload=()=>"
        "{document.body.append(document.getElementById('f').contentDocument.title)}</script>"
    )
    switches = ["--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    switches += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--dump-dom"]
    command = [CHROMIUM, *switches, str(frame)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"W(\d+)/(\d+) image (\d+) command (\d+)/(\d+)", done.stdout)
    assert found, done.stderr[-500:]
    whole, inner, image, command, box = map(int, found.groups())
    assert whole <= inner == width
    assert image >= 700, "the small print of a figure cannot be read"
    assert command == box, "a command is cut"


def test_columns_of_numbers_are_set_to_the_right():
    text = page.table(["", "AP", "folder"], [["a", "0.5", "7"], ["b", "n/a", "x"]])
    assert re.findall(r"<t[hd]( class=number)?>", text) == ["", " class=number", ""] * 3
    assert "class=number" not in page.table(["", "AP"], [])


def test_a_folder_without_a_finished_run_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "has no run.json: expected the folder of a run that ended" in capsys.readouterr().err
    (tmp_path / "run.json").write_text(json.dumps({"version": 99}))
    assert main([str(tmp_path / "run.json")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'run.json'} is a file: name the folder of a run\n"
    with pytest.raises(UserError, match="is not of version 1"):
        write_run_page([tmp_path], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def person(number: int, labelled: bool = True) -> Person:
    joints = np.full((17, 2), 20.0) + np.arange(17)[:, None]
    visible = np.full(17, 2 * labelled, np.uint8)
    box = np.array([10.0, 10.0, 40.0, 40.0])
    return Person("x.png", 0, number, np.zeros(2), np.ones(2), joints, visible, box, 1600.0, 1.0)


def test_people_are_ranked_by_error_and_those_without_labels_left_out():
    persons = [person(0), person(1, labelled=False), person(2), person(3)]
    predicted = np.stack([p.joints for p in persons]) + np.array([8.0, 0, 0, 4.0])[:, None, None] * [1, 0]
    order, error = rank(persons, predicted)
    assert order.tolist() == [2, 3, 0]
    assert np.isnan(error[1]) and error[[2, 3, 0]] == pytest.approx([0, 0.1, 0.2])


def test_the_sheet_shows_each_person_once_and_paints_the_joints():
    persons = [person(n) for n in range(5)]
    predicted = np.stack([p.joints for p in persons])
    blank = np.zeros((60, 60, 3), np.uint8)
    sheet = contact_sheet(persons, predicted, COCO, lambda path: blank, columns=4, rows=2)
    cells = round((sheet == 0).all(axis=2).sum() / (CELL * CELL))
    assert 5 <= cells <= 10
    assert (sheet == [0, 114, 178]).all(axis=2).any() and (sheet == [230, 100, 0]).all(axis=2).any()
    assert contact_sheet([person(0, labelled=False)], predicted[:1], COCO, lambda path: blank) is None


def test_without_limbs_the_sheet_shows_where_the_joints_are_and_names_their_colours():
    """The box of a set without boxes is the whole picture, in which an animal may be a few px."""
    bare, joints = replace(COCO, skeleton=()), np.full((17, 2), 300.0) + np.arange(17)[:, None]
    whole = replace(person(0), joints=joints, bbox=np.array([0.0, 0, 639, 479]))
    image = np.zeros((480, 640, 3), np.uint8)
    sheet = contact_sheet([whole], joints[None] + [3, 4], bare, lambda path: image, columns=1, rows=1)
    ends = [np.argwhere((sheet == colour).all(axis=2)) for colour in (hues(17)[0], hues(17)[16])]
    assert all(len(end) for end in ends)
    inside = [end[end[:, 0] < 34 + CELL].mean(axis=0) for end in ends]
    assert np.linalg.norm(inside[1] - inside[0]) > CELL / 2
    assert all((end[:, 0] > 34 + CELL).any() for end in ends)
