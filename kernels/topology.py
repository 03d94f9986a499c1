"""The edges of a cell, numbered once, and how much of everything an edge has.

A cell has S inputs and M nodes. Node i is fed by every input and by every earlier node (Eqs. 2-3), by one edge each;
edges are numbered node by node, those of one node in the order of what feeds it, inputs first. What feeds an edge is a
source: the inputs, numbered from 0, then every node but the last. The edges that leave a source lead to consecutive
nodes, up to the last one: the place of an edge among them is its slot. Words and a drawing: docs/kernels.md.
"""

from dataclasses import dataclass

CONV_SIZES = (1, 3, 5)
"""The kernels of the convolutions, which are operations 0, 1 and 2."""

AVERAGE, MAXIMUM, IDENTITY = 3, 4, 5
"""The numbers of the other operations."""

NUM_CONVS = len(CONV_SIZES)
NUM_POOLS = 2
NUM_NORMED = NUM_CONVS + NUM_POOLS
"""Operations that end in a normalisation: all but the identity."""

NUM_OPS = NUM_NORMED + 1
CONV_TAPS = tuple(size**2 for size in CONV_SIZES)
NUM_TAPS = sum(CONV_TAPS)
"""Taps of all convolutions of an edge, 1 + 9 + 25: its weights are this many matrices (C, C)."""


PARTIAL_SUMS = 3
"""What adds up to the gradient of ReLU(x): that of the three convolutions, or three shares of their taps."""


def input_gradient_splits(elements: int) -> int:
    """Programs that share the taps of a tile of an input gradient, for states of ``elements`` in a launch.

    Below 2^20 elements a GPU's multiprocessors would get fewer than two tiles of 64 x 64 each; from there on one
    program sums all taps.
    """
    return PARTIAL_SUMS if elements < 2**20 else 1


def first_edge(node, inputs):
    """The number of the first edge that leads to ``node`` of a cell with ``inputs`` inputs; integers or tensors."""
    return node * inputs + node * (node - 1) // 2


@dataclass(frozen=True)
class Topology:
    """Where the edges of a cell with ``inputs`` inputs and ``nodes`` nodes come from and lead to."""

    inputs: int
    nodes: int

    @property
    def edges(self) -> int:
        """E."""
        return first_edge(self.nodes, self.inputs)

    @property
    def sources(self) -> int:
        """States that feed an edge."""
        return self.inputs + self.nodes - 1

    def first_node(self, source: int) -> int:
        """The first of the consecutive nodes that a source feeds."""
        return max(0, source - self.inputs + 1)

    def slots(self, source: int) -> int:
        """Edges that leave a source."""
        return self.nodes - self.first_node(source)

    def into(self, node: int) -> list[tuple[int, int]]:
        """(edge, source) of every edge that leads to a node."""
        return [(first_edge(node, self.inputs) + source, source) for source in range(self.inputs + node)]

    def out_of(self, source: int) -> list[int]:
        """The edges that leave a source, slot by slot."""
        return [first_edge(node, self.inputs) + source for node in range(self.first_node(source), self.nodes)]

    def by_source(self) -> list[list[int]]:
        """`out_of` every source: all edges of the cell."""
        return [self.out_of(source) for source in range(self.sources)]
