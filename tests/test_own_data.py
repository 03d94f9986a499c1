"""A set of one's own from another tool's files to errors in px, by the commands."""

import json

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from autopose import evaluate, search, train
from autopose.command import execute
from autopose.data.__main__ import main
from bench.small_runs import SEARCH, SIZE
from tests.data.convert.foreign import deeplabcut, draw_truth

SPACE = [item for item in SIZE if item.startswith("space.")]
SMALL = [item for item in SIZE if not item.startswith(("space.", "data.num_", "data.synthetic_size"))]
COMMANDS = {"search": search.run, "train": train.run, "evaluate": evaluate.run}


def run(task, folder, *overrides):
    with initialize_config_module("autopose.configs", version_base="1.3"):
        composed = compose(task, ["experiment=own", *SMALL, *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    own = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
    return execute(COMMANDS[task], own, str(folder))


@pytest.fixture(scope="module")
def own_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    source = deeplabcut(root / "project", draw_truth(count=14))
    assert main(["convert", f"source={source}", f"out={root / 'set'}"]) == 0
    assert main(["check", f"data.root={root / 'set'}", f"sheet={root / 'sheet.png'}"]) == 0
    return root / "set"


def test_from_labels_of_another_tool_to_errors_in_px(own_set, tmp_path, capsys):
    data = f"data.root={own_set}"
    small = [item for item in SEARCH if "metric" not in item]
    assert run("search", tmp_path / "search", data, *SPACE, *small) == 0
    found = tmp_path / "search" / "architecture.json"
    assert run("train", tmp_path / "train", data, f"architecture={found}", "train.epochs=1", "train.batch_size=4") == 0
    capsys.readouterr()
    checkpoint = tmp_path / "train" / "checkpoints" / "last.pt"
    assert run("evaluate", tmp_path / "evaluate", data, f"checkpoint={checkpoint}") == 0
    text = capsys.readouterr().out
    assert "| Arch | RMSE px | Median px | 95 % px | nose | left_ear | right_ear | tail | middle |" in text
    assert "PCK@0.2 of the longer side of the labelled joints' extent" in text and "| AP |" in text
    metrics = json.loads((tmp_path / "evaluate" / "metrics.json").read_text())
    # An untrained network is off by some px, and by no more than the pictures are wide.
    assert 1 < metrics["Median px"] <= metrics["95 % px"] < 300 and metrics["RMSE px"] > 1
