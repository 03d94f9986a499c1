"""Search baselines under the budget of Algorithm 1: random search and regularised evolution on shared weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from autopose.space import MacroArchitecture, MacroSpace

from .alpha import ArchitectureParameters
from .controller import uniform_beta
from .randomness import generator


@dataclass(frozen=True)
class Candidate:
    """β and operations: columns of α, a list of E for every name of α."""

    beta: MacroArchitecture
    ops: dict[str, list[int]]


Score = Callable[[Candidate], float]


def random_candidate(macro: MacroSpace, alphas: ArchitectureParameters, draws: torch.Generator) -> Candidate:
    """A point drawn uniformly."""
    ops = alphas.random_ops(draws)
    return Candidate(uniform_beta(macro, draws), ops)


def random_search(macro: MacroSpace, alphas: ArchitectureParameters, score: Score, budget: int, seed: int):
    """The best of ``budget`` uniform candidates. Returns it and all scores in order."""
    draws = generator(seed, "random search")
    candidates = [random_candidate(macro, alphas, draws) for _ in range(budget)]
    scores = [score(candidate) for candidate in candidates]
    return candidates[max(range(budget), key=scores.__getitem__)], scores


def evolution(
    macro: MacroSpace,
    alphas: ArchitectureParameters,
    score: Score,
    budget: int,
    seed: int,
    population: int = 20,
    tournament: int = 5,
):
    """Regularised evolution (Real et al., AAAI 2019; reference [33]): the best of ``budget`` scored candidates.

    Each child mutates one β row or one edge's operation of a tournament's winner, and the oldest leaves. Returns the
    best candidate and all scores in order.
    """
    draws = generator(seed, "evolution")
    history: list[tuple[float, Candidate]] = []
    for _ in range(min(population, budget)):
        candidate = random_candidate(macro, alphas, draws)
        history.append((score(candidate), candidate))
    while len(history) < budget:
        alive = history[-population:]
        picked = torch.randint(len(alive), (tournament,), generator=draws).tolist()
        parent = max((alive[i] for i in picked), key=lambda entry: entry[0])[1]
        child = mutate(parent, macro, alphas, draws)
        history.append((score(child), child))
    best = max(history, key=lambda entry: entry[0])[1]
    return best, [value for value, _ in history]


def mutate(parent: Candidate, macro: MacroSpace, alphas: ArchitectureParameters, draws: torch.Generator) -> Candidate:
    """A copy with another β row (probability 1/2) or another operation; the parent itself where nothing can differ."""
    edges = [(name, e) for name, rows in alphas.columns.items() for e, columns in enumerate(rows) if len(columns) > 1]
    allowed = macro.allowed()
    if len(allowed) > 1 and (not edges or torch.rand((), generator=draws) < 0.5):
        rows = list(parent.beta.rows)
        row = int(torch.randint(len(rows), (), generator=draws))
        others = [vector for vector in allowed if vector != rows[row]]
        rows[row] = others[int(torch.randint(len(others), (), generator=draws))]
        return Candidate(MacroArchitecture(tuple(rows)), parent.ops)
    if not edges:
        return parent
    ops = {name: list(values) for name, values in parent.ops.items()}
    name, edge = edges[int(torch.randint(len(edges), (), generator=draws))]
    others = [column for column in alphas.columns[name][edge] if column != ops[name][edge]]
    ops[name][edge] = others[int(torch.randint(len(others), (), generator=draws))]
    return Candidate(parent.beta, ops)
