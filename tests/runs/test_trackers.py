"""Rows of a run in a tracker: stand-ins of both packages note what they are given."""

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest
from test_commands import run

from autopose.errors import UserError
from autopose.runs.trackers import Tracker
from bench.small_runs import SEARCH


class Broken(Exception):
    """What the stand-ins raise."""


class Service:
    """Stands in for a package and notes its calls."""

    def __init__(self, monkeypatch, name):
        self.calls, self.broken = [], False
        module, errors = ModuleType(name), ModuleType(f"{name}.{'errors' if name == 'wandb' else 'exceptions'}")
        errors.Error = errors.MlflowException = Broken
        for call in ("set_experiment", "log_params", "log_metrics", "end_run"):
            setattr(module, call, lambda *given, call=call, **named: self.note(call, *given, **named))
        module.init, module.start_run = self.init, self.start_run
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(sys.modules, errors.__name__, errors)

    def note(self, call, *given, **named):
        if self.broken:
            raise Broken("no\nconnection")
        self.calls.append((call, given, named))

    def init(self, **named):
        self.note("start", **named)

        def log(numbers, step):
            self.note("log_metrics", numbers, step=step)

        return SimpleNamespace(id=named["id"] or "new", log=log, finish=lambda: self.note("end_run"))

    def start_run(self, run_id, run_name):
        self.note("start", id=run_id, name=run_name)
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "new"))

    def named(self, call):
        return [(given, named) for name, given, named in self.calls if name == call]


def test_every_epoch_reaches_the_tracker(small_set, tmp_path, monkeypatch):
    service = Service(monkeypatch, "wandb")
    assert run("search", tmp_path, *SEARCH, f"data.root={small_set}", "tracker=wandb") == 0
    rows = service.named("log_metrics")
    assert [named["step"] for _, named in rows] == [0, 1] and service.calls[-1][0] == "end_run"
    assert rows[0][0][0]["loss_train"] > 0 and "entropy_alpha/mean" in rows[0][0][0]


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_a_resumed_run_goes_on_with_the_same_one(kind, tmp_path, monkeypatch):
    service = Service(monkeypatch, kind)
    for epoch in range(2):
        tracker = Tracker(kind, "mine", tmp_path, {"train": {"epochs": 3}})
        tracker.log({"epoch": epoch, "loss": 0.5, "mode": "[01]", "reward": None, "metrics": {"AP": 0.25}}, epoch)
        tracker.close()
    starts = service.named("start")
    assert [named["id"] for _, named in starts] == [None, "new"] and starts[0][1]["name"] == "mine"
    assert service.named("log_metrics")[1] == (({"epoch": 1, "loss": 0.5, "metrics/AP": 0.25},), {"step": 1})
    assert len(service.named("end_run")) == 2
    if kind == "mlflow":
        assert service.named("log_params") == [(({"train/epochs": "3"},), {})]


def test_a_tracker_that_fails_on_the_way_is_said_once(tmp_path, monkeypatch):
    service, said = Service(monkeypatch, "mlflow"), []
    monkeypatch.setattr(logging.getLogger("autopose"), "warning", lambda text, *given: said.append(text % given))
    tracker = Tracker("mlflow", "mine", tmp_path, {})
    service.broken = True
    for step in range(3):
        tracker.log({"loss": 1.0}, step)
    tracker.close()
    assert said == ["caution    mlflow takes no more numbers: no; the run goes on"]


def test_one_that_refuses_at_the_start_is_one_sentence(tmp_path, monkeypatch):
    Service(monkeypatch, "wandb").broken = True
    with pytest.raises(UserError, match="tracker=wandb cannot be used: no$"):
        Tracker("wandb", "mine", tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_one_sentence_before_anything_runs(small_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert run("search", tmp_path, *SEARCH, f"data.root={small_set}", "tracker=wandb") == 2
    said = capsys.readouterr()
    assert "tracker=wandb needs the package wandb: pip install wandb" in said.err
    assert not said.out and not list(tmp_path.iterdir())
