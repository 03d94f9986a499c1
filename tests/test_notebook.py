"""The notebook of the first five minutes, cell by cell, at a size of seconds."""

import json
from pathlib import Path

import pytest

from autopose.space import Architecture
from bench.small_runs import SEARCH, SIZE, TRAIN

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "first_five_minutes.ipynb"


@pytest.fixture(scope="module")
def cells():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_the_notebook_is_committed_without_outputs(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_the_notebook_runs(cells, small_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    sizes = {
        "search": [*SIZE, *SEARCH, "search.epochs=1"],
        "train": [*[word for word in SIZE if not word.startswith("space.")], *TRAIN[1:], "train.epochs=1"],
        "data": str(small_set),
    }
    names: dict = {}
    for number, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert sizes.keys() <= names.keys()
            names |= sizes
    assert names["architecture"] == Architecture.load("first/train/architecture.json")
    assert names["people"].joints.shape == (1, 17, 2) and Path("first/search/report.html").is_file()
