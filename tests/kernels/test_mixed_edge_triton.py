"""The mixed edge's Triton kernels against the float64 reference: compiled on a GPU, interpreted elsewhere."""

import pytest
import torch

from tests.kernels.triton_cells import (
    CASES,
    DEVICE,
    GPU,
    Case,
    compare,
    mixed_edges,
    needs_gpu,
    problem_of,
    reference,
    rounded,
    run,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("poison", "full_precision")

SIZES = {16: (64, 48), 32: (32, 24), 64: (16, 12), 128: (8, 6)}
PAPER = {
    f"{str(dtype)[6:]} C{c} {cell[0]}x{cell[1]}": Case((8, c, *SIZES[c]), cell, dtype)
    for dtype, c, cell in (
        *((torch.bfloat16, c, cell) for c in SIZES for cell in ((1, 1), (1, 4))),
        (torch.bfloat16, 32, (4, 2)),
        (torch.float16, 32, (1, 4)),
        *((torch.float32, c, (4, 1)) for c in (16, 32, 64)),
    )
}
"""The paper's shapes; few in float16, because every compilation costs the benchmark's machine a second or more.

In float32 no node feeds another: among so many values some node's lies within a rounding of zero, passes ReLU in one
implementation and not in the other, and changes a gradient by a thousand roundings.
"""

AROUND_LIBRARY = [name for name in PAPER if name.startswith("float32")] + ["bfloat16 C16 1x4", "float16 C32 1x4"]

FEWER = (
    "one pixel",
    "3 channels, affine",
    "17 channels, two tiles",
    "whole tiles",
    "parts in three groups",
    "individual cell",
    "aggregation cell, affine",
    "bfloat16, one edge",
    "66 channels, two blocks",
)
FEWER = FEWER[:-1] if GPU else FEWER
"""Cases of Triton's own convolutions: slow in the interpreter, and slow to compile."""

TRITON_ONLY = ("66 channels, two blocks", "bfloat16, one edge", "whole tiles")
"""Cases that only add to the interpreter's time around the library's convolutions."""


@pytest.mark.parametrize("name", CASES if GPU else [name for name in CASES if name not in TRITON_ONLY])
def test_around_library_convolutions(name, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    compare(CASES[name])


@pytest.mark.parametrize("name", FEWER)
def test_with_triton_convolutions(name, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    compare(CASES[name])


@pytest.mark.parametrize(
    ("name", "way"),
    [("3 channels, affine", "stored"), ("17 channels, two tiles", "stored"), ("fixed statistics", "made")],
)
def test_the_1x1_stored_where_it_would_be_made_anew_and_the_other_way(name, way, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    monkeypatch.setenv("AUTOPOSE_POINTWISE", way)
    compare(CASES[name])


@pytest.mark.parametrize("case", [Case((1, 17, 3, 4), (2, 2)), Case((3, 16, 5, 3), dtype=torch.bfloat16)], ids=str)
def test_gradients_gathered_by_the_product(case, monkeypatch):
    """As it does for states so large that no program shares its taps."""
    from autopose.kernels._triton.mixed_edge import plan, products

    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    monkeypatch.setattr(products, "input_gradient_splits", lambda elements: 1)
    plan._backward_plan.cache_clear()
    compare(case)
    plan._backward_plan.cache_clear()


@pytest.mark.parametrize("case", [Case((3, 4, 9, 7)), Case((16, 3, 9, 1))], ids=str)
def test_weight_gradients_of_programs_that_take_several_steps(case, monkeypatch):
    """From step to step places are added up, over the borders of rows and images."""
    from autopose.kernels._triton.mixed_edge import plan, products

    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    monkeypatch.setattr(products, "PROGRAMS", 1)
    plan._backward_plan.cache_clear()
    compare(case)
    plan._backward_plan.cache_clear()


@needs_gpu
@pytest.mark.parametrize("name", [name for name in PAPER if not name.startswith("float32")])
def test_paper_shapes_in_half_precision(name, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    compare(PAPER[name])


@needs_gpu
@pytest.mark.parametrize("name", AROUND_LIBRARY)
def test_paper_shapes_around_library_convolutions(name, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    compare(PAPER[name])


@pytest.mark.parametrize("taps", ["triton", "library"])
def test_float32_weights_beside_half_precision_states(taps, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", taps)
    leaves, _, grads = problem_of(Case((2, 3, 2, 3)))
    leaves = rounded(leaves, torch.bfloat16)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        x = leaves[0].to(DEVICE, torch.bfloat16)
        tables = [t.to(DEVICE, dtype).requires_grad_() for t in leaves[1:5]]
        nodes, _, _ = mixed_edges([x], 1, *tables)
        assert nodes[0].dtype == torch.bfloat16
        nodes[0].backward(grads[0].to(DEVICE, torch.bfloat16))
        found.append([nodes[0].detach(), *(t.grad for t in tables)])
        assert all(t.grad.dtype == dtype for t in tables)
    for half, single in zip(*found, strict=True):
        assert torch.allclose(half.float(), single.float(), rtol=1e-2, atol=1e-3)


def test_statistics_are_those_of_the_batch():
    case = Case((3, 5, 4, 6), (1, 2))
    leaves = [t.to(DEVICE, torch.float32) for t in problem_of(case)[0]]
    leaves[0] += 100
    nodes, mean, var = mixed_edges(leaves[:1], 2, *leaves[1:5])
    for edge, x in ((0, leaves[0]), (1, leaves[0]), (2, nodes[0])):
        raw = [torch.conv2d(x.double().relu(), w[edge].double(), padding=w.shape[-1] // 2) for w in leaves[1:4]]
        raw.append(torch.nn.functional.avg_pool2d(x.double(), 3, 1, 1, count_include_pad=False))
        raw.append(torch.nn.functional.max_pool2d(x.double(), 3, 1, 1))
        for op, y in enumerate(raw):
            assert torch.allclose(mean[edge, op].double(), y.mean((0, 2, 3)), rtol=1e-5, atol=1e-5)
            assert torch.allclose(var[edge, op].double(), y.var((0, 2, 3), unbiased=False), rtol=1e-3, atol=1e-6)
    assert not mean.requires_grad and not var.requires_grad


def test_not_a_number_goes_where_pytorch_sends_it(monkeypatch):
    """Fixed statistics keep a NaN local: the same outputs are NaN, and its pixel takes the maximum's gradient."""
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    case = Case((1, 2, 6, 7), fixed=True)
    leaves, fixed, grads = problem_of(case)
    leaves[0][0, 1, 2, 3] = float("nan")
    leaves[0][0, 1, 3, 4] = float("nan")
    found = run(case, mixed_edges, (leaves, fixed, grads), torch.float32)
    truth = run(case, reference.mixed_edges, (leaves, fixed, grads), torch.float32)
    assert torch.equal(found[0].isnan(), truth[0].isnan())
    assert torch.allclose(found[1], truth[1], rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("taps", ["triton", "library"])
def test_a_step_leaves_the_counters_of_its_cell_at_zero(taps, monkeypatch):
    from autopose.kernels._triton.mixed_edge import stacked_nodes

    monkeypatch.setenv("AUTOPOSE_TAPS", taps)
    leaves, _, grads = problem_of(Case((2, 3, 9, 11), (1, 2)))
    leaves = [t.to(DEVICE, torch.float32).requires_grad_() for t in leaves[:5]]
    (nodes, counters), _, _ = stacked_nodes(leaves[:1], 2, *leaves[1:])
    assert len(counters) and not counters.any()
    nodes.backward(torch.stack(grads).permute(0, 1, 3, 4, 2).to(DEVICE, torch.float32))
    assert not counters.any()


def test_groups_of_parts_hold_every_part_once():
    from autopose.kernels._triton.launch import MOST_GROUPS, group_counters, span

    for parts in (1, 2, 3, 4, 5, 17, 63, 64, 65, 192, 768, 1024, 1025, 3072, 4096, 4097, 10**6):
        groups = group_counters(parts) - 1
        assert groups <= min(parts, MOST_GROUPS) and (groups - 1) * span(parts) < parts <= groups * span(parts)
