"""What a search algorithm is: it proposes architectures and learns from their rewards. The search does the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autopose.errors import UserError
from autopose.lookup import lookup
from autopose.space import MacroArchitecture, MacroSpace

from ..alpha import ArchitectureParameters
from ..randomness import generator

SCORING = ("epochs", "end")


@dataclass(frozen=True)
class Candidate:
    """An architecture to score.

    Args:
        beta: its branches.
        ops: columns of α, a list of E for every name of ``ArchitectureParameters.columns``; None: those that α's
            argmax gives when it is scored.
    """

    beta: MacroArchitecture
    ops: dict[str, list[int]] | None = None


Reward = Callable[[Sequence[Candidate]], list[float]]


@dataclass(frozen=True)
class Task:
    """What an algorithm searches.

    Args:
        macro: the space of β.
        alphas: α with the columns of every edge (``alphas.columns``, ``alphas.operations``).
        settings: ``SearchConfig``; an algorithm may read its own keys from it.
        seed: of the run.
        budget: architectures that it may have scored in all.
    """

    macro: MacroSpace
    alphas: ArchitectureParameters
    settings: Any
    seed: int
    budget: int


class Algorithm:
    """A search algorithm by ask and tell.

    ``ask`` depends on the state and the generator alone and moves neither state nor records: a run that is killed
    before ``tell`` asks again and gets the same. Only ``tell`` learns. Everything else is the search's: steps of ω and
    α, budget, rewards, penalties, checkpoints, records, derivation.

    Attributes:
        operations: what the steps of ω evaluate: "alpha" (relaxed by α, which is trained) or "random" (one operation an
            edge, drawn anew for each step; α stays).
        scoring: "epochs" (``search.controller.updates`` rounds after each epoch from ``start_epoch`` on, and the
            finalists at the end) or "end" (rounds until the budget is spent, when ω is trained; the best one scored
            is the result).
        purpose: names its stream of random numbers.
    """

    operations = "alpha"
    scoring = "epochs"
    purpose = "algorithm"

    def __init__(self, task: Task):
        self.task = task

    def ask(self, draws: torch.Generator) -> list[Candidate]:
        """Candidates of the next round; none where it has nothing more to ask."""
        raise NotImplementedError

    def tell(self, candidates: Sequence[Candidate], rewards: Sequence[float], progress: float) -> dict:
        """Learn from a round's finite rewards. Returns numbers for the records; ``progress`` is in [0, 1]."""
        raise NotImplementedError

    def training_beta(self, draws: torch.Generator) -> MacroArchitecture:
        """β of a training step once the algorithm has started (``training_beta=sampled``); uniform by default."""
        return uniform_beta(self.task.macro, draws)

    def favourite(self) -> MacroArchitecture:
        """The β that it would choose now, whose reward the records show; all branches on by default."""
        return self.task.macro.all_on()

    def finalists(self, count: int, draws: torch.Generator) -> list[tuple[Candidate, str]]:
        """Of which the derivation takes the best, each with the word that the table shows; of "epochs" only."""
        return [(Candidate(self.favourite()), "favourite")]

    def probabilities(self) -> list[list[float]] | None:
        """(D, B) how likely each branch is active in its choice, for a picture; None where there is no such thing."""
        return None

    def records(self) -> dict:
        """Numbers of its state for ``metrics.jsonl``, after each epoch."""
        return {}

    def state_dict(self) -> dict:
        """Plain data and tensors that a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """The inverse of ``state_dict``."""


def uniform_beta(macro: MacroSpace, draws: torch.Generator) -> MacroArchitecture:
    """β drawn uniformly from the allowed vectors, as before the controller starts."""
    allowed = macro.allowed()
    picked = torch.randint(len(allowed), (macro.num_decisions,), generator=draws)
    return MacroArchitecture(tuple(allowed[i] for i in picked.tolist()))


def rewards_of(reward: Callable[[MacroArchitecture], float], betas: Sequence[MacroArchitecture]) -> list[float]:
    """Rewards of several β; in one pass where the reward has one (its method ``each``)."""
    each = getattr(reward, "each", None)
    return [float(value) for value in (each(betas) if each else map(reward, betas))]


def checked(candidates: object, task: Task, who: str) -> list[Candidate]:
    """Candidates as an algorithm gave them, if they belong to the space; UserError otherwise."""
    if not isinstance(candidates, list) or not all(isinstance(each, Candidate) for each in candidates):
        raise UserError(f"search.algorithm={who}: ask must return a list of Candidate, not {candidates!r:.80}")
    for each in candidates:
        if not isinstance(each.beta, MacroArchitecture):
            raise UserError(f"search.algorithm={who}: a beta must be a MacroArchitecture, not {each.beta!r:.60}")
        try:
            task.macro.check(each.beta)
        except UserError as error:
            raise UserError(f"search.algorithm={who} proposes an impossible candidate: {error}") from None
        if each.ops is not None and not _fits(each.ops, task.alphas.columns):
            raise UserError(
                f"search.algorithm={who} proposes impossible operations: for each of {', '.join(task.alphas.columns)} "
                "a list with one of the columns of every edge"
            )
    return candidates


def _fits(ops: dict[str, list[int]], columns: dict[str, list[list[int]]]) -> bool:
    """Whether every edge has one of its candidates' columns."""
    return set(ops) == set(columns) and all(
        len(ops[name]) == len(rows) and all(op in row for op, row in zip(ops[name], rows, strict=True))
        for name, rows in columns.items()
    )


def explore(algorithm: Algorithm, reward: Reward, name: str = "") -> list[tuple[Candidate, float]]:
    """Rounds of ask and tell until the budget is spent or nothing is asked: candidates and scores, in order."""
    task, draws = algorithm.task, generator(algorithm.task.seed, algorithm.purpose)
    history: list[tuple[Candidate, float]] = []
    while len(history) < task.budget:
        candidates = checked(algorithm.ask(draws), task, name)[: task.budget - len(history)]
        if not candidates:
            break
        rewards = reward(candidates)
        algorithm.tell(candidates, rewards, 1.0)
        history += zip(candidates, rewards, strict=True)
    if not history:
        raise UserError(f"search.algorithm={name} asked for no candidate: there is nothing to choose from")
    return history


def algorithm_class(name: str, table: dict[str, type[Algorithm]]) -> type[Algorithm]:
    """The class of that name in the table, or at that dotted path.

    Raises:
        UserError: neither, or something else than a subclass of ``Algorithm`` with ``ask`` and ``tell``.
    """
    found = lookup(name, table, "search.algorithm")
    if not isinstance(found, type) or not issubclass(found, Algorithm):
        raise UserError(
            f"search.algorithm={name} must be a subclass of autopose.nas.algorithms.Algorithm, not {found!r:.50}"
        )
    missing = [method for method in ("ask", "tell") if getattr(found, method) is getattr(Algorithm, method)]
    if missing:
        raise UserError(f"search.algorithm={name} has no {' and no '.join(missing)}")
    if found.operations not in ("alpha", "random") or found.scoring not in SCORING:
        raise UserError(
            f"search.algorithm={name}: operations must be alpha or random and scoring epochs or end, but are "
            f"{found.operations!r} and {found.scoring!r}"
        )
    return found
