"""search.graphs: where steps run as CUDA graphs, and the sentence where they cannot."""

from types import SimpleNamespace

import pytest
import torch
from networks import supernet

from autopose.config.search_keys import SearchConfig
from autopose.engine.graphs import step_pieces
from autopose.errors import UserError
from autopose.models import PoseNetwork
from autopose.nas import GumbelSettings
from autopose.space import MacroSpace, SearchSpace

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


def test_another_word_is_refused():
    with pytest.raises(UserError, match="search.graphs"):
        SearchConfig(graphs="maybe")
