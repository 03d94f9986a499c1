"""What an architecture costs, in both levels of the search: differentiable in α, and exact for a derived network.

Costs are multiply-adds (10^9) or measured milliseconds of the network that would be derived, at its own width and size.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from autopose.errors import UserError
from autopose.models.steps import on_device
from autopose.space import Genotype, MacroArchitecture, SearchSpace
from autopose.space.cell import num_edges
from autopose.space.latency import LatencyTable
from autopose.space.macs import branch_macs, stem_head_macs
from autopose.space.ops import operation

from .alpha import ArchitectureParameters

KINDS = ("none", "gmacs", "latency")
FREE = "skip_connect"
Cells = Sequence[Mapping[str, Genotype]]


class Cost:
    """Costs of the parts of a space: stem and head, an active branch without its operations, an edge's operation."""

    def __init__(
        self,
        space: SearchSpace,
        width: float,
        image_size: Sequence[int],
        num_joints: int,
        table: LatencyTable | None = None,
    ):
        """
        Args:
            space: that is searched.
            width: channels of derived networks over the supernet's.
            image_size: [width, height] px of their training.
            num_joints: K.
            table: of measured times; None: multiply-adds.

        Raises:
            UserError: a table of another space.
        """
        macro = space.macro
        self.space, self.unit = space, "GMACs" if table is None else "ms"
        wide, branches = macro.widened(width), range(macro.num_branches)
        free = [_free_cells(space, b) for b in branches]
        if table is None:
            pixels = [image_size[0] // s * (image_size[1] // s) for s in macro.scales]
            self.fixed = stem_head_macs(wide, image_size, num_joints) / 1e9
            self.branch = [branch_macs(wide, b, free[b], image_size) / 1e9 for b in branches]
            self.of = [
                {op: operation(op).macs(wide.channels[b]) * pixels[b] / 1e9 for op in space.operations}
                for b in branches
            ]
            return
        table.check(macro, width, image_size, space.operations)
        nothing = MacroArchitecture(((False,) * macro.num_branches,) * macro.num_decisions)
        self.fixed = table.network_ms(nothing, free)
        self.of = [{op: table.operation_ms(b, op) for op in space.operations} for b in branches]
        self.branch = [
            table.branch_ms(b, free[b]) - sum(table.operation_ms(b, FREE) * len(c.ops) for c in free[b].values())
            for b in branches
        ]

    def active(self, beta: MacroArchitecture) -> list[int]:
        """In how many modules each branch is active."""
        macro = self.space.macro
        rows = [beta.rows[macro.decision_of(module)] for module in range(macro.num_modules)]
        return [sum(row[b] for row in rows) for b in range(macro.num_branches)]

    def __call__(self, beta: MacroArchitecture, cells: Cells) -> float:
        """Of a derived network."""
        total = self.fixed
        for b, times in enumerate(self.active(beta)):
            ops = sum(self.of[b][op] for cell in cells[b].values() for op in cell.ops)
            total += times * (self.branch[b] + ops)
        return total

    def prices(self, alphas: ArchitectureParameters, beta: MacroArchitecture) -> dict[str, list[float]]:
        """For every α, what an edge's operation (a column) costs in the network under β."""
        found = {name: [0.0] * len(alphas.operations) for name in alphas.columns}
        for b, times in enumerate(self.active(beta)):
            for cell in self.space.branches[b].cells():
                row = found[alphas.name(b, cell)]
                for column, op in enumerate(alphas.operations):
                    row[column] += times * self.of[b][op]
        return found

    def expected(self, alphas: ArchitectureParameters, beta: MacroArchitecture) -> Tensor:
        """Of the network under β whose operations are drawn by softmax(α): differentiable in α."""
        prices = self.prices(alphas, beta)
        total = alphas.logits([next(iter(prices))]).new_zeros(())
        for name, row in prices.items():
            total = (
                total
                + (alphas.logits([name]).softmax(-1) * on_device(torch.tensor(row, dtype=total.dtype), total)).sum()
            )
        return total + self.fixed + sum(n * c for n, c in zip(self.active(beta), self.branch, strict=True))

    def cheapest(self) -> float:
        """The least that any architecture of the space costs."""
        return self._extreme(min)

    def _extreme(self, pick: Callable[..., float]) -> float:
        """The least (``min``) or most (``max``) that any architecture of the space costs."""
        macro = self.space.macro
        totals = []
        for row in macro.allowed():
            beta = MacroArchitecture((row,) * macro.num_decisions)
            each = [
                self.branch[b]
                + sum(pick(self.of[b][op] for op in names) for c in branch.cells().values() for names in c.candidates)
                for b, branch in enumerate(self.space.branches)
            ]
            totals.append(self.fixed + sum(n * c for n, c in zip(self.active(beta), each, strict=True)))
        return pick(totals)

    def check_target(self, target: float, key: str) -> None:
        """UserError where even the cheapest architecture lies above a target."""
        least = self.cheapest()
        if target and target < least:
            raise UserError(
                f"{key}={target:g} {self.unit} lies below the cheapest architecture of the space, "
                f"{least:.4g} {self.unit}"
            )

    def check_least(self, least: float, key: str) -> None:
        """UserError where no architecture costs that much."""
        most = self._extreme(max)
        if least > most:
            raise UserError(
                f"{key}={least:g} {self.unit} lies above the dearest architecture of the space, {most:.4g} {self.unit}"
            )


class Penalty:
    """How much a cost weighs: ``weight * max(0, cost / target - 1)``, or without a target ``weight * cost / usual``.

    ``usual`` is what the network with all branches on and operations drawn uniformly is expected to cost.
    """

    def __init__(self, cost: Cost, weight: float, target: float):
        self.cost, self.weight, self.target = cost, weight, target
        self._usual: float | None = None

    def expected(self, alphas: ArchitectureParameters, beta: MacroArchitecture) -> Tensor:
        """Of the relaxed network under β, differentiable in α."""
        cost = self.cost.expected(alphas, beta)
        if self.target:
            return self.weight * (cost / self.target - 1).clamp(min=0)
        return self.weight * cost / self.usual(alphas)

    def of(self, alphas: ArchitectureParameters, beta: MacroArchitecture, cells: Cells) -> float:
        """Of a derived network, for the reward."""
        cost = self.cost(beta, cells)
        return self.weight * (max(0.0, cost / self.target - 1) if self.target else cost / self.usual(alphas))

    def usual(self, alphas: ArchitectureParameters) -> float:
        """See the class."""
        if self._usual is None:
            prices = self.cost.prices(alphas, self.cost.space.macro.all_on())
            total = self.cost.fixed + sum(
                n * c for n, c in zip(self.cost.active(self.cost.space.macro.all_on()), self.cost.branch, strict=True)
            )
            for name, rows in alphas.columns.items():
                total += sum(sum(prices[name][column] for column in row) / len(row) for row in rows)
            self._usual = total
        return self._usual


def within(
    alphas: ArchitectureParameters,
    ops: dict[str, list[int]],
    prices: Mapping[str, Sequence[float]],
    excess: float,
    keep_skips: bool,
) -> dict[str, list[int]] | None:
    """Operations that cost ``excess`` less: greedily, those whose change costs the least probability per cost saved.

    Args:
        alphas: that chose the operations.
        ops: columns, a list of E for every name of ``alphas.columns``.
        prices: of a column of each α, see ``Cost.prices``.
        excess: how much must be saved.
        keep_skips: bring in no further skip connection.

    Returns:
        the operations, or None where not enough can be saved.
    """
    found = {name: list(values) for name, values in ops.items()}
    skip = alphas.column(FREE)
    logs = {name: alphas.logits([name]).detach().log_softmax(-1).tolist() for name in found}
    while excess > 0:
        changes = []
        for name, values in found.items():
            for edge, now in enumerate(values):
                for column in alphas.columns[name][edge]:
                    saved = prices[name][now] - prices[name][column]
                    if saved > 0 and not (keep_skips and column == skip):
                        lost = logs[name][edge][now] - logs[name][edge][column]
                        changes.append((lost / saved, name, edge, column, saved))
        if not changes:
            return None
        _, name, edge, column, saved = min(changes)
        found[name][edge] = column
        excess -= saved
    return found


def _free_cells(space: SearchSpace, branch: int) -> dict[str, Genotype]:
    """A branch's cells with nothing but identities, whose multiply-adds are none."""
    return {
        name: Genotype(cell.num_inputs, cell.num_nodes, (FREE,) * num_edges(cell.num_inputs, cell.num_nodes))
        for name, cell in space.branches[branch].cells().items()
    }
