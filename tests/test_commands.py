"""The commands on small runs, from a search to pictures, and what bad input gets."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from autopose import derive, evaluate, export, flops, predict, search, train
from autopose.command import execute
from autopose.data.synthetic.dataset import synthetic_dataset
from autopose.runs.checkpoint import read_checkpoint
from bench.small_runs import SEARCH, SIZE, TRAIN

COMMANDS = {c.__name__.rpartition(".")[2]: c.run for c in (derive, evaluate, export, flops, predict, search, train)}


def run(task, folder, *overrides):
    """Exit code of a command under the overrides."""
    size = SIZE
    # An architecture's file and a checkpoint bring their own space.
    brought = any(key.startswith("checkpoint=") or key.endswith(".json") for key in overrides)
    if task not in ("search", "train", "flops") or brought:
        size = [key for key in SIZE if not key.startswith("space.")]
    with initialize_config_module("autopose.configs", version_base="1.3"):
        composed = compose(task, [*size, *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    own = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
    return execute(COMMANDS[task], own, str(folder))


@pytest.fixture(scope="module")
def trained(finished):
    return finished["train"][0] / "checkpoints" / "last.pt"


def test_derive_writes_an_architecture(finished, small_set, tmp_path, capsys):
    checkpoint = finished["search"][0] / "checkpoints" / "last.pt"
    assert run("derive", tmp_path, f"checkpoint={checkpoint}", f"data.root={small_set}") == 0
    found, searched = (json.loads((f / "architecture.json").read_text()) for f in (tmp_path, finished["search"][0]))
    assert found["beta"] == searched["beta"] and found["cells"] == searched["cells"]
    assert "next       python -m autopose.train" in capsys.readouterr().out
    assert json.loads((tmp_path / "run.json").read_text())["task"] == "derive" and (tmp_path / "report.html").exists()


def test_evaluating_a_checkpoint_gives_the_trainings_last_numbers(finished, trained, small_set, tmp_path, capsys):
    assert run("evaluate", tmp_path, f"checkpoint={trained}", f"data.root={small_set}") == 0
    again = json.loads((tmp_path / "metrics.json").read_text())
    assert again == json.loads((finished["train"][0] / "metrics.json").read_text())
    assert {"AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"} <= set(again)
    assert "| Arch | AP | Ap .5 | AP .75 |" in capsys.readouterr().out


def test_the_table_of_an_evaluation_names_the_trained_networks_run(trained, small_set, tmp_path, capsys, monkeypatch):
    content = read_checkpoint(trained, "train")
    renamed = {**content, "config": {**content["config"], "name": "mice"}}
    monkeypatch.setattr(sys.modules["autopose.evaluate"], "read_checkpoint", lambda *arguments: renamed)
    assert run("evaluate", tmp_path, f"checkpoint={trained}", f"data.root={small_set}") == 0
    assert "| mice | " in capsys.readouterr().out


def test_an_int8_export_says_on_how_many_people_its_ranges_and_scores_rest(trained, small_set, tmp_path, capsys):
    """Eight calibrate in one batch, so 11 fill a second in part."""
    words = [f"checkpoint={trained}", f"data.root={small_set}", "export.int8=true", "export.calibration_images=11"]
    assert run("export", tmp_path, *words) == 0
    annotations = json.loads((small_set / "annotations" / "person_keypoints_val.json").read_text())["annotations"]
    labelled = sum(person["num_keypoints"] > 0 for person in annotations)
    out = capsys.readouterr().out
    assert "ranges of 11 people)" in out
    assert out.count(f"6 images, {labelled} people, ") == len(re.findall(r"^\| (float32|int8) \|", out, re.M)) > 1
    assert {"float32", "int8"} == set(json.loads((tmp_path / "int8.json").read_text()))


@pytest.mark.parametrize("algorithm", ["bilevel", "random", "evolution"])
def test_a_policy_is_spoken_of_where_there_is_one(algorithm, small_set, tmp_path, capsys):
    words = [f"data.root={small_set}", "search.epochs=2", "search.iterations=1", f"search.algorithm={algorithm}"]
    assert run("search", tmp_path, *SEARCH, *words, "search.controller.start_epoch=1") == 0
    epochs = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    rows = list(map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines()))
    assert [" policy " in line for line in epochs] == ["entropy_policy" in row for row in rows]
    whose = ["mode, policy untrained", "mode"] if algorithm == "bilevel" else ["all branches"] * 2
    for line, row, who in zip(epochs, rows, whose, strict=True):
        assert f"reward {row['supernet_reward']:.4f} of {row['supernet_beta']} ({who})  " in line
        assert row["supernet_beta"] == row.get("mode", "[11 11]")


def test_a_result_file_scores_as_its_network(trained, small_set, tmp_path):
    assert run("evaluate", tmp_path / "a", f"checkpoint={trained}", f"data.root={small_set}") == 0
    results = tmp_path / "a" / "results" / "keypoints_val.json"
    assert run("evaluate", tmp_path / "b", f"results={results}", f"data.root={small_set}") == 0
    of_network, of_file = (json.loads((tmp_path / f / "metrics.json").read_text()) for f in "ab")
    assert of_file["AP"] == pytest.approx(of_network["AP"], abs=1e-9)


def results_of(folder):
    return json.loads((folder / "results" / "keypoints.json").read_text())


def test_predict_keeps_names_and_goes_on_after_a_corrupt_file(trained, small_set, tmp_path, capsys):
    """A folder of folders, one file of which is no picture: exit code 1, and everything else is there."""
    (tmp_path / "in" / "deep" / "er").mkdir(parents=True)
    names = sorted(path.name for path in (small_set / "val").iterdir())
    shutil.copy(small_set / "val" / names[0], tmp_path / "in" / "first photo.jpg")
    shutil.copy(small_set / "val" / names[1], tmp_path / "in" / "deep" / "er" / names[1])
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    assert run("predict", tmp_path / "out", f"checkpoint={trained}", f"source={tmp_path / 'in'}") == 1
    summary = json.loads((tmp_path / "out" / "run.json").read_text())
    shown = (tmp_path / "out" / "report.html").read_text().count('src="data:image/')
    assert summary["task"] == "predict" and shown == len(summary["figures"]) > 1
    assert summary["facts"]["boxes"].startswith("none given") and "predict.threshold" in summary["facts"]["not drawn"]
    assert "broken.png" in summary["facts"]["left out"] and Path(summary["facts"]["results"]).is_file()
    captured = capsys.readouterr()
    assert "broken.png' cannot be used: not decodable" in captured.out and "1 input was left out" in captured.err
    assert "none given: every picture is taken as one person's box" in captured.out and "pictures/s" in captured.out
    rows = results_of(tmp_path / "out")
    assert [row["file_name"] for row in rows] == [f"deep/er/{names[1]}", "first photo.jpg"]
    assert all(len(row["keypoints"]) == 51 and np.isfinite(row["keypoints"]).all() for row in rows)
    assert (tmp_path / "out" / "pictures" / "deep" / "er" / names[1]).is_file()
    table = (tmp_path / "out" / "results" / "keypoints.csv").read_text().splitlines()
    assert len(table) == 3 and table[0].startswith("file,frame,track,x,y,width,height,score,nose_x,nose_y,nose_score")


def test_predict_on_boxes_of_every_kind(trained, small_set, tmp_path, capsys):
    name = sorted(path.name for path in (small_set / "val").iterdir())[0]
    path, common = tmp_path / "boxes.json", (f"checkpoint={trained}", f"source={small_set}/val/{name}")
    path.write_text(json.dumps([{"file_name": name, "bbox": box} for box in ([5, 5, 30, 40], [1, 2, 9, 9])]))
    assert run("predict", tmp_path / "own", *common, f"boxes={path}", "predict.draw=false") == 0
    own = results_of(tmp_path / "own")
    assert [row["bbox"] for row in own] == [[5, 5, 30, 40], [1, 2, 9, 9]] and not (
        tmp_path / "own" / "pictures"
    ).exists()
    number = int(Path(name).stem)
    content = {"images": [{"id": 77, "file_name": name}], "annotations": [{"image_id": 77, "bbox": [5, 5, 30, 40]}]}
    for n, rows in enumerate(([{"image_id": number, "bbox": [5, 5, 30, 40], "score": 1.0}], content)):
        path.write_text(json.dumps(rows))
        assert run("predict", tmp_path / f"kind{n}", *common, f"boxes={path}", "predict.draw=false") == 0
        assert results_of(tmp_path / f"kind{n}")[0]["keypoints"] == own[0]["keypoints"]
    assert results_of(tmp_path / "kind1")[0]["image_id"] == 77
    assert run("predict", tmp_path / "one", *common, "boxes=[5,5,30,40]", "predict.draw=false") == 0
    assert results_of(tmp_path / "one")[0]["keypoints"] == own[0]["keypoints"]
    path.write_text(
        json.dumps([{"file_name": name, "bbox": b} for b in ([500, 5, 9, 9], [5, 5, 0, 9], [5, 5, 30, 40])])
    )
    assert run("predict", tmp_path / "some", *common, f"boxes={path}", "predict.draw=false") == 1
    out = capsys.readouterr().out
    assert "lies outside of the picture" in out and "is empty" in out and len(results_of(tmp_path / "some")) == 1
    path.write_text(json.dumps([{"file_name": name, "bbox": [5, 5, 0, 9]}]))
    assert run("predict", tmp_path / "nobody", *common, f"boxes={path}") == 2
    assert "is empty" in capsys.readouterr().err and not (tmp_path / "nobody" / "results").exists()


def test_predict_follows_people_through_a_video(trained, tmp_path, capsys):
    video = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (64, 48))
    for n in range(9):
        frame = np.full((48, 64, 3), 200, np.uint8)
        cv2.circle(frame, (20 + n, 24), 10, (0, 90, 200), -1)
        video.write(frame)
    video.release()
    options = (f"checkpoint={trained}", f"source={tmp_path}/*.avi", "predict.track=true", "predict.smooth=true")
    assert run("predict", tmp_path / "out", *options) == 0
    rows = results_of(tmp_path / "out")
    assert [row["frame"] for row in rows] == list(range(9)) and {row["track_id"] for row in rows} <= set(range(9))
    found = cv2.VideoCapture(str(tmp_path / "out" / "videos" / "walk.mp4"))
    assert found.get(cv2.CAP_PROP_FRAME_COUNT) == 9 and round(found.get(cv2.CAP_PROP_FPS)) == 12
    assert [path.name for path in (tmp_path / "out" / "videos").iterdir()] == ["walk.mp4"]


def nonsense(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def good_result(**changes):
    return {"image_id": 1, "category_id": 1, "keypoints": [1.0] * 51, "score": 0.5, **changes}


BAD = {
    "no such folder": ("search", lambda t, s: ["data=coco", f"data.root={t}/missing"]),
    "no annotation": ("search", lambda t, s: ["data=coco", f"data.root={t}"]),
    "image size": ("search", lambda t, s: [f"data.root={s}", "data.image_size=[30,32]"]),
    "unknown value": ("search", lambda t, s: [f"data.root={s}", "search.gumbel.relaxation=hard"]),
    "unknown preset": ("train", lambda t, s: [f"data.root={s}", "data.augmentation=more"]),
    "no architecture": ("train", lambda t, s: [f"data.root={s}"]),
    "architecture is no JSON": ("train", lambda t, s: [f"architecture={nonsense(t, 'a.json', 'oops')}"]),
    "architecture of another version": (
        "train",
        lambda t, s: [f"architecture={nonsense(t, 'a.json', {'format': 'autopose-architecture', 'version': 99})}"],
    ),
    "neither checkpoint nor results": ("evaluate", lambda t, s: []),
    "no checkpoint": ("evaluate", lambda t, s: [f"checkpoint={nonsense(t, 'c.pt', 'no zip')}"]),
    "result with unknown image": (
        "evaluate",
        lambda t, s: [f"data.root={s}", f"results={nonsense(t, 'r.json', [good_result(image_id=-5)])}"],
    ),
    "result with NaN": (
        "evaluate",
        lambda t, s: [f"data.root={s}", f"results={nonsense(t, 'r.json', [good_result(score=float('nan'))])}"],
    ),
    "result that is no list": (
        "evaluate",
        lambda t, s: [f"data.root={s}", f"results={nonsense(t, 'r.json', {'a': 1})}"],
    ),
    "no pictures": ("predict", lambda t, s: ["checkpoint=x", f"source={t}"]),
    "no video": ("predict", lambda t, s: ["checkpoint=x", f"source={nonsense(t, 'film.mp4', 'no film')}"]),
    "no camera": ("predict", lambda t, s: ["checkpoint=x", "source=97"]),
    "no detector": ("predict", lambda t, s: ["checkpoint=x", f"source={s}/val", f"detector={t}/none.onnx"]),
    "boxes and a detector": ("predict", lambda t, s: ["checkpoint=x", f"source={s}", "boxes=[1,2,3,4]", "detector=x"]),
    "a box of three": ("predict", lambda t, s: ["checkpoint=x", f"source={s}/val", "boxes=[1,2,3]"]),
    "smoothing nobody": ("predict", lambda t, s: ["checkpoint=x", f"source={s}/val", "predict.smooth=true"]),
    "fused where it cannot run": ("train", lambda t, s: [f"data.root={s}", "architecture=random", "device=cuda"]),
}


@pytest.mark.parametrize(
    ("name", "hint"), [("hrnet.json", "did you mean hrnet?"), ("a/b.json", "expected one of all_on")]
)
def test_an_architecture_that_is_nowhere_is_told_by_what_there_is(name, hint, small_set, tmp_path, capsys):
    assert run("train", tmp_path / "run", *TRAIN[1:], f"data.root={small_set}", f"architecture={name}") == 2
    assert f"error: there is no file {name}, and no architecture of that name: {hint}" in capsys.readouterr().err


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence(case, small_set, tmp_path, capsys):
    if "device=cuda" in BAD[case][1](tmp_path, small_set) and torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    task, overrides = BAD[case]
    folder = tmp_path / "run"
    size = {"search": SEARCH, "train": TRAIN[1:]}.get(task, [])
    assert run(task, folder, *size, *overrides(tmp_path, small_set)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error
    assert not (folder / "checkpoints").exists() and not (folder / "metrics.json").exists()


def test_networks_of_another_dataset_are_refused(trained, tmp_path, capsys):
    """A checkpoint for 17 joints on a set with three."""
    root = synthetic_dataset(tmp_path / "set", 0, 2, 2, (64, 64))
    path = root / "annotations" / "person_keypoints_val.json"
    content = json.loads(path.read_text())
    content["categories"][0]["keypoints"] = ["nose", "left_eye", "right_eye"]
    content["categories"][0]["skeleton"] = [[1, 2]]
    for annotation in content["annotations"]:
        annotation["keypoints"] = annotation["keypoints"][:9]
        annotation["num_keypoints"] = sum(v > 0 for v in annotation["keypoints"][2::3])
    path.write_text(json.dumps(content))
    options = ("data=keypoints", f"data.root={root}", "data.image_size=[32,32]")
    code = run("evaluate", tmp_path / "out", f"checkpoint={trained}", *options)
    assert code == 2 and "17 joints" in capsys.readouterr().err


def test_training_goes_on_from_a_checkpoint(trained, small_set, tmp_path, capsys):
    """The checkpoint's architecture and width; after an epoch at a tiny rate it is still nearly the same network."""
    options = (f"checkpoint={trained}", "train.epochs=1", "train.batch_size=4", "train.lr=1e-12", "train.ema=0.0")
    assert run("train", tmp_path / "a", *options, f"data.root={small_set}") == 0
    said = capsys.readouterr().out
    assert f"pretrained {trained}" in said and "the head of its 17 joints" in said
    before, after = (torch.load(path, weights_only=True)["state"] for path in (trained, last(tmp_path / "a")))
    for name, parameter in (before["evaluated"] or before["network"]).items():
        if name.endswith("weight"):
            torch.testing.assert_close(after["network"][name], parameter, rtol=0, atol=1e-8)


