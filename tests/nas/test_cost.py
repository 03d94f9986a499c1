"""Costs in both levels: exact for one-hot α, differentiable, and a budget that is never exceeded."""

from types import SimpleNamespace

import pytest
import torch

from autopose.errors import UserError
from autopose.nas import ArchitectureParameters, cells_of, derive_ops
from autopose.nas.algorithms import random_candidate
from autopose.nas.cost import Cost, Penalty, within
from autopose.nas.randomness import generator
from autopose.space import MacroSpace, SearchSpace
from autopose.space.macs import count_macs

MACRO = MacroSpace((4, 8, 12), 2, 2, 2, 1, 4)
SIZE, JOINTS, WIDTH = (64, 96), 5, 2


def parts(sharing: str = "branch", aggregation: str = "cell"):
    macro = MacroSpace((4, 8, 12), 2, 2, 2, 1, 4, aggregation=aggregation)
    space = SearchSpace.full(macro, sharing)
    return space, ArchitectureParameters(space), Cost(space, WIDTH, SIZE, JOINTS)


@pytest.mark.parametrize("sharing, aggregation", [("branch", "cell"), ("all", "cell"), ("cell", "concat")])
def test_costs_are_the_derived_networks_multiply_adds_to_the_unit(sharing, aggregation):
    space, alphas, cost = parts(sharing, aggregation)
    draws = generator(0, "cost")
    for _ in range(5):
        drawn = random_candidate(space.macro, alphas, draws)
        cells = cells_of(alphas, drawn.ops)
        exact = count_macs(space.macro.widened(WIDTH), drawn.beta, cells, SIZE, JOINTS)
        assert round(cost(drawn.beta, cells) * 1e9) == exact
        with torch.no_grad():
            for name, alpha in alphas.alphas.items():
                alpha.fill_(-200.0)
                alpha[torch.arange(len(alpha)), torch.tensor(drawn.ops[name])] = 200.0
        assert cost.expected(alphas, drawn.beta).item() * 1e9 == pytest.approx(exact, rel=1e-5)


def test_the_expected_cost_falls_along_its_gradient_and_the_target_ends_it():
    space, alphas, cost = parts()
    beta = space.macro.all_on()
    usual = cost.expected(alphas, beta).item()
    assert Penalty(cost, 1.0, 0.0).expected(alphas, beta).item() == pytest.approx(1.0, abs=1e-2)
    target = 0.6 * usual
    penalty = Penalty(cost, 1.0, target)
    optimizer = torch.optim.Adam(alphas.parameters(), 0.3)
    for _ in range(60):
        optimizer.zero_grad()
        value = penalty.expected(alphas, beta)
        if not value:
            break
        value.backward()
        optimizer.step()
    assert cost.expected(alphas, beta).item() <= target and penalty.expected(alphas, beta).item() == 0


def test_a_budget_is_met_by_the_changes_that_lose_the_least():
    space, alphas, cost = parts()
    beta = space.macro.all_on()
    with torch.no_grad():
        for alpha in alphas.alphas.values():
            alpha.zero_()
            alpha[:, 2] = 3.0  # 5x5 everywhere
            alpha[0, 1] = 2.9  # on the first edges 3x3 is nearly as good
    ops = derive_ops(alphas)
    before = cost(beta, cells_of(alphas, ops))
    prices = cost.prices(alphas, beta)
    slightly = within(alphas, ops, prices, 0.02 * before, False)
    changed = [(n, e) for n in ops for e, op in enumerate(ops[n]) if slightly[n][e] != op]
    assert cost(beta, cells_of(alphas, slightly)) <= 0.98 * before and all(edge == 0 for _, edge in changed)
    least = before - cost.fixed - sum(n * c for n, c in zip(cost.active(beta), cost.branch, strict=True))
    assert within(alphas, ops, prices, least * 0.999, False) is not None
    assert within(alphas, ops, prices, least * 1.01, False) is None
    kept = within(alphas, ops, prices, 0.5 * least, True)
    assert all(op != 5 for values in kept.values() for op in values)


def test_a_target_below_the_cheapest_architecture_is_one_sentence():
    _, _, cost = parts()
    with pytest.raises(UserError, match="search.max_gmacs=1e-09 GMACs lies below the cheapest architecture"):
        cost.check_target(1e-9, "search.max_gmacs")
    cost.check_target(0.0, "search.max_gmacs")
    with pytest.raises(UserError, match="search.min_gmacs=9 GMACs lies above the dearest architecture"):
        cost.check_least(9, "search.min_gmacs")
    cost.check_least(0.0, "search.min_gmacs")
    assert cost.cheapest() == pytest.approx(cost.fixed)


def test_measured_times_add_up_as_the_table_does():
    space, alphas, _ = parts()
    table = SimpleNamespace(
        check=lambda *anything: None,
        operation_ms=lambda b, op: 0.1 * (b + 1) + 0.01 * len(op),
        branch_ms=lambda b, cells: 1.0 + sum(0.1 * (b + 1) + 0.01 * len(op) for c in cells.values() for op in c.ops),
        network_ms=lambda beta, cells: 2.0,
    )
    cost = Cost(space, WIDTH, SIZE, JOINTS, table)
    drawn = random_candidate(space.macro, alphas, generator(1, "cost"))
    cells = cells_of(alphas, drawn.ops)
    expected = 2.0 + sum(n * table.branch_ms(b, cells[b]) for b, n in enumerate(cost.active(drawn.beta)))
    assert cost(drawn.beta, cells) == pytest.approx(expected) and cost.unit == "ms"
