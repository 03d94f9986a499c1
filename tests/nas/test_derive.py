"""Derivation (§3.3) and the search baselines."""

from types import SimpleNamespace

import pytest
import torch

from autopose.errors import UserError
from autopose.nas import ArchitectureParameters, ControllerSettings, cells_of, derive_cells
from autopose.nas.algorithms import (
    ALGORITHMS,
    Algorithm,
    Candidate,
    Evolution,
    Policy,
    RandomSearch,
    Task,
    algorithm_class,
    explore,
    mutate,
    random_candidate,
)
from autopose.nas.randomness import generator
from autopose.space import OPS, MacroArchitecture, MacroSpace, SearchSpace

MACRO = MacroSpace((4, 4), 2, 1, 2, 1, min_active=1)


def parameters(macro: MacroSpace = MACRO, sharing: str = "branch") -> ArchitectureParameters:
    alphas = ArchitectureParameters(SearchSpace.full(macro, sharing))
    with torch.no_grad():
        for name, alpha in alphas.alphas.items():
            alpha.normal_(generator=generator(0, name))
    return alphas


@pytest.mark.parametrize("sharing", ["branch", "all", "cell"])
def test_cells_take_the_argmax_of_every_edge(sharing):
    alphas = parameters(sharing=sharing)
    for b, cells in enumerate(derive_cells(alphas)):
        for name, genotype in cells.items():
            alpha = alphas.alpha(b, name)
            assert genotype.ops == tuple(OPS[int(row.argmax())] for row in alpha)
            assert len(genotype.ops) == len(alpha)
    ops = {name: alpha.argmax(-1).tolist() for name, alpha in alphas.alphas.items()}
    assert cells_of(alphas, ops) == derive_cells(alphas)


@pytest.mark.parametrize("cap", [0, 1, 2, None])
def test_at_most_max_skips_a_cell(cap):
    macro = MacroSpace((4,), 1, 1, 3, 1)
    alphas = ArchitectureParameters(SearchSpace.full(macro))
    with torch.no_grad():
        alpha = alphas.alpha(0, "individual_1")
        alpha.zero_()
        alpha[:, 5] = torch.tensor([3.0, 1.0, 5.0, 4.0, -1.0, 2.0])
        alpha[:, 1] = 0.5
    ops = derive_cells(alphas, cap)[0]["individual_1"].ops
    kept = [edge for edge, op in enumerate(ops) if op == "skip_connect"]
    assert kept == {0: [], 1: [2], 2: [2, 3], None: [0, 1, 2, 3, 5]}[cap]
    assert all(op == "conv_3x3" for edge, op in enumerate(ops) if edge not in kept)


def task(budget: int = 10, seed: int = 1, alphas: ArchitectureParameters | None = None) -> Task:
    settings = SimpleNamespace(controller=ControllerSettings(hidden=8))
    return Task(MACRO, alphas or parameters(), settings, seed, budget)


def test_finalists_of_the_policy_are_its_mode_and_samples():
    policy = Policy(task())
    finalists = policy.finalists(10, generator(3, "derive"))
    assert [word for _, word in finalists] == ["mode"] + ["sample"] * 10
    assert finalists[0][0] == Candidate(policy.controller.mode()[0])
    assert policy.finalists(10, generator(3, "derive")) == finalists
    assert len(policy.finalists(0, generator(3, "derive"))) == 1


def test_the_policy_asks_the_same_until_it_is_told():
    policy = Policy(task())
    asked = policy.ask(generator(0, "round"))
    assert policy.ask(generator(0, "round")) == asked
    before = policy.records()["entropy_policy"]
    policy.tell(asked, [1.0, 0.0], 0.5)
    assert policy.records()["entropy_policy"] != before


def points(candidate) -> float:
    ops = [op for values in candidate.ops.values() for op in values]
    return sum(map(sum, candidate.beta.rows)) + sum(op == 1 for op in ops)


@pytest.mark.parametrize("algorithm", [RandomSearch, Evolution])
@pytest.mark.parametrize("budget", [1, 7, 120])
def test_baselines_keep_their_budget_and_return_the_best(algorithm, budget):
    alphas, scored = parameters(), []

    def reward(candidates) -> list[float]:
        for candidate in candidates:
            MACRO.check(candidate.beta)
            cells_of(alphas, candidate.ops)
            scored.append(points(candidate))
        return scored[-len(candidates) :]

    history = explore(algorithm(task(budget, alphas=alphas)), reward)
    assert [score for _, score in history] == scored and len(scored) == budget
    assert [points(candidate) for candidate, _ in history] == scored
    assert explore(algorithm(task(budget, alphas=alphas)), reward) == history


def test_evolution_improves_on_random_search():
    wins = 0
    for seed in range(5):
        random_best, evolved = (
            max(
                score
                for _, score in explore(algorithm(task(200, seed)), lambda asked: [points(each) for each in asked])
            )
            for algorithm in (RandomSearch, Evolution)
        )
        wins += evolved > random_best
    assert wins >= 4


class Outsider(Algorithm):
    """Asks what the test says."""

    scoring, asked = "end", None

    def ask(self, draws):
        return self.asked

    def tell(self, candidates, rewards, progress):
        return {}


@pytest.mark.parametrize(
    "asked, message",
    [
        ([], "asked for no candidate"),
        ("all of them", "must return a list of Candidate"),
        ([Candidate([[1, 1]])], "must be a MacroArchitecture"),
        ([Candidate(MacroArchitecture.of([[1, 1]]))], "impossible candidate: beta must have 2 rows of 2 branches"),
        ([Candidate(MACRO.all_on(), {"branch_0": [0]})], "impossible operations"),
    ],
)
def test_what_an_algorithm_may_not_ask_is_one_sentence(asked, message):
    outsider = Outsider(task())
    outsider.asked = asked
    with pytest.raises(UserError, match=message):
        explore(outsider, lambda candidates: [0.0] * len(candidates), "outsider")


def test_names_that_lead_to_no_algorithm_are_one_sentence():
    for name, message in (
        ("annealing", "search.algorithm must be one of bilevel, random, evolution, or a dotted path"),
        ("autopose.nas.algorithms:mutate", "must be a subclass of autopose.nas.algorithms.Algorithm"),
        ("autopose.nas.algorithms:Algorithm", "has no ask and no tell"),
        ("no_such_package:Annealing", "no module 'no_such_package'"),
    ):
        with pytest.raises(UserError, match=message):
            algorithm_class(name, ALGORITHMS)


def test_a_mutation_changes_one_thing():
    alphas, draws = parameters(), generator(0, "test")
    parent = random_candidate(MACRO, alphas, draws)
    changed = set()
    for _ in range(60):
        child = mutate(parent, MACRO, alphas, draws)
        rows = sum(a != b for a, b in zip(parent.beta.rows, child.beta.rows, strict=True))
        edges = sum(a != b for n in parent.ops for a, b in zip(parent.ops[n], child.ops[n], strict=True))
        assert rows + edges == 1
        changed.add((rows, edges))
    assert {(1, 0), (0, 1)} <= changed
