"""Derivation (§3.3): the architecture that a search ends with."""

from collections.abc import Sequence
from math import isfinite

import torch

from autopose.config import Config
from autopose.engine.reward import RewardScorer
from autopose.engine.trials import Trials
from autopose.errors import UserError
from autopose.nas import BilevelSearch, cells_of, derive_ops
from autopose.nas.algorithms import Candidate, checked, explore, with_another_row
from autopose.nas.randomness import generator
from autopose.space import Architecture

# Of softmax(α / temperature), from which trial candidates draw operations. Set by hand after one search of the pool's,
# in which those drawn at 1 learned more slowly than the argmax's; other values were not tried.
TEMPERATURE = 0.3
Finalists = Sequence[tuple[Candidate, str]]


def derive_architecture(
    search: BilevelSearch, reward: RewardScorer, config: Config, trials: Trials | None = None
) -> tuple[Architecture, list[dict]]:
    """The finalist with the best reward, as the paper has it, or with ``trials`` the one that learns fastest.

    Returns:
        the architecture; and a row a finalist: "beta", "reward", "source" and, where it was tried and did not
        diverge, "loss" and "trials", and "last_loss" of the longer training.

    Raises:
        UserError: no finalist keeps ``search.min_gmacs`` and ``search.max_gmacs``.
    """
    reward.clear()
    settings, macro = config.search, search.network.space.macro
    finalists, rewards = _finalists(search, reward, config)
    rows = [
        {"beta": str(candidate.beta), "reward": value, "source": source}
        for (candidate, source), value in zip(finalists, rewards, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda i: -rewards[i])
    found = {i: ops for i in order if (ops := _affordable(reward, finalists[i][0])) is not None}
    if not found:
        limits = [f"at least search.min_gmacs={settings.min_gmacs:g}"] if settings.min_gmacs else []
        limits += [f"at most search.max_gmacs={settings.max_gmacs:g}"] if settings.max_gmacs else []
        raise UserError(
            f"no candidate of the derivation has {' and '.join(limits)}: sample more (search.derive_samples), search "
            "with search.cost=gmacs, or allow more"
        )
    architectures = {i: Architecture(macro, finalists[i][0].beta, cells_of(search.alphas, found[i])) for i in found}
    best = next(iter(found))
    if trials is not None:
        distinct = [i for i in found if architectures[i] not in [architectures[j] for j in found if j < i]]
        place, shown = trials.rank([architectures[i] for i in distinct])
        best = distinct[place]
        for i, trial in zip(distinct, shown, strict=True):
            if isfinite(trial.loss):
                rows[i] |= {"loss": trial.loss, "trials": len(trial.losses)}
            if isfinite(trial.last):
                rows[i] |= {"last_loss": trial.last}
    found_by = {
        "algorithm": settings.algorithm, "seed": config.seed, "step": search.step,
        "reward": rewards[best], "reward_metric": settings.reward.metric,
        "reward_split": settings.reward.split, "dataset": config.data.title, "candidates": rows,
    }  # fmt: skip
    return Architecture(macro, architectures[best].macro, architectures[best].cells, found_by), rows


def _finalists(search: BilevelSearch, reward: RewardScorer, config: Config) -> tuple[Finalists, list[float]]:
    """Candidates with their sources, and their rewards."""
    settings, algorithm = config.search, search.algorithm
    tried = settings.trials.candidates
    if algorithm.scoring == "end":
        history = explore(algorithm, reward.candidates, settings.algorithm)
        best = sorted(history, key=lambda entry: -entry[1])[: max(1, tried)]
        return [(candidate, f"best of {len(history)}") for candidate, _ in best], [value for _, value in best]
    draws = generator(config.seed, "derive")
    finalists = algorithm.finalists(tried - 1 if tried else settings.derive_samples, draws)
    if tried and algorithm.operations == "alpha":
        finalists = _varied(finalists, search, reward, settings.max_skips, draws)
    checked([candidate for candidate, _ in finalists], algorithm.task, settings.algorithm)
    return finalists, reward.candidates([candidate for candidate, _ in finalists])


def _varied(
    finalists: Finalists, search: BilevelSearch, reward: RewardScorer, max_skips: int | None, draws: torch.Generator
) -> Finalists:
    """Every second finalist, and every one whose β was there before, in another form: a policy that has decided gives
    one β again and again. One of its rows changes, and operations are drawn from a sharpened softmax(α).
    """
    macro, found = search.network.space.macro, []
    for number, (candidate, source) in enumerate(finalists):
        seen, ops, beta = any(candidate.beta == other.beta for other, _ in found), None, candidate.beta
        if candidate.ops is None and (seen or number % 2):
            if len(macro.allowed()) > 1:
                beta = with_another_row(beta, macro, draws)
            ops = reward.ops_of(beta, derive_ops(search.alphas, max_skips, draws, TEMPERATURE))
        found.append((candidate, source) if ops is None else (Candidate(beta, ops), "varied"))
    return found


def _affordable(reward: RewardScorer, candidate: Candidate) -> dict[str, list[int]] | None:
    """Columns of α that a candidate is derived with; None where it has more multiply-adds than it may."""
    if candidate.ops is None:
        return reward.ops_of(candidate.beta)
    return candidate.ops if reward.affords(candidate.beta, candidate.ops) else None
