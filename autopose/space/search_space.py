"""The whole space: a macro space and a cell space for each cell of each branch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from autopose.errors import UserError

from .cell import CellSpace
from .macro import MacroArchitecture, MacroSpace
from .ops import OPS, ordered

ALPHA_SHARINGS = ("branch", "all", "cell")
CELLS = ("individual_1", "individual_2", "aggregation")


@dataclass(frozen=True)
class BranchSpace:
    """The three cells of a branch, shared by all stages and modules; no aggregation cell in a "concat" space."""

    individual_1: CellSpace
    individual_2: CellSpace
    aggregation: CellSpace | None

    def cells(self) -> dict[str, CellSpace]:
        """The cells that exist, by name."""
        found = {name: getattr(self, name) for name in CELLS}
        return {name: space for name, space in found.items() if space is not None}


@dataclass(frozen=True)
class SearchSpace:
    """What a network may be. A space with one candidate an edge and a fixed β *is* a derived network.

    Args:
        macro: scales, stages, stem and head.
        branches: the cells of every branch.
        beta: the only β of this space, None while it is searched.
        alpha_sharing: "branch" (one α for each scale, both individual cells alike), "all" (one α for all scales)
            or "cell" (as "branch", but C_I1 and C_I2 apart).
    """

    macro: MacroSpace
    branches: tuple[BranchSpace, ...]
    beta: MacroArchitecture | None = None
    alpha_sharing: str = "branch"

    def __post_init__(self):
        if self.alpha_sharing not in ALPHA_SHARINGS:
            raise UserError(f"alpha_sharing must be one of {', '.join(ALPHA_SHARINGS)}, but is {self.alpha_sharing!r}")
        if self.beta is not None:
            self.macro.check(self.beta)

    @classmethod
    def full(
        cls,
        macro: MacroSpace,
        alpha_sharing: str = "branch",
        beta: MacroArchitecture | None = None,
        operations: Sequence[str] = OPS,
    ) -> "SearchSpace":
        """The paper's space over ``macro``: its six operations, or the given ones, on every edge."""
        individual = CellSpace.full(1, macro.nodes_individual, operations)
        aggregation = CellSpace.full(macro.num_branches, macro.nodes_aggregation, operations)
        branch = BranchSpace(individual, individual, aggregation if macro.aggregation == "cell" else None)
        return cls(macro, (branch,) * macro.num_branches, beta, alpha_sharing)

    @property
    def operations(self) -> tuple[str, ...]:
        """All operations of any edge: the columns of α and of mixing weights."""
        return ordered(name for b in self.branches for cell in b.cells().values() for name in cell.operations)

    def alpha_key(self, branch: int, cell: str) -> tuple[int, str]:
        """Which α an edge set reads: cells with equal keys share their architecture parameters."""
        kind = cell if self.alpha_sharing == "cell" or cell == "aggregation" else "individual"
        return (0 if self.alpha_sharing == "all" else branch, kind)

    def alpha_spaces(self) -> dict[tuple[int, str], CellSpace]:
        """The cell space behind every distinct α, in branch order."""
        return {
            self.alpha_key(b, name): cell
            for b, branch in enumerate(self.branches)
            for name, cell in branch.cells().items()
        }

    def log10_size(self) -> float:
        """log10 of the number of architectures (the paper reports 10^61)."""
        cells = sum(log10(len(names)) for cell in self.alpha_spaces().values() for names in cell.candidates)
        macro = 0.0 if self.beta is not None else self.macro.num_decisions * log10(len(self.macro.allowed()))
        return cells + macro
