"""Keys that a command does not use are refused, and what belongs to a checkpoint's network stays."""

import logging
import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from autopose.config import Config, DataConfig, check_used, from_checkpoint, from_hydra, given_keys
from autopose.config.used import USED
from autopose.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(autouse=True, scope="module")
def configs():
    with initialize_config_module("autopose.configs", version_base="1.3"):
        yield


def composed(task, *overrides):
    return from_hydra(compose(task, list(overrides)))


def check(task, *overrides):
    check_used(task, overrides, composed(task, *overrides))


def test_every_key_and_every_command_is_in_the_table():
    assert set(USED) == {path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "base"}
    for key in Config().to_dict():
        assert any(key in keys for keys in USED.values()), key


@pytest.mark.parametrize(
    ("task", "override", "said"),
    [
        ("search", "checkpoint=a.pt", "resume=auto"),
        ("search", "architecture=a.json", "train, latency and flops do"),
        ("search", "results=a.json", "evaluate does"),
        ("search", "data.detections=d.json", "data.detections"),
        ("derive", "search.epochs=3", "search does"),
        ("derive", "resume=auto", "resume"),
        ("derive", "space.channels=[4,8]", "space.channels"),
        ("train", "images=a", "predict does"),
        ("train", "search.epochs=3", "search.epochs"),
        ("train", "search=quick", "search"),
        ("train", "space.alpha_sharing=all", "space.alpha_sharing"),
        ("evaluate", "architecture=a.json", "the checkpoint holds its architecture"),
        ("evaluate", "train.width=4", "train.width"),
        ("evaluate", "space=small", "space"),
        ("evaluate", "boxes=b.json", "predict does"),
        ("predict", "results=r.json", "evaluate does"),
        ("flops", "checkpoint=a.pt", "checkpoint"),
        ("correlate", "images=a", "predict"),
    ],
)
def test_keys_of_other_commands_are_refused(task, override, said):
    key = override.split("=")[0]
    with pytest.raises(UserError, match=f"{task} does not use {key}.*{said}" if key != said else key) as error:
        check(task, override)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("task", "overrides", "said"),
    [
        ("train", ["architecture=a.json", "space.channels=[4,8]"], "brings its own space"),
        ("evaluate", ["results=r.json", "evaluate.flip_test=false"], "scored as they stand"),
        ("evaluate", ["results=r.json", "data.detections=d.json"], "scored as they stand"),
        (
            "train",
            ["architecture=random", "data=keypoints", "data.num_train=3"],
            "'synthetic', and data.kind is 'coco'",
        ),
        ("search", ["data=mpii", "data.sigmas=[0.1]"], "'coco', and data.kind is 'mpii'"),
        ("search", ["data=keypoints", "data.head_file=a.mat"], "'mpii'"),
    ],
)
def test_keys_that_others_make_useless_are_refused(task, overrides, said):
    with pytest.raises(UserError, match=f"would not be used.*{said}"):
        check(task, *overrides)


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        ("train", ["architecture=random", "space.channels=[4,8]", "train.epochs=2", "experiment=lsp", "data.root=/x"]),
        ("search", ["train.epochs=3", "evaluate.nms=none", "space=small", "search=quick", "+search.max_skips=2"]),
        ("derive", ["checkpoint=a.pt", "search.derive_samples=3", "search.reward.images=4", "experiment=quick"]),
        ("evaluate", ["checkpoint=a.pt", "data=keypoints", "data.root=/x", "evaluate.decoding=dark", "kernels=fused"]),
        ("evaluate", ["results=r.json", "evaluate.pck_alpha=0.1", "checkpoint=null"]),
        ("predict", ["checkpoint=a.pt", "images=x", "boxes=b.json", "data=keypoints"]),
        ("train", ["architecture=random", "checkpoint=null", "results=null", "name=x", "seed=3", "device=cpu"]),
        ("correlate", ["checkpoint=a.pt", "correlate.epochs=2", "resume=auto"]),
    ],
)
def test_keys_that_are_used_pass(task, overrides):
    check(task, *overrides)


def test_given_keys():
    assert given_keys(["+a.b=1", "~c", "d=null", "data=coco", "++e='x y'"]) == ["a.b", "c", "data", "e"]


def test_detections_are_used_or_refused():
    assert DataConfig(detections="d.json").box_source == "auto"
    for wrong in ({"box_source": "gt", "detections": "d.json"}, {"box_source": "detections"}, {"score_threshold": 0.3}):
        with pytest.raises(UserError, match="data.detections"):
            DataConfig(**wrong)


def embedded(*overrides):
    return composed("train", "data=keypoints", "data.root=/a", "data.image_size=[48,64]", "data.udp=true", *overrides)


@pytest.fixture
def said():
    """What is logged."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("autopose")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("choice", ["data=keypoints", "experiment=quick", "experiment=lsp"])
def test_the_networks_keys_stay_the_checkpoints(choice, said):
    overrides = [choice, "data.root=/b"]
    found = from_checkpoint(embedded("data.sigma=3").to_dict(), composed("evaluate", *overrides), overrides)
    assert (list(found.data.image_size), found.data.udp, found.data.sigma) == ([48, 64], True, 3)
    assert found.data.root == "/b"
    same = list(composed("evaluate", *overrides).data.image_size) == [48, 64]
    assert same != any("data.image_size stays the checkpoint's, [48, 64]" in line for line in said)
    assert any("data.udp stays the checkpoint's, True" in line for line in said)


def test_a_key_by_itself_changes_them_and_that_is_said(said):
    overrides = ["data=keypoints", "data.root=/b", "data.image_size=[96,128]"]
    found = from_checkpoint(embedded().to_dict(), composed("evaluate", *overrides), overrides)
    assert list(found.data.image_size) == [96, 128] and found.data.udp
    assert any("caution" in line and "[96, 128]" in line and "[48, 64]" in line for line in said)


def test_without_another_set_nothing_changes(said):
    found = from_checkpoint(embedded().to_dict(), composed("evaluate"), [])
    assert found.data == embedded().data and not said


def documented():
    """(file, command, arguments) of every whole command line in the README, the pages and the Makefile."""
    root = CONFIGS.parent
    for path in (root / "README.md", root / "Makefile", *sorted((root / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ").replace("$(RUN)", "run").replace("$(DEMO)", "demo")
        for task, rest in re.findall(r"python -m autopose\.(\w+) +([^`\n]*)", text):
            if task in USED and not re.search(r"\.\.\.|…|my_package", rest):
                arguments = [word for word in shlex.split(rest, comments=True) if "=" in word and "hydra" not in word]
                yield pytest.param(task, arguments, id=f"{path.name}: {task} {' '.join(arguments)}"[:90])


@pytest.mark.parametrize(("task", "arguments"), documented())
def test_documented_commands_use_their_keys(task, arguments):
    single = [word.split(",")[0] if re.search(r"=[^\[{'\"]*,", word) else word for word in arguments]
    check(task, *single)
