"""What is kept for the backward pass, with each switch, and what running out of memory says."""

import json
import re
import subprocess
import sys

import pytest
import torch

from autopose.errors import UserError
from autopose.runs.memory import explain_out_of_memory, plain_passes, predict_peak
from autopose.runs.precision import FP32
from bench.memory import SMALL, child, measure

SHAPE = {"channels": (4, 8), "modules_per_stage": 1, "nodes_individual": 2, "nodes_aggregation": 1,
         "stem_channels": 4, "batch": 4, "size": (32, 32)}  # fmt: skip


@pytest.fixture(scope="module")
def default():
    return measure({}, SHAPE, torch.device("cpu"), 1)


@pytest.mark.parametrize(
    "switches", [{"activation_checkpointing": True}, {"accumulate": 2}, {"relaxation": "one_op"}], ids=str
)
def test_a_switch_keeps_less_and_the_prediction_knows(switches, default):
    found = measure(switches, SHAPE, torch.device("cpu"), 1)
    assert found["kept_for_backward_mib"] < 0.7 * default["kept_for_backward_mib"]
    assert 0.8 < found["prediction_over_peak"] < 1.1


def test_what_graphs_keep_is_foretold():
    """ω's and α's pieces together hold more than a step; both are measured uncaptured, keeping what graphs keep."""
    found = child("search.graphs", SMALL, "cpu", 1)
    assert found["prediction_over_peak"] == pytest.approx(1, abs=0.1)
    assert found["peak_mib"] > 2.5 * found["kept_for_backward_mib"]


def test_the_prediction_is_a_line_and_leaves_the_network_alone(monkeypatch):
    from autopose.models import PoseNetwork
    from autopose.runs import memory
    from autopose.space import MacroSpace, builtin_architecture

    asked = []
    monkeypatch.setattr(memory, "peak_during", lambda call, device: asked.append(call.args[0]) or 100 + 3 * asked[-1])
    macro = MacroSpace((4, 8), 1, 1, 1, 1, 4)
    network = PoseNetwork(builtin_architecture("all_on_conv3", macro).space(), 3)
    network.set_norm("batch")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    moments = 2 * sum(p.numel() * p.element_size() for p in network.parameters())
    for batch, sizes in ((16, [4, 8]), (3, [1, 2]), (2, [1, 2]), (1, [1, 1])):
        assert predict_peak(network, (32, 32), batch, plain_passes(network, FP32, network)) == moments + 100 + 3 * batch
        assert asked[-2:] == sizes
    rows = [(8, lambda count: None), (1, lambda count: None)]
    monkeypatch.setattr(memory, "held", lambda device: 50)
    held = moments // 2 + 50  # gradients, and what is held after the steps
    wanted = moments + max(100 + 3 * 2, held + 100 + 3 * 8 - 50, held + 100 + 3 - 50)
    assert predict_peak(network, (32, 32), 2, plain_passes(network, FP32, network), rows) == wanted
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    monkeypatch.setattr(memory, "peak_during", lambda call, device: None)
    assert predict_peak(network, (32, 32), 8, plain_passes(network, FP32, network)) is None


def test_a_training_foretells_the_peak_of_its_evaluations_too(tmp_path):
    """In a process of its own, as users start it, whose largest moment is an evaluation's inference and picture."""
    command = [
        sys.executable, "-m", "autopose.train", f"hydra.run.dir={tmp_path / 'run'}", f"data.root={tmp_path / 'set'}",
        "experiment=quick", "precision=fp32", "device=cpu", "architecture=random", "train.epochs=2",
        "train.evaluate_every=1", "data.num_train=64", "data.num_val=64", "data.image_size=[96,128]",
    ]  # fmt: skip
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    foretold = float(re.search(r"memory +about ([\d.]+) GiB of this process at peak", text)[1]) * 2**30
    measured = json.loads((tmp_path / "run" / "run.json").read_text())["clock"]["peak_memory"]
    assert foretold == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nMore"), MemoryError("no\nroom"),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes")])  # fmt: skip
@pytest.mark.parametrize("kind", ["search", "train"])
def test_out_of_memory_names_the_switches(error, kind):
    with pytest.raises(UserError, match=f"{kind}.activation_checkpointing=true") as caught, explain_out_of_memory(kind):
        raise error
    assert "\n" not in str(caught.value)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory("search"):
        raise RuntimeError("shape mismatch")


@pytest.mark.parametrize("kind", ["search", "train"])
def test_memory_that_ends_before_the_first_step_names_the_switches(kind, monkeypatch):
    from types import SimpleNamespace

    from autopose.runs import memory

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "predict_peak", full)
    network = SimpleNamespace(state=SimpleNamespace(mode="batch"), set_norm=lambda mode: None)
    runtime = SimpleNamespace(world_size=1, precision=FP32)
    with pytest.raises(UserError, match=f"out of memory: .*{kind}.accumulate=2"):
        memory.log_prediction(kind, network, SimpleNamespace(batch_size=4, accumulate=1), (32, 32), runtime, None)
