"""Values on the command line: read as they were meant, printed so that they are read back."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from autopose.config import from_hydra, overrides_for, prepared, quoted, shell_command
from autopose.config.quoting import text_keys
from autopose.errors import UserError
from autopose.report.printed import REPRODUCED, evaluate_command, predict_command, train_command

FOLDERS = [
    "plain/folder", "My Drive/run 1", "a=b", "lr=0.1,bs=4", "[x]", "{x}", "数据/öä", "it's", 'say "x"', "a#b", "a;b&c",
    "x(1)", "~tilde", "$HOME", "100%", "back\\slash", "ends in\\", "both\\'s",
    " blank ", "null", "true", "1e3", "007", "a:b", "-x", "a,", "*?", "a|b", "!x", "写真\u3000", "at 3.45\u202fPM",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def configs():
    with initialize_config_module("autopose.configs", version_base="1.3"):
        yield


def composed(task, *overrides):
    return from_hydra(compose(task, list(overrides)))


@pytest.mark.parametrize("folder", FOLDERS)
def test_printed_values_are_read_back_by_shell_and_hydra(folder):
    command = evaluate_command(Path("/runs") / folder / "checkpoints" / "last.pt")
    *start, argument = shlex.split(command)
    assert start == ["python", "-m", "autopose.evaluate"]
    checkpoint = str(Path("/runs") / folder / "checkpoints" / "last.pt")
    assert composed("evaluate", argument).checkpoint == checkpoint
    *start, argument, _ = shlex.split(predict_command(checkpoint))
    assert start[2:] == ["autopose.predict"] and composed("predict", argument).checkpoint == checkpoint


@pytest.mark.parametrize("folder", FOLDERS)
def test_text_that_a_person_typed_is_read_as_text(folder):
    expected = folder.replace("$HOME", "$HOME")
    for key in ("data.root", "checkpoint", "hydra.run.dir"):
        (argument,) = prepared([f"{key}={folder}"], sweeping=False)
        value = OverridesParser.create().parse_override(argument).value()
        if folder == "null":
            assert value is None
        elif folder not in ("true", "1e3", "007", "~tilde"):
            assert value == expected, argument


@pytest.mark.parametrize("typed", ["data.root='a b'", 'data.root="a,b"', "data.root='数据'", "data.root='it\\'s'"])
def test_what_is_quoted_already_stays(typed):
    assert prepared([typed], sweeping=False) == [typed]


def test_other_arguments_stay():
    arguments = [
        "-m",
        "--cfg",
        "job",
        "train.lr=0.1",
        "data.image_size=[48,64]",
        "experiment=lsp",
        "+x=3",
        "~data.root",
    ]
    assert prepared(arguments, sweeping=False) == arguments


def test_commas_are_a_sweep_only_where_one_is_asked_for():
    assert prepared(["data.root=a,b"], sweeping=True) == ["data.root=a,b"]
    assert prepared(["data.root=a,b"], sweeping=False) == ["data.root='a,b'"]


@pytest.mark.parametrize("typed", ["train.lr=0,1;2", "data.image_size=[48", "train.epochs=三", "data.skeleton=[[a,b]"])
def test_what_cannot_be_read_is_told_how_to_quote(typed):
    with pytest.raises(UserError, match=rf"{typed.split('=')[0]}.*quote text for Hydra and for the shell") as error:
        prepared([typed], sweeping=False)
    assert "\n" not in str(error.value)


def test_the_home_folder_is_expanded_in_every_text(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    home = str(tmp_path)
    paths = {"data.root", "data.val_images", "data.head_file", "checkpoint", "images", "results", "architecture"}
    assert paths <= text_keys()
    for key in sorted(paths):
        found = composed("evaluate", f"{key}='~/x y'").to_dict()
        for part in key.split("."):
            found = found[part]
        assert found == f"{home}/x y"
    assert prepared(["hydra.run.dir=~/a b"], sweeping=False) == [f"hydra.run.dir={home}/a b"]
    assert prepared(["hydra.run.dir=~/a,b"], sweeping=False) == [f"hydra.run.dir='{home}/a,b'"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ([48, 64], "[48,64]"),
        ([["a b", "c"]], "[['a b',c]]"),
        (0.001, "0.001"),
        ("1", "'1'"),
    ],
)
def test_values_of_other_kinds(value, text):
    assert quoted(value) == text
    assert OverridesParser.create().parse_override(f"x={text}").value() == value


def changed(**data):
    config = composed("search", "experiment=quick", "data=keypoints", "data.root=/data")
    return replace(config, name="my run", data=replace(config.data, **data))


CONFIGS = {
    "the default": lambda: composed("search"),
    "a name": lambda: composed("search", "name=mine"),
    "other data": lambda: changed(root="/My Drive/数据", train_annotations="a=b,c.json", image_size=[48, 64]),
    "names and pairs": lambda: changed(
        joints=["Left Hip", "R,Hip"], flip_pairs=[["Left Hip", "R,Hip"]], sigmas=[0.1, 1e-05], metric="pck"
    ),
    "a schedule": lambda: composed("search", "train.lr=0.01", "train.betas=[0.8,0.9]", "evaluate.nms=none", "seed=3"),
    "the paper": lambda: composed("search", "experiment=coco", "data.root=/coco"),
    "groups": lambda: composed(
        "search", "experiment=quick", "train=paper", "kernels=reference", "data=mpii", "data.root=/m"
    ),
}


@pytest.mark.parametrize("which", CONFIGS)
def test_the_printed_command_composes_the_same_data_and_training(which):
    config = CONFIGS[which]()
    arguments = shlex.split(train_command(config, Path("a b.json")))
    again = composed("train", *arguments[3:])
    assert again.architecture == "a b.json" and arguments[2] == "autopose.train"
    assert (again.data, again.train, again.evaluate, again.kernels) == (
        config.data, config.train, config.evaluate, config.kernels,
    )  # fmt: skip
    assert (again.seed, again.threads) == (config.seed, config.threads)


@pytest.mark.parametrize("experiment", ["quick", "lsp", "coco", "own", "ablation/no_pools"])
def test_the_experiment_is_found_again(experiment):
    pairs = overrides_for(composed("search", f"experiment={experiment}", "data.root=/x"), "train", REPRODUCED)
    assert pairs == [("experiment", experiment), ("data.root", "/x")]


def test_a_name_is_no_experiment():
    assert overrides_for(composed("search", "name=my_run"), "train", REPRODUCED) == [("experiment", "quick")]


def test_shell_command_quotes_twice():
    assert (
        shell_command("autopose.train", [("a", "b c"), ("d", 1)])
        == """python -m autopose.train 'a='"'"'b c'"'"'' d=1"""
    )
