"""A whole cell and the compression of its nodes: Triton's kernels against the float64 reference, and the checks."""

import os
from dataclasses import dataclass

import pytest
import torch
from torch import library

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from autopose import kernels  # noqa: E402
from autopose.kernels import dispatch, reference  # noqa: E402
from tests.kernels.cases import CellCase  # noqa: E402
from tests.numerics import check_close  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
needs_triton = pytest.mark.skipif(not dispatch.HAS_TRITON, reason="Triton's kernels")
pytestmark = pytest.mark.usefixtures("full_precision")


@dataclass(frozen=True)
class Case:
    """M nodes (N, C, H, W)."""

    nodes: int
    shape: tuple[int, int, int, int]
    dtype: torch.dtype = torch.float32
    affine: bool = False
    fixed: bool = False


CASES = {
    "individual": Case(4, (2, 16, 9, 8)),
    "one node of three channels": Case(1, (2, 3, 5, 7)),
    "17 channels, affine": Case(2, (2, 17, 5, 9), affine=True),
    "one pixel": Case(2, (5, 4, 1, 1)),
    "two blocks of channels in, two out": Case(2, (1, 66, 6, 7)),
    "two blocks out, three in": Case(2, (1, 130, 4, 5), torch.bfloat16, affine=True),
    "fixed statistics": Case(2, (2, 5, 4, 3), affine=True, fixed=True),
    "bfloat16": Case(4, (2, 16, 9, 8), torch.bfloat16),
    "float16": Case(2, (2, 32, 5, 4), torch.float16),
}


def _problem(case: Case):
    """Nodes stacked, weight, affine parameters; fixed statistics; the output's gradient; float64."""
    draws, channels = torch.Generator().manual_seed(0), case.shape[1]
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=draws)  # noqa: E731
    leaves = [draw(case.nodes, *case.shape) + 0.2, draw(channels, case.nodes * channels, 1, 1) / channels**0.5]
    leaves += [1 + 0.3 * draw(channels), draw(channels)] if case.affine else []
    fixed = (draw(channels), 0.5 + draw(channels).abs()) if case.fixed else None
    rounded = [t.to(case.dtype).double() for t in (*leaves, draw(*case.shape))]
    return rounded[:-1], fixed, rounded[-1]


def _run(case: Case, fused: bool, dtype: torch.dtype, weights: bool = True):
    """Output and every leaf's gradient."""
    leaves, fixed, grad = _problem(case)
    nodes, weight, *affine = (t.to(DEVICE, dtype).requires_grad_() for t in leaves)
    for t in (weight, *affine):
        t.requires_grad_(weights)
    options = dict(zip(("norm_weight", "norm_bias"), affine, strict=False))
    fixed = None if fixed is None else tuple(t.to(DEVICE, dtype) for t in fixed)
    if fused:
        from autopose.kernels._triton.compress import compress

        stacked = nodes.permute(0, 1, 3, 4, 2).contiguous()
        out, mean, var = compress(stacked, weight, statistics=fixed, **options)
        assert not (mean.requires_grad or var.requires_grad)
    else:
        if fixed is not None:
            options |= dict(running_mean=fixed[0], running_var=fixed[1], training=False)
        out = reference.compress(nodes.unbind(0), weight, **options)
    out.backward(grad.to(DEVICE, dtype))
    return [out.detach(), *(t.grad for t in (nodes, weight, *affine))]


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_error_of_the_compression(name, poison):
    case = CASES[name]
    results = _run(case, True, case.dtype), _run(case, False, case.dtype), _run(case, False, torch.float64)
    for what, *tensors in zip(("output", "d nodes", "d weight", "d norm", "d bias"), *results, strict=False):
        check_close(what, *tensors, case.dtype)


PAPER = {16: (64, 48), 32: (32, 24), 64: (16, 12), 128: (8, 6)}
"""Channels of the paper's supernet and the sizes of their feature maps."""


@needs_triton
@pytest.mark.gpu
@pytest.mark.parametrize("channels", PAPER)
def test_compression_at_the_papers_shapes(channels):
    case = Case(4, (64, channels, *PAPER[channels]), torch.bfloat16, affine=True)
    results = _run(case, True, case.dtype), _run(case, False, case.dtype), _run(case, False, torch.float64)
    for what, *tensors in zip(("output", "d nodes", "d weight", "d norm", "d bias"), *results, strict=True):
        check_close(what, *tensors, case.dtype)


