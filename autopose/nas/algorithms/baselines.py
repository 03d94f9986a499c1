"""Search baselines under the budget of Algorithm 1, on weights shared by single paths: random search and evolution."""

from collections.abc import Sequence

import torch

from autopose.space import MacroArchitecture, MacroSpace

from ..alpha import ArchitectureParameters
from .base import Algorithm, Candidate, Task, uniform_beta


def random_candidate(macro: MacroSpace, alphas: ArchitectureParameters, draws: torch.Generator) -> Candidate:
    """A point drawn uniformly."""
    ops = alphas.random_ops(draws)
    return Candidate(uniform_beta(macro, draws), ops)


class RandomSearch(Algorithm):
    """The best of as many uniform candidates as the budget has."""

    operations, scoring, purpose = "random", "end", "random search"

    def ask(self, draws: torch.Generator) -> list[Candidate]:
        """All of them at once."""
        return [random_candidate(self.task.macro, self.task.alphas, draws) for _ in range(self.task.budget)]

    def tell(self, candidates: Sequence[Candidate], rewards: Sequence[float], progress: float) -> dict:
        """Nothing to learn."""
        return {}


class Evolution(Algorithm):
    """Regularised evolution (Real et al., AAAI 2019; reference [33]).

    Each child mutates one β row or one edge's operation of a tournament's winner, and the oldest leaves.
    """

    operations, scoring, purpose = "random", "end", "evolution"
    population, tournament = 20, 5

    def __init__(self, task: Task):
        super().__init__(task)
        self.alive: list[tuple[float, Candidate]] = []

    def ask(self, draws: torch.Generator) -> list[Candidate]:
        """The first population, then one child at a time."""
        task = self.task
        if not self.alive:
            return [random_candidate(task.macro, task.alphas, draws) for _ in range(min(self.population, task.budget))]
        picked = torch.randint(len(self.alive), (self.tournament,), generator=draws).tolist()
        parent = max((self.alive[i] for i in picked), key=lambda entry: entry[0])[1]
        return [mutate(parent, task.macro, task.alphas, draws)]

    def tell(self, candidates: Sequence[Candidate], rewards: Sequence[float], progress: float) -> dict:
        """The newest live."""
        self.alive = [*self.alive, *zip(rewards, candidates, strict=True)][-self.population :]
        return {}


def with_another_row(beta: MacroArchitecture, macro: MacroSpace, draws: torch.Generator) -> MacroArchitecture:
    """β with one of its rows replaced by another allowed one, of which there must be two."""
    rows = list(beta.rows)
    row = int(torch.randint(len(rows), (), generator=draws))
    others = [vector for vector in macro.allowed() if vector != rows[row]]
    rows[row] = others[int(torch.randint(len(others), (), generator=draws))]
    return MacroArchitecture(tuple(rows))


def mutate(parent: Candidate, macro: MacroSpace, alphas: ArchitectureParameters, draws: torch.Generator) -> Candidate:
    """A copy with another β row (probability 1/2) or another operation; the parent itself where nothing can differ."""
    edges = [(name, e) for name, rows in alphas.columns.items() for e, columns in enumerate(rows) if len(columns) > 1]
    if len(macro.allowed()) > 1 and (not edges or torch.rand((), generator=draws) < 0.5):
        return Candidate(with_another_row(parent.beta, macro, draws), parent.ops)
    if not edges:
        return parent
    ops = {name: list(values) for name, values in parent.ops.items()}
    name, edge = edges[int(torch.randint(len(edges), (), generator=draws))]
    others = [column for column in alphas.columns[name][edge] if column != ops[name][edge]]
    ops[name][edge] = others[int(torch.randint(len(others), (), generator=draws))]
    return Candidate(parent.beta, ops)