def last(folder):
    return folder / "checkpoints" / "last.pt"


@pytest.mark.parametrize("missing", ["/no/such.pt"])
def test_a_checkpoint_to_start_from_must_be_there(missing, small_set, tmp_path, capsys):
    assert run("train", tmp_path, "architecture=random", f"checkpoint={missing}", f"data.root={small_set}") == 2
    assert "cannot read the checkpoint /no/such.pt" in capsys.readouterr().err


def test_joints_in_another_order_give_the_same_scores(trained, small_set, tmp_path):
    """The set with its joints reversed and renamed: every number that does not go by a joint's name is the same."""
    root = tmp_path / "set"
    shutil.copytree(small_set, root)
    (root / "synthetic.json").unlink()
    path = root / "annotations" / "person_keypoints_val.json"
    content = json.loads(path.read_text())
    category = content["categories"][0]
    category["keypoints"] = [name.replace("_", " ").title() for name in category["keypoints"][::-1]]
    category["skeleton"] = []
    for row in content["annotations"]:
        row["keypoints"] = np.reshape(row["keypoints"], (-1, 3))[::-1].ravel().tolist()
    path.write_text(json.dumps(content))
    options = (f"checkpoint={trained}", "data=keypoints", "data.workers=0")
    assert run("evaluate", tmp_path / "a", *options, f"data.root={root}") == 0
    assert run("evaluate", tmp_path / "b", *options, f"data.root={small_set}") == 0
    found, expected = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    names = ("AP", "AR", "Mean", "Shoulder", "Knee")
    assert [found[n] for n in names] == pytest.approx([expected[n] for n in names], abs=1e-9)