@needs_triton
def test_programs_that_take_several_tiles(monkeypatch, poison):
    from autopose.kernels._triton.compress import plan

    monkeypatch.setattr(plan, "PROGRAMS", 4)
    monkeypatch.setattr(plan, "PARTS", 3)
    case = Case(1, (3, 2, 19, 23))
    results = _run(case, True, case.dtype), _run(case, False, case.dtype), _run(case, False, torch.float64)
    for what, *tensors in zip(("output", "d nodes", "d weight"), *results, strict=True):
        check_close(what, *tensors, case.dtype)


@needs_triton
def test_a_second_step_finds_the_counters_at_zero_and_gives_the_same_bits():
    from autopose.kernels._triton.compress import compress

    leaves, _, grad = _problem(Case(2, (3, 17, 13, 23), affine=True))
    counters, found = torch.zeros(1000, dtype=torch.int32, device=DEVICE), []
    for _ in range(2):
        nodes, *rest = (t.float().to(DEVICE).requires_grad_() for t in leaves)
        stacked = nodes.permute(0, 1, 3, 4, 2).contiguous()
        options = dict(zip(("norm_weight", "norm_bias"), rest[1:], strict=True))
        out, mean, var = compress(stacked, rest[0], counters=counters, **options)
        out.backward(grad.float().to(DEVICE))
        found.append([out, mean, var, *(t.grad for t in (nodes, *rest))])
        assert not counters.any()
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@needs_triton
def test_statistics_of_many_parts_lose_nothing_to_a_large_mean():
    """Parts of 64 pixels in groups, groups of groups: 16 parts, the last a short one."""
    from autopose.kernels._triton.compress import compress

    draws = torch.Generator().manual_seed(2)
    nodes = torch.randn(1, 3, 19, 17, 3, generator=draws).to(DEVICE) + 300
    _, mean, var = compress(nodes, torch.eye(3, device=DEVICE).view(3, 3, 1, 1))
    rows = nodes.double().flatten(0, 3)
    assert torch.allclose(mean.double(), rows.mean(0), rtol=1e-6)
    assert torch.allclose(var.double(), rows.var(0, unbiased=False), rtol=1e-4)


@needs_triton
def test_frozen_weights_get_no_gradient_and_change_nothing_else():
    case = CASES["17 channels, affine"]
    trained, frozen = _run(case, True, case.dtype), _run(case, True, case.dtype, weights=False)
    assert frozen[2] is frozen[3] is frozen[4] is None
    assert torch.equal(trained[0], frozen[0]) and torch.equal(trained[1], frozen[1])


@needs_triton
def test_not_a_number_passes_as_in_pytorch():
    from autopose.kernels._triton.compress import compress

    case = CASES["fixed statistics"]
    leaves, fixed, _ = _problem(case)
    nodes, weight = (t.float().to(DEVICE) for t in leaves[:2])
    nodes[1, 0, 2, 1, 1] = float("nan")
    statistics = tuple(t.float().to(DEVICE) for t in fixed)
    out, _, _ = compress(nodes.permute(0, 1, 3, 4, 2).contiguous(), weight, statistics=statistics)
    expected = reference.compress(
        nodes.unbind(0), weight, running_mean=statistics[0], running_var=statistics[1], training=False
    )
    assert torch.equal(out.isnan(), expected.isnan()) and out.isnan().any()


@needs_triton
def test_operator_is_registered_whole():
    import autopose.kernels._triton.compress  # noqa: F401  (registers it)

    leaves, _, _ = _problem(Case(2, (2, 3, 2, 2), affine=True))
    nodes, *rest = (t.float().to(DEVICE).requires_grad_() for t in leaves)
    nodes = nodes.detach().permute(0, 1, 3, 4, 2).contiguous().requires_grad_()
    counters = torch.zeros(100, dtype=torch.int32, device=DEVICE)
    library.opcheck(torch.ops.autopose.compress.default, (nodes, *rest, None, None, counters, 1e-5, ""))


