"""Rows of a run in a tracker: stand-ins of both packages note what they are given."""

import sys
from types import ModuleType

import pytest
from test_commands import run

from bench.small_runs import SEARCH


class Note(ModuleType):
    """A package that remembers its calls."""

    def __init__(self, name):
        super().__init__(name)
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            return self

        return call


@pytest.mark.parametrize("kind, row, end", [("wandb", "log", "finish"), ("mlflow", "log_metrics", "end_run")])
def test_every_epoch_reaches_the_tracker(kind, row, end, small_set, tmp_path, monkeypatch):
    note = Note(kind)
    monkeypatch.setitem(sys.modules, kind, note)
    assert run("search", tmp_path, *SEARCH, f"data.root={small_set}", f"tracker={kind}") == 0
    names = [name for name, _, _ in note.calls]
    assert names.count(row) == 2 and names[-1] == end
    numbers = [arguments[0] for name, arguments, _ in note.calls if name == row]
    assert numbers[0]["loss_train"] > 0 and "entropy_alpha/mean" in numbers[0]
    assert [options["step"] for name, _, options in note.calls if name == row] == [0, 1]


def test_a_missing_package_is_one_sentence_before_anything_runs(small_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert run("search", tmp_path, *SEARCH, f"data.root={small_set}", "tracker=wandb") == 2
    assert "tracker=wandb needs the package wandb: pip install wandb" in capsys.readouterr().err
    assert not (tmp_path / "metrics.jsonl").exists()
