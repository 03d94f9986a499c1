"""The strong baseline of the benchmarks: the reference's numbers, and nothing that a compiler cannot see through."""

import pytest
import torch

from autopose import kernels
from autopose.kernels import reference
from bench.baseline import cells, mixed_edges
from bench.cases import Case
from bench.convolutions import library, row
from bench.graphed import Calls
from bench.providers import Provider, Truth
from tests.kernels.cases import CellCase

CASES = {
    "individual cell": CellCase((2, 4, 6, 5), 1, 4),
    "aggregation cell": CellCase((2, 4, 6, 5), 4, 2, format="channels_last"),
    "affine": CellCase((2, 4, 5, 3), 2, 2, affine=True),
    "one edge": CellCase((2, 3, 5, 7)),
}


def run(case):
    nodes = kernels.mixed_edges(
        case.inputs, case.num_nodes, *case.convs, case.mix, **case.norm, implementation="reference"
    )
    return [*nodes, *torch.autograd.grad(nodes, case.leaves, case.grads)]


@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference_and_leaves_it_in_place(name):
    case, plain = CASES[name], reference.mixed_edges
    truth = run(case)
    with cells(compiled=False):
        assert reference.mixed_edges is mixed_edges
        found = run(case)
    assert reference.mixed_edges is plain
    for index, (a, b) in enumerate(zip(found, truth, strict=True)):
        assert float((a - b).detach().abs().max() / b.detach().abs().max()) <= 1e-12, f"result {index}"


def test_in_bfloat16_it_errs_as_the_reference_does():
    provider = Provider("baseline bf16 graph", "baseline", half=True)
    assert Truth(Case("mixed_edge", "3", "step", 2), "cpu").check(provider) == ""


def test_a_compiler_sees_all_of_it_at_once():
    case, graphs = CASES["aggregation cell"], []

    def backend(graph, _):
        graphs.append({str(node.target) for node in graph.graph.nodes if node.op == "call_function"})
        return graph.forward

    whole = torch.compile(mixed_edges, fullgraph=True, dynamic=False, backend=backend)
    found = whole(case.inputs, case.num_nodes, *case.convs, case.mix)
    assert len(graphs) == 1 and not any("autopose" in target for target in graphs[0])
    expected = mixed_edges(case.inputs, case.num_nodes, *case.convs, case.mix)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_running_statistics_are_refused():
    case = CASES["one edge"]
    with pytest.raises(ValueError, match="the batch's statistics alone"):
        mixed_edges(case.inputs, 1, *case.convs, case.mix, training=False)


@pytest.mark.parametrize(("operator", "convolutions", "norms"), [("mixed_edge", 3, 5), ("one_op_cell", 7, 9)])
def test_what_a_path_must_leave_to_the_library_is_counted_as_the_reference_calls_it(operator, convolutions, norms):
    case = Case(operator, "3", "step", 1)
    for normalise in (False, True):
        with Calls() as calls:
            library(case, normalise)()
        wanted = dict.fromkeys(("convolution", "convolution_backward"), convolutions)
        wanted |= dict.fromkeys(("native_batch_norm", "native_batch_norm_backward"), norms * normalise)
        assert {name: calls.count[name] for name in wanted} == wanted
    cells = row(case, 1).strip("| ").split(" | ")
    assert cells[:2] == [operator, "128"] and len(cells) == 8 and all(float(cell) > 0 for cell in cells[2:])
