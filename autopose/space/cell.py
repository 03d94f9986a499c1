"""Cells as directed acyclic graphs (§3.1.2, Eqs. 2 and 3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autopose.errors import UserError

from .ops import OPS, operation, ordered


def num_edges(num_inputs: int, num_nodes: int) -> int:
    """Edges of a cell whose every node reads all inputs and all earlier nodes."""
    return num_nodes * num_inputs + num_nodes * (num_nodes - 1) // 2


@dataclass(frozen=True)
class Genotype:
    """One operation for every edge of a cell, all predecessors kept (§3.3).

    ``ops[e]`` is an operation's name; edges are node-major: node i reads the inputs first, then nodes 0 .. i-1.
    """

    num_inputs: int
    num_nodes: int
    ops: tuple[str, ...]

    def __post_init__(self):
        expected = num_edges(self.num_inputs, self.num_nodes)
        if len(self.ops) != expected:
            raise UserError(
                f"a cell with {self.num_inputs} input(s) and {self.num_nodes} nodes has {expected} edges, "
                f"but {len(self.ops)} operations were given"
            )
        for op in self.ops:
            operation(op)


@dataclass(frozen=True)
class CellSpace:
    """A cell and the candidate operations of each of its edges.

    The individual cell is (1, 4), the aggregation cell (B, 2). An edge with one candidate is that operation.

    Args:
        num_inputs: tensors that every node reads.
        num_nodes: nodes, in order; node i also reads nodes 0 .. i-1.
        candidates: per edge, node-major, the names of its candidate operations.
    """

    num_inputs: int
    num_nodes: int
    candidates: tuple[tuple[str, ...], ...]

    def __post_init__(self):
        expected = num_edges(self.num_inputs, self.num_nodes)
        if len(self.candidates) != expected or not all(self.candidates):
            raise UserError(
                f"a cell with {self.num_inputs} input(s) and {self.num_nodes} nodes needs candidates for each of its "
                f"{expected} edges, but {len(self.candidates)} sets (or an empty one) were given"
            )
        object.__setattr__(self, "candidates", tuple(ordered(names) for names in self.candidates))
        for name in self.operations:
            operation(name)

    @classmethod
    def full(cls, num_inputs: int, num_nodes: int, operations: Sequence[str] = OPS) -> "CellSpace":
        """The same operations on every edge, the paper's six unless given."""
        return cls(num_inputs, num_nodes, (tuple(operations),) * num_edges(num_inputs, num_nodes))

    @classmethod
    def fixed(cls, genotype: Genotype) -> "CellSpace":
        """The cell of a derived network: one candidate an edge."""
        return cls(genotype.num_inputs, genotype.num_nodes, tuple((op,) for op in genotype.ops))

    @property
    def operations(self) -> tuple[str, ...]:
        """All operations of any edge: the columns of its mixing weights."""
        return ordered(name for names in self.candidates for name in names)

    @property
    def num_edges(self) -> int:
        """E."""
        return num_edges(self.num_inputs, self.num_nodes)

    @property
    def genotype(self) -> Genotype | None:
        """The only cell of this space, None where an edge still has a choice."""
        if any(len(names) != 1 for names in self.candidates):
            return None
        return Genotype(self.num_inputs, self.num_nodes, tuple(names[0] for names in self.candidates))

    def edges(self) -> Iterator[tuple[int, int]]:
        """(node, predecessor) of every edge; predecessors count the inputs first, then the nodes."""
        for node in range(self.num_nodes):
            for predecessor in range(self.num_inputs + node):
                yield node, predecessor
