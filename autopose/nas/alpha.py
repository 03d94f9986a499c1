"""Architecture parameters α and their Gumbel-Softmax relaxation (§3.1.2, Eq. 4). E edges, 6 operations."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autopose.models import EdgeMixture
from autopose.space import OPS, MacroArchitecture, SearchSpace

from .randomness import generator

RELAXATIONS = ("soft", "straight_through", "one_op")
TAU_SCHEDULES = ("linear", "constant")
SKIP = OPS.index("skip_connect")
POOLS = (OPS.index("avg_pool_3x3"), OPS.index("max_pool_3x3"))


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
        if min(self.tau_start, self.tau_end) <= 0:
            raise ValueError(f"temperatures must be positive, but are {self.tau_start} and {self.tau_end}")
        if not 0 <= self.skip_dropout < 1:
            raise ValueError(f"skip_dropout must be in [0, 1), but is {self.skip_dropout}")

    def tau(self, progress: float) -> float:
        """Temperature at ``progress`` in [0, 1] of the search."""
        if self.tau_schedule == "constant":
            return self.tau_start
        return self.tau_start + (self.tau_end - self.tau_start) * progress


class ArchitectureParameters(nn.Module):
    """One α (E, 6) for every distinct cell of the space, initialised with 1e-3 randn.

    ``self.alphas`` maps "cell_branch" names to parameters; cells that share α read the same one.
    """

    def __init__(self, space: SearchSpace, seed: int = 0):
        super().__init__()
        self.space = space
        self.alphas = nn.ParameterDict()
        draws = generator(seed, "alpha")
        for key, cell in space.alpha_spaces().items():
            self.alphas[self._name(key)] = nn.Parameter(1e-3 * torch.randn(cell.num_edges, len(OPS), generator=draws))

    @staticmethod
    def _name(key: tuple[int, str]) -> str:
        return f"{key[1]}_{key[0]}"

    def name(self, branch: int, cell: str) -> str:
        """Key in ``self.alphas`` of a cell of a branch."""
        return self._name(self.space.alpha_key(branch, cell))

    def alpha(self, branch: int, cell: str) -> Tensor:
        """α (E, 6) of a cell of a branch."""
        return self.alphas[self.name(branch, cell)]

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
        names, alphas = list(self.alphas), list(self.alphas.values())
        sizes = [len(alpha) for alpha in alphas]
        logits = torch.cat(alphas).log_softmax(-1)
        uniform = torch.rand(logits.shape, generator=noise).clamp_(1e-20, 1 - 1e-7)
        gumbel = -torch.log(-torch.log(uniform))
        soft = ((logits + gumbel.to(logits)) / settings.tau(progress)).softmax(-1)
        chosen = None
        if settings.relaxation != "soft":
            picked = soft.argmax(-1)
            one_hot = torch.zeros_like(soft).scatter_(-1, picked[:, None], 1.0)
            soft = one_hot + (soft - soft.detach())
            chosen = picked.tolist() if settings.relaxation == "one_op" else None
        drop = settings.skip_dropout * (1 - progress)
        if drop > 0:
            keep = torch.ones(soft.shape)
            keep[:, SKIP] = (torch.rand(len(soft), generator=noise) >= drop).float()
            soft = soft * keep.to(soft)
        return self._mixtures(names, sizes, soft, chosen)

    def mean(self) -> list[dict[str, EdgeMixture]]:
        """The mixture softmax(α) without noise."""
        alphas = list(self.alphas.values())
        soft = torch.cat(alphas).softmax(-1)
        return self._mixtures(list(self.alphas), [len(alpha) for alpha in alphas], soft, None)

    def argmax(self) -> list[dict[str, EdgeMixture]]:
        """The one-hot mixture of Algorithm 1, step 3."""
        alphas = list(self.alphas.values())
        rows = torch.cat([alpha.detach() for alpha in alphas])
        picked = rows.argmax(-1)
        weights = torch.zeros_like(rows).scatter_(-1, picked[:, None], 1.0)
        return self._mixtures(list(self.alphas), [len(alpha) for alpha in alphas], weights, picked.tolist())

    def fixed(self, ops: dict[str, list[int]]) -> list[dict[str, EdgeMixture]]:
        """The one-hot mixture of given operations, a list of E indices for every name of ``self.alphas``."""
        names, like = list(self.alphas), next(iter(self.alphas.values()))
        flat = [op for name in names for op in ops[name]]
        weights = like.new_zeros(len(flat), len(OPS))
        weights[torch.arange(len(flat)), torch.tensor(flat)] = 1.0
        return self._mixtures(names, [len(ops[name]) for name in names], weights, flat)

    def _mixtures(self, names, sizes, weights, chosen) -> list[dict[str, EdgeMixture]]:
        found, start = {}, 0
        for name, part in zip(names, weights.split(sizes), strict=True):
            ops = None if chosen is None else tuple(chosen[start : start + len(part)])
            found[name] = EdgeMixture(part, ops)
            start += len(part)
        return [
            {cell: found[self.name(b, cell)] for cell in branch.cells()} for b, branch in enumerate(self.space.branches)
        ]

    @torch.no_grad()
    def entropy(self) -> dict[int, float]:
        """Mean entropy in nats of softmax(α) over the edges of each branch (log 6 = 1.79 when undecided)."""
        found = {}
        for b, branch in enumerate(self.space.branches):
            rows = torch.cat([self.alpha(b, cell) for cell in branch.cells()]).float().log_softmax(-1)
            found[b] = -(rows.exp() * rows).sum(-1).mean().item()
        return found

    @torch.no_grad()
    def shares(self) -> dict[str, float]:
        """Share of skip connections and of pools among the argmax operations."""
        picked = torch.cat([alpha.argmax(-1) for alpha in self.alphas.values()])
        pools = sum((picked == pool).float().mean().item() for pool in POOLS)
        return {"skip": (picked == SKIP).float().mean().item(), "pool": pools}
