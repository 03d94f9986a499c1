"""Derivation (§3.3) and the search baselines."""

import pytest
import torch

from autopose.nas import ArchitectureParameters, Controller, cells_of, derive_cells, select_macro
from autopose.nas.baselines import evolution, mutate, random_candidate, random_search
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


def test_select_macro_scores_samples_and_the_mode():
    controller, scored = Controller(MACRO, 8), []

    def reward(beta: MacroArchitecture) -> float:
        scored.append(beta)
        return float(sum(map(sum, beta.rows)))

    best, rows = select_macro(controller, reward, 10, seed=3)
    assert [row["source"] for row in rows] == ["mode"] + ["sample"] * 10
    assert rows[0]["beta"] == str(controller.mode()[0])
    assert len(scored) == len(set(scored)) == len({row["beta"] for row in rows})
    assert max(row["reward"] for row in rows) == float(sum(map(sum, best.rows)))
    assert select_macro(controller, reward, 10, seed=3) == (best, rows)
    only_mode, rows = select_macro(controller, reward, 0, seed=3)
    assert only_mode == controller.mode()[0] and len(rows) == 1


def points(candidate) -> float:
    ops = [op for values in candidate.ops.values() for op in values]
    return sum(map(sum, candidate.beta.rows)) + sum(op == 1 for op in ops)


@pytest.mark.parametrize("explore", [random_search, evolution])
@pytest.mark.parametrize("budget", [1, 7, 120])
def test_baselines_keep_their_budget_and_return_the_best(explore, budget):
    alphas, scored = parameters(), []

    def score(candidate) -> float:
        MACRO.check(candidate.beta)
        cells_of(alphas, candidate.ops)
        scored.append(points(candidate))
        return scored[-1]

    best, scores = explore(MACRO, alphas, score, budget, seed=1)
    assert scores == scored and len(scores) == budget
    assert points(best) == max(scores)
    assert explore(MACRO, alphas, points, budget, seed=1) == (best, scores)


def test_evolution_improves_on_random_search():
    alphas, wins = parameters(), 0
    for seed in range(5):
        random_best, evolved = (explore(MACRO, alphas, points, 200, seed)[0] for explore in (random_search, evolution))
        wins += points(evolved) > points(random_best)
    assert wins >= 4


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
