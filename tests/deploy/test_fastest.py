"""In which form a network predicts: chosen by device, packages and size, always with the network's heatmaps."""

import importlib.util

import pytest
import torch

from autopose.deploy.fastest import FOLDED, HALF, ONNX, PLAIN, fastest
from autopose.deploy.onnx_file import OnnxNetwork
from autopose.errors import UserError
from autopose.models import PoseNetwork
from autopose.models.frozen import FrozenNetwork
from autopose.runs.precision import FP32, Precision
from autopose.space import MacroSpace, builtin_architecture

CPU, SIZE = torch.device("cpu"), (48, 64)
AUTO, ASKED = Precision("bf16", "auto: AMX", False), Precision("bf16")
WIDE = MacroSpace((48, 96), 2, 1, 2, 1, 48)


def error(form, network, count, seed, size=SIZE):
    images = torch.randn(count, 3, size[1], size[0], generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        found, truth = form.run(images), network(images)
    assert found.shape == truth.shape and found.dtype == torch.float32
    return float((found - truth).abs().max()) / max(1.0, float(truth.abs().max()))


@pytest.mark.parametrize("installed", [True, False])
def test_in_float32_it_is_exact_before_and_after_the_faster_form_takes_over(network, monkeypatch, installed):
    if installed:
        pytest.importorskip("onnxruntime")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    form = fastest(network, SIZE, CPU, FP32, after=2)
    assert form.name == (ONNX if installed else FOLDED) and form.precision == FP32
    for call, count in enumerate((1, 3, 2, 5)):
        assert error(form, network, count, call) <= 1e-5
        assert (form.run.frozen is not None) == (call >= 2)
    assert isinstance(form.run.frozen, OnnxNetwork) == installed
    assert error(form, network, 2, 9, (96, 64)) <= 1e-5 and form.run.frozen is None  # another size is another form


def refused(self, *arguments):
    raise UserError("the ONNX file cannot be run")


@pytest.mark.parametrize(
    "name, value, why",
    [
        ("__call__", lambda self, images: torch.zeros(len(images), 17, 16, 12), "its heatmaps differ by"),
        ("__init__", refused, "the ONNX file cannot be run"),
    ],
)
def test_where_onnx_runtime_would_change_heatmaps_or_fails_pytorch_goes_on(
    network, monkeypatch, caplog, name, value, why
):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(OnnxNetwork, name, value)
    form = fastest(network, SIZE, CPU, FP32, after=0)
    assert error(form, network, 2, 0) <= 1e-5 and isinstance(form.run.frozen, torch.jit.ScriptModule)
    assert why in caplog.text


def test_bf16_is_left_out_where_it_was_not_asked_for_and_a_network_is_small(network):
    small = fastest(network, SIZE, CPU, AUTO)
    assert small.precision.name == "fp32" and "GMACs a crop" in str(small.precision) and small.name != HALF
    asked = fastest(network, SIZE, CPU, ASKED)
    assert asked.precision == ASKED and asked.name == HALF
    large = PoseNetwork(builtin_architecture("hrnet", WIDE).space(), 17).eval()
    assert fastest(large, SIZE, CPU, AUTO).precision == AUTO
    assert fastest(large, (32, 32), CPU, AUTO).precision.name == "fp32"  # it is the work of a crop that counts


def test_the_choice_is_the_same_every_time_and_leaves_the_network_alone(network, monkeypatch):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    forms = [fastest(network, SIZE, CPU, AUTO, after=1) for _ in range(3)]
    assert len({(form.name, str(form.precision)) for form in forms}) == 1
    images = torch.randn(2, 3, 64, 48)
    with torch.inference_mode():
        found = [[form.run(images) for _ in range(3)] for form in forms]
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_network_without_a_folded_form_runs_as_it_is(network, monkeypatch):
    monkeypatch.setattr(PoseNetwork, "foldable", property(lambda self: False))
    form = fastest(network, SIZE, CPU, FP32)
    assert form.name == PLAIN and form.run is network


def test_a_faster_form_is_made_after_some_calls_of_one_size(network):
    made = []
    form = FrozenNetwork(network.for_inference(), 1, freeze=lambda net, images: made.append(images.shape[1:]) or net)
    for width in (48, 48, 48, 96, 96):
        form(torch.randn(1, 3, 64, width))
    assert made == [(3, 64, 48), (3, 64, 96)]