def test_a_failing_run_of_a_sweep_is_reported_and_the_others_go_on(small_set, tmp_path):
    arguments = [*SIZE, "architecture=single_scale", "train.epochs=1", "train.batch_size=4", "train.evaluate_every=0"]
    arguments += [f"data.root={small_set}", f"hydra.sweep.dir={tmp_path}/sweep", "train.grad_clip=-1,0"]
    command = [sys.executable, "-m", "autopose.train", "-m", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parent.parent)
    assert done.returncode == 2, done.stderr
    assert "run 0 (" in done.stderr and "train.grad_clip=-1) failed with exit code 2" in done.stderr
    assert "1 of 2 runs of the sweep failed" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "sweep" / "1" / "metrics.json").exists() and not (
        tmp_path / "sweep" / "0" / "metrics.json"
    ).exists()


def test_a_search_with_costs_keeps_its_budget(small_set, tmp_path):
    """The same search without and with a cost in α's loss and a hard budget at derivation."""
    from autopose.space import Architecture
    from autopose.space.builtin import Size

    size = Size((32, 32), 17, 2)
    assert run("search", tmp_path / "free", *SEARCH, f"data.root={small_set}") == 0
    free = size.gmacs(Architecture.load(tmp_path / "free" / "architecture.json"))
    limit = 0.97 * free
    options = ("search.cost=gmacs", "search.cost_weight=2", f"search.max_gmacs={limit}")
    assert run("search", tmp_path / "kept", *SEARCH, f"data.root={small_set}", *options) == 0
    assert size.gmacs(Architecture.load(tmp_path / "kept" / "architecture.json")) <= limit
    assert run("search", tmp_path / "none", *SEARCH, f"data.root={small_set}", "search.max_gmacs=1e-6") == 2
    assert run("search", tmp_path / "half", *SEARCH, f"data.root={small_set}", "search.cost=gmacs") == 2
