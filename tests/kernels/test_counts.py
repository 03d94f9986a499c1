"""What a cell costs, without a clock: kernel launches of a step and bytes kept for its backward pass."""

import pytest
import torch

from autopose import kernels
from tests.kernels.cases import CellCase, LaunchCounter

CELLS = {"individual": (1, 4), "aggregation": (4, 2)}
SIZES = {"library": (2, 16, 32, 24), "products": (2, 16, 4, 4)}
"""A size at which the library convolves, and one at which matrix products over copied neighbourhoods do."""

LAUNCHES = {
    ("individual", "library"): 400,
    ("individual", "products"): 460,
    ("aggregation", "library"): 480,
    ("aggregation", "products"): 525,
}
"""Most ATen calls that may launch a kernel in one step; the reference's is 592 and 532."""

STATES = {
    ("individual", "fused"): 5.4,
    ("aggregation", "fused"): 6.0,
    ("individual", "triton"): 3.9,
    ("aggregation", "triton"): 4.1,
}
"""Most memory kept for the backward pass, in states (N, C, H, W) an edge; the reference's is 13.3 and 13.1."""


def step(case: CellCase, implementation: str) -> None:
    nodes = kernels.mixed_edges(case.inputs, case.num_nodes, *case.convs, case.mix, implementation=implementation)
    torch.autograd.grad(nodes, case.leaves, case.grads)


def launches(case: CellCase, implementation: str) -> int:
    with LaunchCounter() as counter:
        step(case, implementation)
    return counter.total


def kept(case: CellCase, implementation: str) -> float:
    """Memory saved for the backward pass but for parameters and inputs, in states an edge."""
    known = {t.untyped_storage().data_ptr() for t in case.leaves}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kernels.mixed_edges(case.inputs, case.num_nodes, *case.convs, case.mix, implementation=implementation)
    state = case.inputs[0].numel() * case.inputs[0].element_size()
    return sum(size for size, _ in storages.values()) / state / case.edges


def make(cell: str, size: str) -> CellCase:
    return CellCase(SIZES[size], *CELLS[cell], dtype=torch.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_launches(cell, size):
    case = make(cell, size)
    fused, reference = launches(case, "fused"), launches(case, "reference")
    assert fused <= LAUNCHES[cell, size]
    assert reference > fused


@pytest.mark.parametrize("cell,implementation", STATES)
def test_memory_kept_for_the_backward_pass(cell, implementation):
    if implementation == "triton":
        pytest.importorskip("triton")
        case = make(cell, "products")
        case = case.to("cuda") if torch.cuda.is_available() else case
    else:
        case = make(cell, "library")
    found, reference = kept(case, implementation), kept(case, "reference")
    assert found <= STATES[cell, implementation]
    assert reference > 2 * found


def test_resample_sum_counts():
    inputs = [torch.randn(2, 16, side, side, requires_grad=True) for side in (2, 4, 8, 16)]
    weights, totals = torch.ones(4, requires_grad=True), {}
    for implementation in ("reference", "fused"):
        with LaunchCounter() as counter:
            out = kernels.resample_sum(inputs, weights, (8, 8), implementation=implementation)
            torch.autograd.grad(out.sum(), [*inputs, weights])
        totals[implementation] = counter.total
    assert totals["fused"] <= totals["reference"] <= 40
