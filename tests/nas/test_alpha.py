"""α and its Gumbel-Softmax relaxation."""

import math

import pytest
import torch
from networks import TINY

from autopose.nas import ArchitectureParameters, GumbelSettings
from autopose.nas.randomness import derive_seed, generator
from autopose.space import OPS, MacroArchitecture, MacroSpace, SearchSpace

SKIP = OPS.index("skip_connect")


def parameters(sharing: str = "branch", seed: int = 0) -> ArchitectureParameters:
    return ArchitectureParameters(SearchSpace.full(TINY, sharing), seed)


def drawn(alphas, progress=0.5, step=0, **settings) -> torch.Tensor:
    mixtures = alphas.sample(GumbelSettings(**settings), progress, generator(0, "gumbel", step))
    return torch.cat([mixtures[b][c].weights for b in range(3) for c in ("individual_1", "aggregation")])


@pytest.mark.parametrize(("sharing", "sets"), [("branch", 6), ("all", 2), ("cell", 9)])
def test_sharing(sharing, sets):
    alphas = parameters(sharing)
    assert len(alphas.alphas) == sets
    assert (alphas.alpha(0, "individual_1") is alphas.alpha(0, "individual_2")) is (sharing != "cell")
    assert (alphas.alpha(0, "aggregation") is alphas.alpha(2, "aggregation")) is (sharing == "all")
    mixtures = alphas.mean()
    assert [set(branch) for branch in mixtures] == [{"individual_1", "individual_2", "aggregation"}] * 3


def test_initial_alpha_is_small_and_seeded():
    values = torch.cat(list(ArchitectureParameters(SearchSpace.full(MacroSpace()), 3).alphas.values())).detach()
    assert values.std().item() == pytest.approx(1e-3, rel=0.2) and abs(values.mean().item()) < 2e-4
    again = ArchitectureParameters(SearchSpace.full(MacroSpace()), 3)
    assert torch.equal(values, torch.cat(list(again.alphas.values())))
    assert not torch.equal(
        values, torch.cat(list(ArchitectureParameters(SearchSpace.full(MacroSpace()), 4).parameters()))
    )


def test_soft_is_the_gumbel_softmax():
    alphas, tau = parameters(), 0.7
    with torch.no_grad():
        for alpha in alphas.parameters():
            alpha.normal_(generator=generator(1, "test"))
    noise = generator(5, "noise")
    uniform = torch.rand(torch.cat(list(alphas.alphas.values())).shape, generator=generator(5, "noise"))
    settings = GumbelSettings(tau_schedule="constant", tau_start=tau)
    found = alphas.sample(settings, 0.3, noise)
    logits = torch.cat(list(alphas.alphas.values())).log_softmax(-1)
    expected = ((logits - torch.log(-torch.log(uniform))) / tau).softmax(-1)
    start = 0
    for name, alpha in alphas.alphas.items():
        cell, branch = name.rsplit("_", 1)
        mixture = found[int(branch)]["individual_1" if cell == "individual" else cell]
        assert mixture.chosen is None
        assert torch.allclose(mixture.weights, expected[start : start + len(alpha)], atol=1e-6)
        start += len(alpha)


@pytest.mark.parametrize("relaxation", ["straight_through", "one_op"])
def test_hard_relaxations_are_one_hot_forward_and_soft_backward(relaxation):
    hard, soft = parameters(), parameters()
    weights = drawn(hard, relaxation=relaxation)
    relaxed = drawn(soft)
    assert torch.equal(weights, torch.eye(6)[relaxed.argmax(-1)])
    factors = torch.randn(weights.shape, generator=generator(0, "factors"))
    (weights * factors).sum().backward()
    (relaxed * factors).sum().backward()
    for a, b in zip(hard.parameters(), soft.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-7) and (a.grad != 0).all()
    mixtures = hard.sample(GumbelSettings(relaxation), 0.5, generator(0, "gumbel", 0))
    for branch in mixtures:
        for mixture in branch.values():
            expected = tuple(mixture.weights.argmax(-1).tolist()) if relaxation == "one_op" else None
            assert mixture.chosen == expected


