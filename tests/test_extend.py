"""docs/extend.md, whose code blocks are packages outside of this one: they search, derive, train and score."""

import json
import re
import sys

import pytest
from outside import blocks, write_packages
from test_commands import run

from bench.small_runs import SEARCH, TRAIN


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The page's packages, importable."""
    root = tmp_path_factory.mktemp("outside")
    written = write_packages(root)
    assert len(written) >= 2
    sys.path.insert(0, str(root))
    yield root
    sys.path.remove(str(root))
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


def override(key: str) -> str:
    """The override of ``key`` in the page's command lines."""
    (found,) = {match for block in blocks("bash") for match in re.findall(rf'"?({re.escape(key)}=[^\s"]+)', block)}
    return found


def test_operations_from_outside_go_all_the_way(packages, small_set, tmp_path, capsys):
    data, operations = f"data.root={small_set}", override("space.operations")
    assert run("search", tmp_path / "search", *SEARCH, data, operations) == 0
    out = capsys.readouterr().out
    assert "cells" in out and "my_package.separable:SeparableConv" in out and "(10^9" in out
    checkpoint = tmp_path / "search" / "checkpoints" / "last.pt"
    assert run("derive", tmp_path / "derive", f"checkpoint={checkpoint}", data) == 0
    found, derived = (json.loads((tmp_path / n / "architecture.json").read_text()) for n in ("search", "derive"))
    assert found["cells"] == derived["cells"] and found["version"] == 1
    nodes = [node for branch in found["cells"] for cell in branch.values() if isinstance(cell, dict) for node in cell]
    assert nodes
    found["cells"][0]["individual_1"]["node_0"]["input"] = "my_package.separable:SeparableConv"
    found["cells"][1]["aggregation"]["node_0"]["branch_4x"] = "my_package.dilated:DilatedConv"
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(found))
    assert run("flops", tmp_path / "flops", f"architecture={path}") == 0
    assert "agree" in capsys.readouterr().out
    assert run("train", tmp_path / "train", *TRAIN[1:], data, f"architecture={path}") == 0
    trained = tmp_path / "train" / "checkpoints" / "last.pt"
    assert run("evaluate", tmp_path / "evaluate", f"checkpoint={trained}", data) == 0
    again, last = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("evaluate", "train"))
    assert again == last


@pytest.mark.parametrize("algorithm", ["random", "evolution"])
def test_baselines_draw_from_the_spaces_operations(algorithm, packages, small_set, tmp_path):
    options = (f"data.root={small_set}", f"search.algorithm={algorithm}", override("space.operations"))
    assert run("search", tmp_path, *SEARCH, *options) == 0
    content = json.loads((tmp_path / "architecture.json").read_text())
    cells = [cell for branch in content["cells"] for cell in branch.values() if isinstance(cell, dict)]
    assert {op for cell in cells for node in cell.values() for op in node.values()} <= set(
        override("space.operations").partition("=")[2].strip("[]").split(",")
    )


def test_wrong_multiply_adds_are_refused(packages, tmp_path, capsys):
    text = (packages / "my_package" / "separable.py").read_text().replace("9 * channels +", "10 * channels +")
    (packages / "my_package" / "wrong.py").write_text(text)
    assert run("flops", tmp_path, "space.operations=[my_package.wrong:SeparableConv]") == 2
    error = capsys.readouterr().err
    assert "the macs of my_package.wrong:SeparableConv are wrong" in error and error.count("\n") == 1


def test_an_architecture_whose_package_is_missing_is_one_sentence(small_set, tmp_path, capsys):
    from autopose.space import MacroSpace, builtin_architecture

    content = builtin_architecture("random", MacroSpace((4, 8), 2, 1, 1, 1, 4)).to_json()
    content["cells"][0]["individual_1"]["node_0"]["input"] = "no_such_package.ops:Op"
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(content))
    assert run("train", tmp_path / "run", *TRAIN[1:], f"data.root={small_set}", f"architecture={path}") == 2
    error = capsys.readouterr().err
    assert "no module 'no_such_package'" in error and error.count("\n") == 1


@pytest.mark.parametrize("key", ["search.algorithm", "search.reward.metric", "space.operations"])
def test_a_search_with_parts_from_outside_goes_on_where_it_was_stopped(key, packages, small_set, tmp_path, monkeypatch):
    """Stopped after every checkpoint of the first epoch and resumed, it ends as an undisturbed one: the same file."""
    options = [*SEARCH, f"data.root={small_set}", override(key)]
    if key == "search.reward.metric":
        options.append(override("search.training_beta"))
    assert run("search", tmp_path / "whole", *options) == 0
    from autopose.engine.search import SearchRun

    plain, stops = SearchRun._save, iter([True, False, True])

    def stopping(self):
        plain(self)
        if next(stops, False):
            self.runtime.stop.signum = 15

    monkeypatch.setattr(SearchRun, "_save", stopping)
    codes = [run("search", tmp_path / "parts", *options, "resume=auto") for _ in range(3)]
    assert codes[0] == 128 + 15 and codes[-1] == 0
    found = [json.loads((tmp_path / name / "architecture.json").read_text()) for name in ("whole", "parts")]
    assert found[0] == found[1]
    rows = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    if key == "search.algorithm":
        assert found[0]["found_by"]["algorithm"] == "my_package.counts:Counts"
        assert "branches" in found[0]["found_by"]["candidates"][0]["source"]


@pytest.mark.parametrize(
    "override, message",
    [
        ("search.reward.metric=my_package.bad:text", "must return a number, not 'well'"),
        ("search.reward.metric=my_package.bad:NUMBER", "must be a function of (poses, annotations)"),
        ("search.training_beta=my_package.bad:text", "must return a MacroArchitecture, not 'well'"),
        ("search.training_beta=my_package.bad:short", "returned an impossible beta: beta must have 2 rows"),
        ("search.training_beta=often", "must be one of sampled, all_on, uniform, or a dotted path"),
    ],
)
def test_parts_from_outside_that_do_not_fit_are_one_sentence(override, message, packages, small_set, tmp_path, capsys):
    (packages / "my_package" / "bad.py").write_text(
        "from autopose.space import MacroArchitecture\nNUMBER = 3\ndef text(*anything): return 'well'\n"
        "def short(*anything): return MacroArchitecture.of([[1, 1]])\n"
    )
    assert run("search", tmp_path, *SEARCH, f"data.root={small_set}", override) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1] and "Traceback" not in error
