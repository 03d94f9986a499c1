"""The mixed edge's Triton operator: what it leaves alone, refuses, and how it is compiled, recomputed, captured."""

import json

import pytest
import torch
from torch import library

from tests.kernels.triton_cells import DEVICE, GPU, Case, mixed_edges, needs_gpu, problem_of, run

pytestmark = pytest.mark.usefixtures("poison", "full_precision", "same_bits")


@pytest.mark.parametrize("taps", ["triton", "library"] if GPU else ["library"])
def test_same_bits_twice(taps, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", taps)
    case = Case((8, 16, 64, 48), (1, 3), torch.bfloat16) if GPU else Case((2, 4, 3, 3), (1, 2))
    problem = problem_of(case)
    for first, second in zip(*(run(case, mixed_edges, problem, case.dtype) for _ in range(2)), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("taps", ["triton", "library"])
def test_frozen_convolutions_get_no_gradient_and_change_nothing_else(taps, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", taps)
    case = Case((2, 4, 3, 3))
    leaves, _, grads = problem_of(case)
    found = []
    for trained in ((True, True, True), (False, False, False), (False, True, False)):
        mine = [t.detach().to(DEVICE, torch.float32).requires_grad_() for t in leaves]
        for conv, wanted in zip(mine[1:4], trained, strict=True):
            conv.requires_grad_(wanted)
        nodes, _, _ = mixed_edges(mine[:1], 1, *mine[1:5])
        nodes[0].backward(grads[0].to(DEVICE, torch.float32))
        assert tuple(conv.grad is not None for conv in mine[1:4]) == trained
        found.append([leaf.grad for leaf in mine])
    for some in found[1:]:
        for grad, of_all in zip(some, found[0], strict=True):
            assert grad is None or torch.equal(grad, of_all)


@pytest.mark.parametrize(
    ("channels", "way", "kept"), [(32, "", 2), (32, "stored", 3), (64, "", 3), (64, "made", 2), (66, "made", 3)]
)
def test_planes_of_raw_outputs_that_an_edge_keeps(channels, way, kept, monkeypatch):
    from autopose.kernels._triton.launch import Cell, planes, switches

    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    monkeypatch.setenv("AUTOPOSE_POINTWISE", way)
    cell = Cell(1, 1, 1, 1, 1, channels)
    assert planes(cell, torch.bfloat16, DEVICE, switches()) == kept
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    assert planes(cell, torch.bfloat16, DEVICE, switches()) == 3
    monkeypatch.setenv("AUTOPOSE_POINTWISE", "maybe")
    with pytest.raises(ValueError, match="AUTOPOSE_POINTWISE must be made or stored, got 'maybe'"):
        planes(cell, torch.bfloat16, DEVICE, switches())


def test_the_benchmark_checks_the_mix_kernel_by_itself():
    from bench.cases import Case as BenchCase
    from bench.providers import Provider, Truth

    truth = Truth(BenchCase("mix", "3", "forward", 2), DEVICE.type)
    for half in (False, True):
        name = "bfloat16" if half else "float32"
        found = truth._errors(Provider(name, "fused", half=half), torch.bfloat16 if half else torch.float32)
        assert found[0] < (1e-2 if half else 1e-6), f"{name}: {found}"


@pytest.mark.skipif(GPU, reason="a rehearsal, on the CPU, in the interpreter")
@pytest.mark.parametrize("product", ["forward", "input", "weight"])
def test_tuning_checks_and_times_a_product_and_keeps_the_table(product):
    from autopose.kernels._triton.launch import tile_table
    from bench import tune
    from bench.products import committed

    before, own = json.dumps(tile_table()), committed(product, 16)
    items = [dict(product=product, channels=16, edges=4, setting=own | {"columns": columns}) for columns in (64, 32)]
    checked = [json.loads(line)["status"] for line in tune.check(items, rehearse=True)]
    timed = [json.loads(line) for line in tune.clock(items[:1], rehearse=True)]
    assert checked == ["right", "right"] and timed[0]["status"] == "timed" and timed[0]["ms"] > 0
    assert json.dumps(tile_table()) == before


@pytest.mark.parametrize(
    ("shape", "nodes", "message"),
    [
        ((1, 2**20, 64, 48, 1), 1, "fewer than 2\\^31 elements, got 3221225472: use a smaller batch"),
        ((1, 2**20, 64, 24, 1), 1, "at most 2\\^30 pixels, got 1610612736: use a smaller batch"),
        ((8, 2**17, 64, 48, 4), 2, "fewer than 2\\^31 moments of its edges, got .*: use a smaller batch"),
        ((1, 1, 2, 2, 4096), 4, "fewer than 2\\^31 weights of a source's edges, got 2348810240: use fewer channels"),
    ],
)
def test_more_than_the_kernels_can_number_is_refused(shape, nodes, message):
    from autopose.kernels._triton.mixed_edge import plan

    vast = torch.zeros(1, device=DEVICE).expand(shape)
    with pytest.raises(ValueError, match=message):
        plan.forward(vast, (vast,) * 3, vast, (None, None), (None, None), nodes, 1e-5, None)


def _small():
    leaves, _, _ = problem_of(Case((2, 3, 2, 2), affine=True))
    stacked = leaves[0].permute(0, 2, 3, 1).contiguous().unsqueeze(0)
    return [t.to(DEVICE, torch.float32).requires_grad_() for t in (stacked, *leaves[1:])]


def test_operator_is_registered_whole(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    library.opcheck(torch.ops.autopose.mixed_cell.default, (*_small(), None, None, 1, 1e-5, ""))


def test_compiled_graph_holds_the_operators(monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    leaves = _small()

    def cell(x, *rest):
        return torch.stack(mixed_edges(list(x.permute(0, 1, 4, 2, 3).unbind(0)), 1, *rest[:4])[0]).square().sum()

    eager = torch.autograd.grad(cell(*leaves), leaves[:5])
    compiled = torch.autograd.grad(torch.compile(cell, backend="aot_eager", fullgraph=True)(*leaves), leaves[:5])
    for a, b in zip(eager, compiled, strict=True):
        assert torch.equal(a, b)


def test_recomputed_in_backward(monkeypatch):
    from torch.utils.checkpoint import checkpoint

    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    leaves = _small()

    def cell(x, *rest):
        return torch.stack(mixed_edges(list(x.permute(0, 1, 4, 2, 3).unbind(0)), 1, *rest[:4])[0]).square().sum()

    plain = torch.autograd.grad(cell(*leaves), leaves[:5])
    again = torch.autograd.grad(checkpoint(cell, *leaves, use_reentrant=False), leaves[:5])
    for a, b in zip(plain, again, strict=True):
        assert torch.equal(a, b)


@needs_gpu
def test_captured_in_a_graph():
    case = Case((4, 16, 16, 12), (1, 2), torch.bfloat16)
    leaves, _, grads = problem_of(case)
    leaves = [t.to(DEVICE, case.dtype).requires_grad_() for t in leaves]
    grads = [g.to(DEVICE, case.dtype) for g in grads]

    def step():
        nodes, _, _ = mixed_edges(leaves[:1], 2, *leaves[1:5])
        return [*nodes, *torch.autograd.grad(nodes, leaves, grads)]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            eager = step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    for a, b in zip(eager, captured, strict=True):
        assert torch.equal(a, b)
