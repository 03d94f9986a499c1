"""search.graphs: where steps run as CUDA graphs, and the sentence where they cannot."""

from types import SimpleNamespace

import pytest
import torch
from networks import supernet

from autopose.config import from_hydra
from autopose.config.search_keys import SearchConfig
from autopose.engine.graphs import step_pieces
from autopose.engine.search import SearchRun
from autopose.errors import UserError
from autopose.models import PoseNetwork
from autopose.models.pieces import Pieces
from autopose.nas import GumbelSettings
from autopose.runs.runtime import finish, start
from autopose.space import MacroSpace, SearchSpace
from bench.small_runs import composed

CUDA = torch.device("cuda")
SIX = MacroSpace((4, 6), 2, 1, 1, 1, 4)


@pytest.fixture
def triton(monkeypatch):
    found = SimpleNamespace(implementation="triton", reason="")
    monkeypatch.setattr("autopose.engine.graphs.dispatch.resolve", lambda *args: found)
    monkeypatch.setattr("autopose.engine.graphs.Pieces", lambda: "pieces")


def asked(network=None, device=CUDA, world_size=1, single=False, **settings):
    network = network or supernet(SIX)
    return step_pieces(SearchConfig(**settings), network, device, torch.bfloat16, world_size, single)


def test_auto_takes_graphs_on_a_gpu_alone(triton):
    assert asked() == asked(graphs=True) == "pieces"
    assert asked(graphs=False) is None
    assert asked(device=torch.device("cpu")) is None
    assert asked(world_size=2, sync_bn=True) is None and asked(world_size=2) == "pieces"


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"device": torch.device("cpu")}, "need a CUDA GPU, and this search runs on cpu"),
        ({"single": True}, "one operation an edge"),
        ({"gumbel": GumbelSettings("one_op")}, "one operation an edge"),
        ({"activation_checkpointing": True}, "activation_checkpointing=true runs the modules twice"),
        ({"sync_bn": True, "world_size": 2}, "sync_bn=true exchanges statistics"),
        ({"accumulate": 3}, "batch_size=64 is not shared evenly"),
        ({"network": PoseNetwork(SearchSpace.full(SIX, operations=["skip_connect", "conv_3x3"]), 3)}, "six built-in"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_true_is_refused_where_graphs_cannot_run(triton, options, sentence):
    with pytest.raises(UserError, match=sentence):
        asked(graphs="true", **options)


def test_graphs_are_gone_when_the_derivation_trains(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("autopose.engine.search.step_pieces", lambda *args: made.append(Pieces(False)) or made[-1])
    derived = []

    def derive(run):
        parameters = run.bilevel.network.parameters()
        derived.append((run.bilevel.pieces, [p.grad for p in parameters if p.grad is not None]))
        return run.favourite()

    monkeypatch.setattr(SearchRun, "derive", derive)
    config = from_hydra(composed("search", tmp_path / "drawn", "search.controller.start_epoch=2"))
    runtime = start("cpu", tmp_path / "run")
    SearchRun(config, runtime).run()
    finish(runtime)
    assert made[0].pieces and derived == [(None, [])]


def test_another_word_is_refused():
    with pytest.raises(UserError, match="search.graphs"):
        SearchConfig(graphs="maybe")
