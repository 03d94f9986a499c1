"""The controller's distribution and REINFORCE."""

from itertools import product

import pytest
import torch

from autopose.nas import Controller, ControllerSettings, Reinforce
from autopose.nas.algorithms import uniform_beta
from autopose.nas.randomness import generator
from autopose.space import MacroArchitecture, MacroSpace


def macro_space(branches: int = 2, stages: int = 2, **options) -> MacroSpace:
    return MacroSpace((4,) * branches, stages, 1, 1, 1, **options)


def spread(controller: Controller, scale: float = 8.0) -> Controller:
    """A policy far from uniform."""
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.mul_(scale)
    return controller


def log_prob_of(controller: Controller, beta: MacroArchitecture) -> torch.Tensor:
    rows = controller.allowed.bool().tolist()
    return controller._unroll(lambda d, _: torch.tensor(rows.index(list(beta.rows[d]))))[1]


@pytest.mark.parametrize(
    "bounds", [{}, dict(min_active=1), dict(max_active=1), dict(min_active=1, max_active=2)], ids=str
)
def test_probabilities_of_all_beta_sum_to_one(bounds):
    macro = macro_space(3, 2, **bounds)
    controller = spread(Controller(macro, 8, seed=1))
    everything = [MacroArchitecture(rows) for rows in product(macro.allowed(), repeat=2)]
    probabilities = torch.stack([log_prob_of(controller, beta) for beta in everything]).exp()
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    assert probabilities.max() > 2 * probabilities.min()


def test_samples_follow_the_policy_and_their_log_probability():
    macro = macro_space(2, 2)
    controller = spread(Controller(macro, 8, seed=2))
    draws, counts = generator(0, "test"), {}
    for _ in range(800):
        beta, log_prob, entropy = controller.sample(draws)
        counts[beta] = counts.get(beta, 0) + 1
        assert log_prob.item() == pytest.approx(log_prob_of(controller, beta).item(), abs=1e-5)
        assert 0 <= entropy.item() <= 2 * 2 * 0.6932
    for beta, count in counts.items():
        assert count / 800 == pytest.approx(log_prob_of(controller, beta).exp().item(), abs=0.06)


def test_without_bounds_branches_are_independent_bernoullis():
    macro = macro_space(3, 1)
    controller = spread(Controller(macro, 8, seed=3))
    marginal = torch.tensor(controller.probabilities()[0])
    for row in macro.allowed():
        on = torch.tensor(row)
        expected = torch.where(on, marginal, 1 - marginal).prod()
        assert log_prob_of(controller, MacroArchitecture((row,))).exp().item() == pytest.approx(
            expected.item(), abs=1e-5
        )


@pytest.mark.parametrize("bounds", [dict(min_active=2), dict(max_active=1), dict(min_active=1, max_active=1)], ids=str)
def test_bounds_hold_in_every_draw(bounds):
    macro = macro_space(3, 3, **bounds)
    controller, draws = spread(Controller(macro, 8)), generator(0, "test")
    betas = [controller.sample(draws)[0] for _ in range(60)] + [uniform_beta(macro, draws) for _ in range(60)]
    for beta in [*betas, controller.mode()[0]]:
        macro.check(beta)
    assert len(set(betas)) > 5


