"""architecture.json: written, read back, and refused where it is nonsense."""

import copy
import json

import pytest

from autopose.errors import UserError
from autopose.space import OPS, Architecture, MacroSpace, builtin_architecture

MACRO = MacroSpace((4, 8, 8), 2, 2, 2, 1, 4, min_active=1)
SPACES = {
    "default": MacroSpace(),
    "concat": MacroSpace((4, 8), 2, 1, aggregation="concat"),
    "one_branch": MacroSpace((4,), 1, 1, 1, 1),
    "by_module": MacroSpace((4, 8), 2, 2, beta_sharing="module", max_active=1),
    "five": MacroSpace((4, 4, 4, 4, 4), 1, 1, 1, 2, head="sum", downsample="avg_pool"),
}


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("seed", [0, 7])
def test_round_trip(tmp_path, name, seed):
    found = builtin_architecture("random", SPACES[name], seed)
    found.save(tmp_path / "architecture.json")
    assert Architecture.load(tmp_path / "architecture.json") == found
    assert [path.name for path in tmp_path.iterdir()] == ["architecture.json"]


def test_json_names_every_edge():
    content = builtin_architecture("random", MACRO, 1).to_json()
    cell = content["cells"][1]
    assert cell["scale"] == 8
    assert list(cell["individual_1"]) == ["node_0", "node_1"]
    assert list(cell["individual_1"]["node_1"]) == ["input", "node_0"]
    assert list(cell["aggregation"]["node_0"]) == ["branch_4x", "branch_8x", "branch_16x"]
    assert all(op in OPS for node in cell["aggregation"].values() for op in node.values())
    assert json.loads(json.dumps(content)) == content


def edit(path: tuple, value):
    """A change of one entry of the JSON content; ``...`` removes it."""

    def change(content: dict) -> None:
        *parents, last = path
        for key in parents:
            content = content[key]
        if value is ...:
            del content[last]
        else:
            content[last] = value

    return change


NONSENSE = {
    "format": edit(("format",), "other"),
    "version": edit(("version",), 2),
    "no version": edit(("version",), ...),
    "space is a list": edit(("space",), []),
    "space lacks a key": edit(("space", "head"), ...),
    "space has an unknown key": edit(("space", "depth"), 3),
    "channels are text": edit(("space", "channels"), "4,8,8"),
    "a channel is text": edit(("space", "channels"), [4, "8", 8]),
    "bound is a list": edit(("space", "max_active"), [1]),
    "bound is null": edit(("space", "min_active"), None),
    "unknown head": edit(("space", "head"), ["concat"]),
    "stages are a fraction": edit(("space", "num_stages"), 2.0),
    "beta has a 2": edit(("beta", 0), [1, 2, 0]),
    "beta has a boolean": edit(("beta", 0), [True, 0, 1]),
    "beta row is short": edit(("beta", 0), [1, 0]),
    "beta lacks a row": edit(("beta",), [[1, 0, 0]]),
    "beta is null": edit(("beta",), None),
    "beta breaks the bounds": edit(("beta", 1), [0, 0, 0]),
    "a branch is missing": edit(("cells", 2), ...),
    "cells are a dict": edit(("cells",), {}),
    "scales in another order": edit(("cells", 0, "scale"), 8),
    "a cell is missing": edit(("cells", 0, "individual_2"), ...),
    "an unknown cell": edit(("cells", 0, "individual_3"), {}),
    "a cell is a list": edit(("cells", 0, "individual_1"), []),
    "a node is missing": edit(("cells", 0, "individual_1", "node_1"), ...),
    "an edge is missing": edit(("cells", 0, "individual_1", "node_1", "node_0"), ...),
    "an edge too many": edit(("cells", 0, "individual_1", "node_0", "node_1"), "conv_3x3"),
    "an unknown operation": edit(("cells", 0, "aggregation", "node_0", "branch_8x"), "conv_7x7"),
    "an operation is a number": edit(("cells", 0, "aggregation", "node_0", "branch_8x"), 1),
    "an operation is a list": edit(("cells", 0, "aggregation", "node_0", "branch_8x"), ["conv_3x3"]),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_in_one_sentence(tmp_path, name):
    content = copy.deepcopy(builtin_architecture("random", MACRO, 1).to_json())
    NONSENSE[name](content)
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        Architecture.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"text"', "\ud800", "[" * 100_000], ids=range(7))
def test_files_that_are_no_architecture(tmp_path, text):
    path = tmp_path / "wrong.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match="wrong.json"):
        Architecture.load(path)


def test_missing_file_folder_and_unwritable_target(tmp_path):
    with pytest.raises(UserError, match="cannot read the architecture"):
        Architecture.load(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot read the architecture"):
        Architecture.load(tmp_path)
    occupied = tmp_path / "occupied"
    occupied.write_text("a file")
    with pytest.raises(UserError, match="cannot write .*architecture.json"):
        builtin_architecture("random", MACRO).save(occupied / "architecture.json")


def test_builtin_architectures():
    on = builtin_architecture("all_on_conv3", MACRO)
    assert on.macro == MACRO.all_on()
    assert {op for cells in on.cells for cell in cells.values() for op in cell.ops} == {"conv_3x3"}
    single = builtin_architecture("single_scale", MACRO)
    assert single.macro.rows == ((True, False, False),) * 2
    drawn = [builtin_architecture("random", MACRO, seed) for seed in range(5)]
    assert len({(a.macro, str(a.cells)) for a in drawn}) == 5
    assert drawn[3] == builtin_architecture("random", MACRO, 3)
    assert all(cells["individual_1"] == cells["individual_2"] for a in drawn for cells in a.cells)
    with pytest.raises(UserError, match="all_on_conv3, single_scale, hrnet, random"):
        builtin_architecture("densenet", MACRO)


def test_its_space_leaves_no_choice():
    found = builtin_architecture("random", MACRO, 2)
    space = found.space(width=3)
    assert space.macro.channels == (12, 24, 24) and space.beta == found.macro
    assert space.log10_size() == 0.0
    assert [{n: c.genotype for n, c in branch.cells().items()} for branch in space.branches] == list(found.cells)


def test_cells_must_be_those_of_the_space():
    found = builtin_architecture("random", MACRO, 2)
    with pytest.raises(UserError, match="3 branches"):
        Architecture(MACRO, found.macro, found.cells[:2])
    with pytest.raises(UserError, match="bounds"):
        Architecture(MACRO, type(found.macro).of([[0, 0, 0]] * 2), found.cells)
