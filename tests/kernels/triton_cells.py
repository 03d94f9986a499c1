"""Cells of mixed edges on Triton beside the float64 reference: cases, problems and their comparison."""

import os
from dataclasses import dataclass

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton")

from autopose.kernels import reference  # noqa: E402
from autopose.kernels._triton.mixed_edge import mixed_edges  # noqa: E402
from autopose.kernels.topology import Topology  # noqa: E402
from tests.numerics import check_close  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
GPU = DEVICE.type == "cuda"
needs_gpu = pytest.mark.gpu


@dataclass(frozen=True)
class Case:
    """A cell (S, M) on inputs (N, C, H, W)."""

    shape: tuple[int, int, int, int]
    cell: tuple[int, int] = (1, 1)
    dtype: torch.dtype = torch.float32
    affine: bool = False
    fixed: bool = False
    layout: str = "contiguous"


CASES = {
    "one edge": Case((2, 16, 5, 6)),
    "one pixel": Case((7, 5, 1, 1)),
    "one column": Case((3, 4, 9, 1)),
    "3 channels, affine": Case((2, 3, 7, 4), affine=True),
    "17 channels, two tiles": Case((2, 17, 5, 9), cell=(1, 2)),
    "66 channels, two blocks": Case((2, 66, 3, 2)),
    "whole tiles": Case((2, 16, 8, 8), cell=(1, 2)),
    "parts in three groups": Case((2, 5, 13, 23), cell=(2, 1), affine=True),
    "130 channels": Case((2, 130, 3, 3)),
    "individual cell": Case((2, 8, 2, 3), cell=(1, 4)),
    "aggregation cell, affine": Case((2, 6, 2, 3), cell=(4, 2), affine=True),
    "fixed statistics": Case((2, 7, 4, 3), cell=(2, 2), affine=True, fixed=True),
    "channels_last": Case((2, 16, 4, 5), cell=(2, 1), layout="channels_last"),
    "ties of the maximum": Case((2, 5, 6, 5), cell=(1, 2), layout="ties"),
    "not contiguous": Case((2, 16, 4, 5), cell=(2, 1), layout="strided"),
    "bfloat16": Case((2, 16, 5, 4), cell=(1, 2), dtype=torch.bfloat16),
    "bfloat16, one edge": Case((2, 4, 3, 3), dtype=torch.bfloat16),
    "float16": Case((2, 16, 5, 4), cell=(1, 2), dtype=torch.float16, affine=True),
}


def _layout(x: torch.Tensor, layout: str) -> torch.Tensor:
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "ties":
        return x.round()
    if layout == "strided":
        return torch.cat([x, x], dim=3)[..., ::2] if x.shape[3] % 2 == 0 else x.flip(3).transpose(2, 3).transpose(2, 3)
    return x.contiguous()


def problem_of(case: Case):
    """Leaves (inputs, three convolutions, mix, affine tables), fixed statistics and the nodes' gradients, float64."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    (sources, nodes), channels = case.cell, case.shape[1]
    edges = Topology(sources, nodes).edges
    inputs = [_layout(draw(*case.shape) + 0.2, case.layout) for _ in range(sources)]
    convs = [draw(edges, channels, channels, k, k) * (2 / (channels * k * k)) ** 0.5 for k in (1, 3, 5)]
    mix = draw(edges, 6)
    mix[0, 0] = 0.0
    affine = [1 + 0.3 * draw(edges, 5, channels), draw(edges, 5, channels)] if case.affine else []
    fixed = (draw(edges, 5, channels), 0.5 + draw(edges, 5, channels).abs()) if case.fixed else None
    return [*inputs, *convs, mix, *affine], fixed, [draw(*case.shape) for _ in range(nodes)]


def rounded(tensors, dtype):
    """Values that every dtype holds exactly, so that all see one problem."""
    return [t.to(dtype).double() for t in tensors]


def run(case: Case, implementation, problem, dtype):
    """Nodes and every leaf's gradient."""
    leaves, fixed, grads = problem
    leaves = [t.detach().to(DEVICE, dtype).requires_grad_() for t in leaves]
    sources = case.cell[0]
    options = dict(zip(("norm_weight", "norm_bias"), leaves[sources + 4 :], strict=False))
    if fixed is not None:
        fixed = [t.to(DEVICE, dtype) for t in fixed]
    if implementation is mixed_edges:
        nodes, _, _ = mixed_edges(
            leaves[:sources], case.cell[1], *leaves[sources : sources + 4], statistics=fixed, **options
        )
    else:
        if fixed is not None:
            options |= dict(running_mean=fixed[0], running_var=fixed[1], training=False)
        nodes = reference.mixed_edges(leaves[:sources], case.cell[1], *leaves[sources : sources + 4], **options)
    torch.autograd.backward(nodes, [g.to(DEVICE, dtype) for g in grads])
    return [*nodes, *(leaf.grad for leaf in leaves)]


def _names(case: Case):
    sources, nodes = case.cell
    leaves = [*(f"d input {i}" for i in range(sources)), "d conv1", "d conv3", "d conv5", "d mix", "d weight", "d bias"]
    return [*(f"node {i}" for i in range(nodes)), *leaves]


def compare(case: Case) -> None:
    leaves, fixed, grads = problem_of(case)
    problem = (rounded(leaves, case.dtype), fixed and rounded(fixed, case.dtype), rounded(grads, case.dtype))
    truth = run(case, reference.mixed_edges, problem, torch.float64)
    found = run(case, mixed_edges, problem, case.dtype)
    theirs = run(case, reference.mixed_edges, problem, case.dtype)
    for name, *tensors in zip(_names(case), found, theirs, truth, strict=False):
        check_close(name, *tensors, case.dtype)