def test_mode_is_the_greedy_path_and_draws_depend_on_the_seed_alone():
    controller = spread(Controller(macro_space(3, 3), 8, seed=4))
    assert controller.mode()[0] == controller.mode()[0]
    assert controller.mode()[1].item() >= max(controller.sample(generator(s))[1].item() for s in range(3)) - 5
    assert controller.sample(generator(7, "x"))[0] == controller.sample(generator(7, "x"))[0]
    assert len({controller.sample(generator(s, "x"))[0] for s in range(40)}) > 5
    states = [Controller(macro_space(), 8, seed=s).state_dict() for s in (0, 0, 1)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not all(torch.equal(states[0][k], states[2][k]) for k in states[0])


def update(reinforce: Reinforce, reward, draws, progress: float = 0.0) -> float:
    """Sample, score, learn; the policy's entropy."""
    betas = reinforce.sample(draws)
    return reinforce.learn(betas, [reward(beta) for beta in betas], progress)


@pytest.mark.parametrize("baseline", ["ema", "leave_one_out"])
def test_reinforce_finds_a_planted_optimum(baseline):
    """The reward is the share of β's entries that are the target's; most seeds end at the target itself."""
    macro, found = macro_space(3, 2), 0
    for seed in range(4):
        wanted = uniform_beta(macro, generator(seed, "target"))
        flat = [on for row in wanted.rows for on in row]

        def reward(beta, flat=flat):
            return sum(a == b for a, b in zip((on for row in beta.rows for on in row), flat, strict=True)) / len(flat)

        settings = ControllerSettings(lr=3e-2, samples=2, hidden=16, baseline=baseline)
        reinforce = Reinforce(Controller(macro, 16, seed), settings)
        entropies = [update(reinforce, reward, generator(seed, "c", step), step / 150) for step in range(150)]
        finalists = [reinforce.controller.sample(generator(seed, "derive", n))[0] for n in range(10)]
        best = max([reinforce.controller.mode()[0], *finalists], key=reward)
        assert entropies[-1] < entropies[0]
        found += reinforce.controller.mode()[0] == wanted and best == wanted
    assert found >= 3


def test_the_gradient_is_the_score_functions():
    """Without a baseline in play and without entropy, the step's gradient is -mean((R - b) ∇ log π)."""
    controller = Controller(macro_space(), 8)
    reinforce = Reinforce(controller, ControllerSettings(hidden=8, entropy_weight=0.0))
    reinforce.baseline = 0.25
    twin = Controller(macro_space(), 8)
    draws = generator(3, "x")
    drawn = [twin.sample(draws) for _ in range(2)]
    rewards = {beta: 1.0 + sum(map(sum, beta.rows)) for beta, _, _ in drawn}
    torch.stack([-(rewards[beta] - 0.25) * log_prob for beta, log_prob, _ in drawn]).mean().backward()
    update(reinforce, lambda beta: rewards[beta], generator(3, "x"))
    for a, b in zip(controller.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-7)


def test_ema_baseline_moves_after_the_advantage():
    reinforce = Reinforce(Controller(macro_space(), 8), ControllerSettings(hidden=8, baseline_decay=0.9))
    assert reinforce._advantages([1.0, 3.0]) == [-1.0, 1.0]
    rewards = iter([1.0, 3.0, 5.0, 5.0])
    update(reinforce, lambda _: next(rewards), generator(0, "x"))
    assert reinforce.baseline == pytest.approx(2.0)
    assert reinforce._advantages([5.0, 5.0]) == pytest.approx([3.0, 3.0])
    update(reinforce, lambda _: next(rewards), generator(1, "x"))
    assert reinforce.baseline == pytest.approx(0.9 * 2.0 + 0.1 * 5.0)


def test_leave_one_out_baseline():
    settings = ControllerSettings(hidden=8, samples=3, baseline="leave_one_out")
    reinforce = Reinforce(Controller(macro_space(), 8), settings)
    assert reinforce._advantages([1.0, 2.0, 6.0]) == pytest.approx([1 - 4.0, 2 - 3.5, 6 - 1.5])
    with pytest.raises(ValueError, match="more samples"):
        ControllerSettings(samples=1, baseline="leave_one_out")
    with pytest.raises(ValueError, match="baseline must be"):
        ControllerSettings(baseline="mean")


def test_entropy_bonus_falls_with_progress():
    """A constant reward leaves the entropy bonus alone: it raises entropy at the start and does nothing at the end."""
    gradients = []
    for progress in (0.0, 1.0):
        controller = spread(Controller(macro_space(), 8, seed=1))
        reinforce = Reinforce(controller, ControllerSettings(hidden=8, entropy_weight=0.1))
        update(reinforce, lambda _: 1.0, generator(0, "x"), progress)
        gradients.append(sum(p.grad.abs().sum().item() for p in controller.parameters()))
    assert gradients[0] > 1e-4 and gradients[1] == 0


def test_state_round_trip_continues_alike():
    runs = []
    for resumed in (False, True):
        reinforce = Reinforce(Controller(macro_space(), 8), ControllerSettings(hidden=8))
        for step in range(6):
            if resumed and step == 3:
                state = reinforce.state_dict()
                reinforce = Reinforce(Controller(macro_space(), 8, seed=9), ControllerSettings(hidden=8))
                reinforce.load_state_dict(state)
            last = update(reinforce, lambda beta: float(beta.rows[0][0]), generator(step, "x"))
        runs.append((last, reinforce.baseline, reinforce.controller.state_dict()))
    assert runs[0][:2] == runs[1][:2]
    assert all(torch.equal(runs[0][2][key], runs[1][2][key]) for key in runs[0][2])
