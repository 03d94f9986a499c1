"""Runs side by side: what is put beside what, and which differences are said."""

import json
import shutil

import numpy as np
import pytest

from autopose.compare import main
from autopose.errors import UserError
from autopose.evaluation.scoring import Score
from autopose.report.comparison import differences, read_runs, write_comparison
from autopose.report.summary import save_summary
from autopose.runs.clock import Clock
from tests.report.test_page import Tags


def make_run(
    folder, name="quick", score=0.5, constant=0.2, protocol=None, counts=None, size="1.0 GMACs (10^9)", **facts
):
    folder.mkdir()
    protocol = {"metric": "OKS-AP, as ever", "boxes": "ground truth", **(protocol or {})}
    found = Score({"AP": score}, counts or {"images": 3}, protocol, (("AP", "AP"),), {"AP": constant})
    save_summary(
        folder, "train", name, "python", Clock().report(), title="t", headline={},
        facts={"network": size, "data set": "coco /a", **facts}, scores=[found] if score is not None else [],
    )  # fmt: skip
    rows = [{"epoch": n, "loss": 1.0 / (n + 1), "metrics": {"AP": score}} for n in range(3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_equal_runs_differ_in_nothing_and_their_constant_pose_stands_once(tmp_path):
    folders = [make_run(tmp_path / name, score=value) for name, value in (("a", 0.25), ("b", float("nan")))]
    assert "can be compared" in differences(read_runs(folders))[0]
    write_comparison(folders, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    timed = make_run(tmp_path / "2026-11-29_12-00-00")
    assert [run.label for run in read_runs([folders[0], timed])] == ["A a", "B quick"]
    assert "<td>A a</td><td class=number>0.250</td>" in text and "<td>B b</td><td class=number>n/a</td>" in text
    assert text.count("<td>constant pose") == 1
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG") and "http" not in text


def test_every_difference_is_said(tmp_path):
    a = make_run(tmp_path / "a")
    other = {"boxes": "detections"}
    b = make_run(tmp_path / "b", "<b>", 0.4, 0.1, other, {"images": 9}, "2.0 GMACs", **{"data set": "coco /b"})
    c = make_run(tmp_path / "c", score=None)
    said = " ".join(differences(read_runs([a, b, c])))
    for words in (
        "different data sets: A a: coco /a; B <b>: coco /b", "A a: 3 images; B <b>: 9 images",
        "differs in boxes: A a: ground truth; B <b>: detections", "B <b>: 2.0 GMACs", "scored by C c",
    ):  # fmt: skip
        assert words in said
    assert "differs in metric" not in said
    write_comparison([a, b, c], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<b>:" not in text and text.count("constant pose of") == 2


def test_the_curves_of_all_runs_are_in_the_picture(tmp_path):
    from matplotlib.image import imread

    from autopose.report.comparison_figure import COLOURS, draw_comparison

    folders = [make_run(tmp_path / name) for name in "ab"]
    draw_comparison(read_runs(folders), [], tmp_path / "x.png")
    shown = (imread(tmp_path / "x.png")[..., :3] * 255).round().astype(int)
    for colour in COLOURS[:2]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        present = (np.abs(shown - rgb).max(-1) <= 2).any()
        assert present or colour == COLOURS[0]  # equal runs: the second's curve lies over the first's
    for folder in folders:
        (folder / "metrics.jsonl").unlink()
    draw_comparison(read_runs(folders), [], tmp_path / "empty.png")


def test_mistakes_are_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a = make_run(tmp_path / "a")
    shutil.copytree(a, tmp_path / "b")
    (tmp_path / "empty").mkdir()
    for arguments, said in (
        (["a"], "2 to 26 runs"), (["a", "a"], "given twice"), (["a", "empty"], "no run.json"),
        (["a", "b", "out=x.png"], "end in .html"),
    ):  # fmt: skip
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not list(tmp_path.glob("*.html")) and main(["a", "b"]) == 0
    assert (tmp_path / "comparison.html").exists() and main([]) == 2
    (tmp_path / "b" / "metrics.jsonl").write_text("{oops")
    with pytest.raises(UserError, match="cannot read"):
        read_runs([a, tmp_path / "b"])


def test_a_mistyped_key_is_no_folder(capsys):
    assert main(["a", "b", "ou=page.html"]) == 2
    assert "unknown key 'ou': did you mean out?" in capsys.readouterr().err
