"""Times of a network's forms and parts: which there are, and that they belong to the networks that they name."""

import sys
from dataclasses import replace

import pytest
import torch

from autopose.config import LatencyConfig, SpaceConfig, TrainConfig
from autopose.deploy import latency
from autopose.deploy.onnx_parts import LESS, MORE, WHOLE, onnx_functions, part_timings
from autopose.deploy.parts import Measured, Parts, measure_parts
from autopose.latency import FILE, OPERATIONS_FILE, run
from autopose.report.latency import format_check, format_forms
from autopose.runs.precision import Precision
from autopose.runs.runtime import Runtime, StopRequest
from autopose.space import OPS, MacroSpace
from autopose.space.latency import LatencyTable, parts_of

CPU = torch.device("cpu")
SPACE = MacroSpace((4, 8), 2, 1, 2, 1, 4)
HARDWARE = {"cpu": "x", "threads": 1, "gpu": None, "torch": "2"}


def test_all_forms_give_the_networks_heatmaps(network, config):
    pytest.importorskip("onnxruntime")
    forms = latency.forms_of(network, config, CPU, Precision("bf16"))
    assert set(forms.run) == set(latency.FORMS) and not forms.missing
    assert forms.predicted.name == latency.HALF
    other = latency.forms_of(network, config, CPU)
    assert other.predicted.name == latency.ONNX and latency.HALF not in other.run
    images = torch.randn(2, 3, 64, 48)
    with torch.inference_mode():
        truth = network(images)
        for name, form in forms.run.items():
            heatmaps = form(images)
            if name in (latency.HALF, latency.PREDICTED):
                torch.testing.assert_close(heatmaps, truth, atol=0.05 * float(truth.abs().max()), rtol=0)
            elif name == latency.INT8:
                assert torch.corrcoef(torch.stack([heatmaps.flatten(), truth.flatten()]))[0, 1] > 0.9
            else:
                torch.testing.assert_close(heatmaps, truth, atol=1e-4, rtol=0)


def test_a_missing_package_is_a_line_of_the_table(network, config, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    forms = latency.forms_of(network, config, CPU)
    mine = (latency.PREDICTED, latency.FOLDED, latency.REFERENCE)
    assert set(forms.run) == set(mine) and set(forms.missing) == {latency.ONNX, latency.INT8}
    assert forms.predicted.name == latency.FOLDED
    rows = latency.rows_of(latency.measure(forms, (48, 64), (1, 2), 3, CPU))
    assert [(row["form"], row["batch"], row["rounds"]) for row in rows] == [
        (name, batch, 3) for batch in (1, 2) for name in mine
    ]
    shown = format_forms(rows, forms.missing)
    assert "n/a" in shown and f"{latency.ONNX:<36} not measured: " in shown and "pip install onnxruntime" in shown


def test_ratios_are_to_onnx_runtime_at_the_same_batch():
    timings = {(latency.FOLDED, 1): 3.0, (latency.ONNX, 1): 2.0, (latency.FOLDED, 4): 5.0, (latency.ONNX, 4): 10.0}
    rows = latency.rows_of({key: latency.Timing(0, value, 9, 7) for key, value in timings.items()})
    assert [row["ratio"] for row in rows] == [1.5, 1, 0.5, 1]


def test_parts_do_what_the_folded_network_does():
    """Every part is called at its branch's size, and resampling gives the target's."""
    parts = Parts(SPACE, OPS, (48, 64), 17, CPU)
    functions = parts.functions(2)
    assert list(functions) == parts_of(SPACE, OPS)
    with torch.inference_mode():
        assert functions["resample", 1, "0"]().shape == (2, 8, 8, 6)
        assert (
            functions["resample", 0, "1"]().shape == functions["compress", 0, "aggregation"]().shape == (2, 4, 16, 12)
        )
        assert functions["head", 0, ""]().shape == (2, 17, 16, 12)
        for part, call in functions.items():
            call()
            assert part[0] != "operation" or all(x.shape[2:] == (16 >> part[1], 12 >> part[1]) for x in call.args)


@pytest.mark.parametrize("by_onnx_runtime", [False, True])
def test_a_measured_table_is_read_and_names_its_error(by_onnx_runtime):
    if by_onnx_runtime:
        pytest.importorskip("onnxruntime")
    content = measure_parts(Measured(SPACE, 1, OPS[1:], (48, 64), 17, (1,)), 1, CPU, HARDWARE, by_onnx_runtime)
    table = LatencyTable.from_dict(content)
    assert table.form == (latency.ONNX if by_onnx_runtime else latency.FOLDED) in table.measured_on()
    table.check(SPACE, 1, (48, 64), OPS[1:])
    assert {row["architecture"] for row in content["check"]} >= {"hrnet", "all_on_conv3", "random 0"}
    for row in content["check"]:
        assert row["error"] == pytest.approx(row["sum_ms"] / row["measured_ms"] - 1)
    shown = format_check(content["check"], table.form)
    assert shown.count("%") == len(content["check"]) and f"measured in {table.form}" in shown


def test_parts_in_onnx_runtime_are_charged_neither_for_their_call_nor_for_its_layout():
    """Three in a row over one, or a resampling over the addition of 1; what noise makes negative is nothing."""
    part, ends, resample = ("operation", 0, "conv_1x1"), ("stem", 0, ""), ("resample", 1, "0")
    times = {
        (part, 1, MORE): 7,
        (part, 1, LESS): 3,
        (ends, 1, WHOLE): 5,
        (resample, 1, MORE): 2,
        (resample, 1, LESS): 4,
    }
    found = part_timings({key: latency.Timing(value, value + 1, value + 2, 9) for key, value in times.items()})
    assert {key: timing.p50_ms for key, timing in found.items()} == {(part, 1): 2, (ends, 1): 6, (resample, 1): 0}


def test_parts_in_onnx_runtime_compute_what_they_do_in_pytorch():
    pytest.importorskip("onnxruntime")
    parts = Parts(SPACE, OPS, (48, 64), 17, CPU)
    calls = parts.calls(2)
    functions = onnx_functions(calls, 2)
    assert {part for part, *_ in functions} == set(calls)
    for (part, _, form), call in functions.items():
        if form == LESS and part[0] != "resample" or form == WHOLE:
            function, inputs = calls[part]
            truth = function(*inputs)
            truth = truth if isinstance(truth, list | tuple) else [truth]
            for mine, theirs in zip(call(), truth, strict=True):
                torch.testing.assert_close(torch.from_numpy(mine), theirs, atol=1e-4, rtol=1e-4)


def test_the_command_writes_both_tables(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    config = replace(
        config, architecture="hrnet", train=TrainConfig(width=1), latency=LatencyConfig(2, 1, True),
        space=SpaceConfig(channels=[4, 8], num_stages=1, nodes_individual=2, nodes_aggregation=1, stem_channels=4),
    )  # fmt: skip
    stop = StopRequest()
    try:
        assert run(config, Runtime(CPU, 0, 1, tmp_path, stop)) == tmp_path / FILE
    finally:
        stop.release()
    table = LatencyTable.load(tmp_path / OPERATIONS_FILE)
    assert table.batches == (1, 2) and table.operations == OPS