def test_draws_follow_softmax_alpha():
    """Without annealing, the frequency of an operation under Gumbel noise is softmax(α)."""
    alphas = parameters("all")
    with torch.no_grad():
        for alpha in alphas.parameters():
            alpha.copy_(torch.tensor([2.0, 1.0, 0.0, 0.0, -1.0, -2.0]).expand_as(alpha))
    noise, counts = generator(0, "many"), torch.zeros(6)
    for _ in range(400):
        for mixture in alphas.sample(GumbelSettings("one_op"), 0.0, noise)[0].values():
            counts += torch.bincount(torch.tensor(mixture.chosen), minlength=6)
    expected = alphas.alpha(0, "aggregation")[0].softmax(-1)
    assert torch.allclose(counts / counts.sum(), expected.detach(), atol=0.03)


def test_tau_schedule():
    linear = GumbelSettings(tau_start=5.0, tau_end=0.5)
    assert [linear.tau(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([5.0, 2.75, 0.5])
    constant = GumbelSettings(tau_schedule="constant", tau_start=2.0)
    assert constant.tau(0.0) == constant.tau(1.0) == 2.0
    alphas = parameters()
    hot, cold = (drawn(alphas, p).detach().max(-1).values.mean().item() for p in (0.0, 1.0))
    assert hot < 0.5 < cold


def test_draws_are_a_function_of_seed_and_step():
    alphas = parameters()
    assert torch.equal(drawn(alphas, step=3), drawn(alphas, step=3))
    assert not torch.equal(drawn(alphas, step=3), drawn(alphas, step=4))
    seeds = {derive_seed(s, *p) for s in (0, 1) for p in (("a",), ("b",), ("a", 1), ("a", "1"), ("a", 2))}
    assert len(seeds) == 10 and all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, "gumbel", 5) == derive_seed(1, "gumbel", 5)


def test_skip_dropout_falls_to_nothing():
    alphas = parameters()
    plain = drawn(alphas, progress=0.0)
    dropped = torch.cat([drawn(alphas, 0.0, step, skip_dropout=0.8)[:, SKIP] for step in range(40)]) == 0
    assert dropped.float().mean().item() == pytest.approx(0.8, abs=0.06)
    assert torch.equal(drawn(alphas, 1.0, skip_dropout=0.8), drawn(alphas, 1.0))
    kept = drawn(alphas, 0.0, skip_dropout=0.8)
    others = [k for k in range(6) if k != SKIP]
    assert torch.equal(kept[:, others], plain[:, others])


@pytest.mark.parametrize(
    "wrong",
    [dict(relaxation="hard"), dict(tau_schedule="cosine"), dict(tau_end=0.0), dict(skip_dropout=1.0)],
    ids=str,
)
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match="must be"):
        GumbelSettings(**wrong)


def test_argmax_and_fixed_are_one_hot():
    alphas = parameters()
    for branch in alphas.argmax():
        for mixture in branch.values():
            assert torch.equal(mixture.weights, torch.eye(6)[list(mixture.chosen)])
    ops = {name: [i % 6 for i in range(len(alpha))] for name, alpha in alphas.alphas.items()}
    mixtures = alphas.fixed(ops)
    assert mixtures[1]["aggregation"].chosen == tuple(ops["aggregation_1"])
    assert torch.equal(mixtures[1]["individual_2"].weights, torch.eye(6)[ops["individual_1"]])


@pytest.mark.parametrize(("sharing", "unused"), [("branch", {"individual_1", "aggregation_1"}), ("all", set())])
def test_unused_alpha(sharing, unused):
    alphas = parameters(sharing)
    beta = MacroArchitecture.of([[1, 0, 0], [0, 0, 1]])
    found = alphas.unused(beta)
    assert {name for name, alpha in alphas.alphas.items() if any(alpha is u for u in found)} == unused
    assert len(alphas.unused(MacroArchitecture.of([[0, 0, 0]] * 2))) == len(alphas.alphas)


def test_entropy_and_shares():
    alphas = parameters()
    assert all(value == pytest.approx(math.log(6), abs=1e-4) for value in alphas.entropy().values())
    with torch.no_grad():
        for alpha in alphas.parameters():
            alpha.zero_()[:, SKIP] = 50.0
    assert all(value == pytest.approx(0, abs=1e-6) for value in alphas.entropy().values())
    assert alphas.shares() == {"skip": 1.0, "pool": 0.0}