@needs_triton
def test_compiled_graph_holds_the_operators():
    from autopose.kernels._triton.compress import compress
    from autopose.kernels._triton.launch import Cell

    leaves, _, grad = _problem(Case(2, (2, 3, 2, 2), affine=True))
    nodes, *rest = (t.float().to(DEVICE).requires_grad_() for t in leaves)
    nodes = nodes.detach().permute(0, 1, 3, 4, 2).contiguous().requires_grad_()
    counters = torch.zeros(Cell(1, *nodes.shape).counters, dtype=torch.int32, device=DEVICE)

    def output(nodes, weight, norm_weight, norm_bias):
        return compress(nodes, weight, norm_weight=norm_weight, norm_bias=norm_bias, counters=counters)[0]

    compiled = torch.compile(output, backend="aot_eager", fullgraph=True)
    found = []
    for run in (output, compiled):
        out = run(nodes, *rest)
        found.append([out.detach(), *torch.autograd.grad(out, (nodes, *rest), grad.float().to(DEVICE))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def _cell(case: CellCase, implementation: str, training: bool = True, affine: bool = True):
    """Output, running statistics and gradients of a whole cell."""
    dtype, channels, draws = case.inputs[0].dtype, case.shape[1], torch.Generator().manual_seed(5)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=draws).to(DEVICE, dtype)  # noqa: E731
    weight = draw(channels, case.num_nodes * channels, 1, 1).requires_grad_()
    own = [draw(channels).requires_grad_() for _ in range(2)] if affine else [None, None]
    running = [draw(channels), draw(channels).abs() + 0.5, *(t.to(DEVICE, dtype).clone() for t in case.running)]
    out = kernels.mixed_cell(
        case.inputs, case.num_nodes, *case.convs, case.mix, kernels.Compression(weight, *own, *running[:2]),
        **case.norm, running_mean=running[2], running_var=running[3], training=training, implementation=implementation,
    )  # fmt: skip
    leaves = [*case.leaves, weight, *(t for t in own if t is not None)]
    return [out.detach(), *running, *torch.autograd.grad(out, leaves, case.grads[0])]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("implementation", ["aten", pytest.param("triton", marks=needs_triton)])
def test_a_whole_cell_with_its_running_statistics(implementation, training, poison):
    case = CellCase((2, 4, 3, 2), 2, 2, affine=True).to(DEVICE)
    dtype = torch.float64 if implementation == "aten" else torch.float32
    truth = _cell(case, "reference", training)
    found, theirs = (_cell(case.to(dtype=dtype), which, training) for which in (implementation, "reference"))
    for index, tensors in enumerate(zip(found, theirs, truth, strict=True)):
        check_close(f"result {index}", *tensors, dtype)


def test_a_whole_cell_is_its_nodes_compressed():
    case = CellCase((2, 4, 3, 2), 1, 3)
    weight = torch.randn(4, 12, 1, 1, dtype=torch.float64)
    nodes = kernels.mixed_edges(case.inputs, 3, *case.convs, case.mix)
    whole = kernels.mixed_cell(case.inputs, 3, *case.convs, case.mix, kernels.Compression(weight))
    assert torch.equal(whole, reference.compress(nodes, weight))


@pytest.mark.parametrize(
    "tables,message",
    [
        ((torch.zeros(4, 4, 1, 1),), r"weight \(C, nodes \* C, 1, 1\) = \(4, 8, 1, 1\), got \(4, 4, 1, 1\)"),
        ((torch.zeros(4, 8, 1, 1),), "compression's weight of dtype float64"),
        ((torch.zeros(4, 8, 1, 1).double(), torch.ones(4).double()), "norm_weight and norm_bias together"),
        ((torch.zeros(4, 8, 1, 1).double(), None, None, torch.ones(5).double()), r"running_mean of shape \(4,\)"),
    ],
)
def test_a_compression_that_does_not_fit_is_refused(tables, message):
    case = CellCase((2, 4, 3, 2), 1, 2)
    with pytest.raises(ValueError, match=f"mixed_cell.* {message}"):
        kernels.mixed_cell(case.inputs, 2, *case.convs, case.mix, kernels.Compression(*tables))
