"""Architecture parameters α and their Gumbel-Softmax relaxation (§3.1.2, Eq. 4). E edges, K operations (paper: 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autopose.models import EdgeMixture
from autopose.models.steps import on_device
from autopose.ranges import DECAY, POSITIVE, check_ranges
from autopose.space import MacroArchitecture, SearchSpace

from .randomness import generator

RELAXATIONS = ("soft", "straight_through", "one_op")
TAU_SCHEDULES = ("linear", "constant")
SKIP, POOLS = "skip_connect", ("avg_pool_3x3", "max_pool_3x3")


def gumbel(shape: Sequence[int], draws: torch.Generator) -> Tensor:
    """Standard Gumbel noise, float32 on the CPU."""
    uniform = torch.rand(*shape, generator=draws).clamp_(1e-20, 1 - 1e-7)
    return -torch.log(-torch.log(uniform))


@dataclass(frozen=True)
class GumbelSettings:
    """The relaxation of Eq. 4.

    Args:
        relaxation: "soft" (mixture of all operations), "straight_through" (one-hot forward, all evaluated) or
            "one_op" (one-hot forward, only the sampled operation evaluated).
        tau_schedule: "linear" from ``tau_start`` to ``tau_end`` over the search, or "constant" at ``tau_start``.
        skip_dropout: probability of dropping an edge's skip connection, falling linearly to 0 (0: never).
    """

    relaxation: str = "soft"
    tau_schedule: str = "linear"
    tau_start: float = 5.0
    tau_end: float = 0.5
    skip_dropout: float = 0.0

    def __post_init__(self):
        if self.relaxation not in RELAXATIONS:
            raise ValueError(f"relaxation must be one of {', '.join(RELAXATIONS)}, but is {self.relaxation!r}")
        if self.tau_schedule not in TAU_SCHEDULES:
            raise ValueError(f"tau_schedule must be one of {', '.join(TAU_SCHEDULES)}, but is {self.tau_schedule!r}")
        check_ranges(self, {"tau_start": POSITIVE, "tau_end": POSITIVE, "skip_dropout": DECAY}, "search.gumbel.")

    def tau(self, progress: float) -> float:
        """Temperature at ``progress`` in [0, 1] of the search."""
        if self.tau_schedule == "constant":
            return self.tau_start
        return self.tau_start + (self.tau_end - self.tau_start) * progress


class ArchitectureParameters(nn.Module):
    """One α (E, K) for every distinct cell of the space, initialised with 1e-3 randn.

    ``self.alphas`` maps "cell_branch" names to parameters; cells that share α read the same one. ``self.operations``
    names the K columns, ``self.columns`` the columns of every edge's candidates; the others stay out of every mixture.
    """

    def __init__(self, space: SearchSpace, seed: int = 0):
        super().__init__()
        self.space, self.operations = space, space.operations
        self.alphas, self.columns = nn.ParameterDict(), {}
        draws, width = generator(seed, "alpha"), len(space.operations)
        for key, cell in space.alpha_spaces().items():
            name = self._name(key)
            self.alphas[name] = nn.Parameter(1e-3 * torch.randn(cell.num_edges, width, generator=draws))
            self.columns[name] = [[self.operations.index(op) for op in names] for names in cell.candidates]
        self.is_even = all(len(columns) == width for rows in self.columns.values() for columns in rows)
        for name, rows in self.columns.items():
            absent = [[column not in columns for column in range(width)] for columns in rows]
            self.register_buffer(f"absent_{name}", None if self.is_even else torch.tensor(absent), persistent=False)

    @staticmethod
    def _name(key: tuple[int, str]) -> str:
        return f"{key[1]}_{key[0]}"

    def name(self, branch: int, cell: str) -> str:
        """Key in ``self.alphas`` of a cell of a branch."""
        return self._name(self.space.alpha_key(branch, cell))

    def alpha(self, branch: int, cell: str) -> Tensor:
        """α (E, K) of a cell of a branch."""
        return self.alphas[self.name(branch, cell)]

    def logits(self, names: Sequence[str] | None = None) -> Tensor:
        """α of all cells, or of the named ones, one below the other; -inf where an edge lacks the operation."""
        names = list(self.alphas) if names is None else names
        rows = torch.cat([self.alphas[name] for name in names])
        if self.is_even:
            return rows
        return rows.masked_fill(torch.cat([getattr(self, f"absent_{name}") for name in names]), -torch.inf)

    def column(self, operation: str) -> int | None:
        """The column of an operation, None where the space lacks it."""
        return self.operations.index(operation) if operation in self.operations else None

    def random_ops(self, draws: torch.Generator) -> dict[str, list[int]]:
        """A candidate's column for every edge of every α, uniformly."""
        if self.is_even:
            width = len(self.operations)
            return {n: torch.randint(width, (len(a),), generator=draws).tolist() for n, a in self.alphas.items()}
        return {name: [self.random_op(name, e, draws) for e in range(len(a))] for name, a in self.alphas.items()}

    def fair_ops(self, seed: int, number: int) -> dict[str, list[int]]:
        """Columns for path ``number`` of a training: any K paths from a multiple of K on use all K of an edge once."""
        found: dict[str, list[int]] = {}
        for name, rows in self.columns.items():
            orders = {width: self._orders(seed, name, width, number, len(rows)) for width in set(map(len, rows))}
            found[name] = [
                columns[orders[len(columns)][edge][number % len(columns)]] for edge, columns in enumerate(rows)
            ]
        return found

    @staticmethod
    def _orders(seed: int, name: str, width: int, number: int, edges: int) -> list[list[int]]:
        """For every edge, the order in which the round of path ``number`` takes an edge's ``width`` candidates."""
        draws = generator(seed, "fair", name, width, number // width)
        return torch.rand(edges, width, generator=draws).argsort(1).tolist()

    def random_op(self, name: str, edge: int, draws: torch.Generator) -> int:
        """A candidate's column for one edge, uniformly."""
        columns = self.columns[name][edge]
        return columns[int(torch.randint(len(columns), (), generator=draws))]

    def unused(self, beta: MacroArchitecture) -> list[nn.Parameter]:
        """α of branches that β never activates; a step must leave them alone (§3.1.1)."""
        used = {
            self.name(b, cell)
            for b, branch in enumerate(self.space.branches)
            if any(row[b] for row in beta.rows)
            for cell in branch.cells()
        }
        return [alpha for name, alpha in self.alphas.items() if name not in used]

    def sample(self, settings: GumbelSettings, progress: float, noise: torch.Generator) -> list[dict[str, EdgeMixture]]:
        """Per branch, the mixture of every cell: softmax((log-softmax(α) + Gumbel noise) / τ), one draw a step."""
        logits = self.logits().log_softmax(-1)
        soft = ((logits + on_device(gumbel(logits.shape, noise), logits)) / settings.tau(progress)).softmax(-1)
        chosen = None
        if settings.relaxation != "soft":
            picked = soft.argmax(-1)
            one_hot = torch.zeros_like(soft).scatter_(-1, picked[:, None], 1.0)
            soft = one_hot + (soft - soft.detach())
            chosen = picked.tolist() if settings.relaxation == "one_op" else None
        drop = settings.skip_dropout * (1 - progress)
        skip = self.column(SKIP)
        if drop > 0 and skip is not None:
            keep = torch.ones(soft.shape)
            keep[:, skip] = (torch.rand(len(soft), generator=noise) >= drop).float()
            soft = soft * on_device(keep, soft)
        return self._mixtures(soft, chosen)

    def mean(self) -> list[dict[str, EdgeMixture]]:
        """The mixture softmax(α) without noise."""
        return self._mixtures(self.logits().softmax(-1), None)

    def argmax(self) -> list[dict[str, EdgeMixture]]:
        """The one-hot mixture of Algorithm 1, step 3."""
        return self._one_hot(self.logits().detach().argmax(-1).tolist())

    def fixed(self, ops: dict[str, list[int]]) -> list[dict[str, EdgeMixture]]:
        """The one-hot mixture of given operations, a list of E columns for every name of ``self.alphas``."""
        return self._one_hot([op for name in self.alphas for op in ops[name]])

    def _one_hot(self, chosen: list[int]) -> list[dict[str, EdgeMixture]]:
        like = next(iter(self.alphas.values()))
        weights = torch.zeros(len(chosen), len(self.operations))
        weights[torch.arange(len(chosen)), torch.tensor(chosen)] = 1.0
        return self._mixtures(on_device(weights, like), chosen)

    def _mixtures(self, weights: Tensor, chosen: list[int] | None) -> list[dict[str, EdgeMixture]]:
        found, start = {}, 0
        for name, part in zip(self.alphas, weights.split([len(a) for a in self.alphas.values()]), strict=True):
            ops = None if chosen is None else tuple(chosen[start : start + len(part)])
            found[name] = EdgeMixture(part, ops, self.operations)
            start += len(part)
        return [
            {cell: found[self.name(b, cell)] for cell in branch.cells()} for b, branch in enumerate(self.space.branches)
        ]

    @torch.no_grad()
    def entropy(self) -> dict[int, float]:
        """Mean entropy in nats of softmax(α) over the edges of each branch (log K, 1.79 for six, when undecided)."""
        found = {}
        for b, branch in enumerate(self.space.branches):
            rows = self.logits([self.name(b, cell) for cell in branch.cells()]).float().log_softmax(-1)
            found[b] = -(rows.exp() * rows.clamp_min(torch.finfo().min)).sum(-1).mean().item()
        return found

    @torch.no_grad()
    def shares(self) -> dict[str, float]:
        """Share of skip connections and of pools among the argmax operations."""
        picked = self.logits().argmax(-1)
        share = {op: (picked == column).float().mean().item() for column, op in enumerate(self.operations)}
        return {"skip": share.get(SKIP, 0.0), "pool": sum(share.get(pool, 0.0) for pool in POOLS)}
