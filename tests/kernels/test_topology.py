"""The numbering of a cell's edges is one: in the search space, on the host and on the device."""

import pytest

from autopose.kernels.topology import CONV_SIZES, IDENTITY, NUM_CONVS, NUM_NORMED, NUM_OPS, NUM_TAPS, Topology
from autopose.space import OPS
from autopose.space.cell import CellSpace, num_edges

CELLS = [(1, 1), (1, 4), (4, 2), (2, 3), (3, 1)]


@pytest.mark.parametrize("inputs,nodes", CELLS)
def test_the_search_space_numbers_the_same_edges(inputs, nodes):
    cell = Topology(inputs, nodes)
    assert cell.edges == num_edges(inputs, nodes)
    assert [(node, s) for node in range(nodes) for _, s in cell.into(node)] == list(
        CellSpace.full(inputs, nodes).edges()
    )


@pytest.mark.parametrize("inputs,nodes", CELLS)
def test_every_edge_enters_one_node_and_leaves_one_source(inputs, nodes):
    cell = Topology(inputs, nodes)
    ends = {edge: (source, node) for node in range(nodes) for edge, source in cell.into(node)}
    assert list(ends) == list(range(cell.edges))
    left = {}
    for source, edges in enumerate(cell.by_source()):
        assert len(edges) == cell.slots(source) > 0
        left |= {edge: (source, cell.first_node(source) + slot) for slot, edge in enumerate(edges)}
    assert left == ends


def test_counts_are_those_of_the_search_space():
    assert len(OPS) == NUM_OPS and OPS[IDENTITY] == "skip_connect" and NUM_NORMED == NUM_OPS - 1
    assert [f"conv_{k}x{k}" for k in CONV_SIZES] == list(OPS[:NUM_CONVS])
    assert sum(k * k for k in CONV_SIZES) == NUM_TAPS
