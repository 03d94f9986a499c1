"""Steps of Algorithm 1: what they move, what they leave alone, and how they go on after a stop."""

import copy
import math

import pytest
import torch
from networks import images, supernet

from autopose.errors import Diverged
from autopose.nas import BilevelSearch, BilevelSettings, ControllerSettings, GumbelSettings
from autopose.nas.algorithms import Policy, RandomSearch
from autopose.space import MacroArchitecture, MacroSpace, SearchSpace

MACRO = MacroSpace((4, 6), 2, 1, 1, 1, 4)


def batch(seed: int, count: int = 4, macro: MacroSpace = MACRO) -> dict[str, torch.Tensor]:
    x = images(macro, count, seed)
    draws = torch.Generator().manual_seed(seed)
    target = torch.rand(count, 3, x.shape[2] // 4, x.shape[3] // 4, generator=draws)
    return {"image": x, "target": target, "target_weight": torch.ones(count, 3)}


def bilevel(seed: int = 0, macro: MacroSpace = MACRO, algorithm: type = Policy, **settings) -> BilevelSearch:
    network = supernet(macro, seed=seed)
    network.set_norm("batch")
    defaults = dict(epochs=2, iterations=4, controller=ControllerSettings(start_epoch=1, hidden=8))
    return BilevelSearch(network, BilevelSettings(**{**defaults, **settings}), seed, algorithm)


def fix_beta(search: BilevelSearch, rows) -> MacroArchitecture:
    beta = MacroArchitecture.of(rows)
    search.training_beta = lambda path=0: beta
    return beta


def run(search: BilevelSearch, steps: int) -> list[dict]:
    found = []
    for _ in range(steps):
        losses = search.cell_update(batch(2 * search.step), batch(2 * search.step + 1))
        found.append({name: loss.item() for name, loss in losses.items()})
        if search.position.iteration == search.settings.iterations:
            search.next_epoch()
    return found


def test_the_weight_step_moves_weights_and_the_alpha_step_alpha():
    search = bilevel(alpha_start_epoch=1)
    fix_beta(search, [[1, 1]] * 2)
    alphas = [a.clone() for a in search.alphas.parameters()]
    weights = [p.clone() for p in search.network.parameters()]
    found = run(search, 1)[0]
    assert set(found) == {"loss_train"}
    assert all(torch.equal(a, b) for a, b in zip(alphas, search.alphas.parameters(), strict=True))
    moved = [not torch.equal(a, b) for a, b in zip(weights, search.network.parameters(), strict=True)]
    assert sum(moved) == len(moved)

    weights = [p.clone() for p in search.network.parameters()]
    search._alpha_step(batch(9), MACRO.all_on())
    assert all(torch.equal(a, b) for a, b in zip(weights, search.network.parameters(), strict=True))
    assert all(p.requires_grad for p in search.network.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(alphas, search.alphas.parameters(), strict=True))


@pytest.mark.parametrize("relaxation", ["soft", "one_op"])
def test_inactive_branches_stay_as_they_are_to_the_bit(relaxation):
    search = bilevel(gumbel=GumbelSettings(relaxation), weight_decay=0.1, alpha_weight_decay=0.1)
    fix_beta(search, [[1, 1]] * 2)
    run(search, 2)
    fix_beta(search, [[1, 0], [1, 0]])
    state = copy.deepcopy((search.network.state_dict(), search.alphas.state_dict()))
    run(search, 3)
    for name, value in search.network.state_dict().items():
        assert ".branches.1." not in name or torch.equal(value, state[0][name]), name
    for name, alpha in search.alphas.state_dict().items():
        assert torch.equal(alpha, state[1][name]) == name.endswith("_1"), name


def test_all_branches_off_trains_stem_and_head_only():
    search = bilevel()
    fix_beta(search, [[0, 0], [0, 0]])
    state = copy.deepcopy((search.network.state_dict(), search.alphas.state_dict()))
    found = run(search, 2)
    assert all(math.isfinite(row["loss_val"]) for row in found)
    assert all(torch.equal(alpha, state[1][name]) for name, alpha in search.alphas.state_dict().items())
    for name, value in search.network.state_dict().items():
        if name.startswith("modules_"):
            assert torch.equal(value, state[0][name])
    assert not torch.equal(search.network.head.predict.weight, state[0]["head.predict.weight"])


@pytest.mark.parametrize("spoiled", ["image", "target"])
def test_a_step_that_is_not_finite_is_skipped_and_counted(spoiled):
    search = bilevel(max_bad_steps=10)
    fix_beta(search, [[1, 1]] * 2)
    run(search, 1)
    state = copy.deepcopy(search.state_dict())
    bad = batch(1)
    bad[spoiled][0] = float("nan")
    search.cell_update(bad, bad)
    after = search.state_dict()
    assert search.bad_steps.count == 2
    for part in ("network", "alphas"):
        assert all(torch.equal(after[part][name], value) for name, value in state[part].items())
    assert after["weight_optimizer"]["state"][0]["step"] == state["weight_optimizer"]["state"][0]["step"]
    run(search, 1)
    assert search.bad_steps.in_a_row == 0 and search.bad_steps.count == 2
    assert not torch.equal(search.state_dict()["alphas"]["alphas.individual_0"], state["alphas"]["alphas.individual_0"])


def test_a_search_that_stays_bad_has_diverged():
    search = bilevel(max_bad_steps=3, iterations=10)
    bad = batch(1)
    bad["image"][:] = float("inf")
    with pytest.raises(Diverged, match="3 steps in a row .* at step 1"):
        for _ in range(5):
            search.cell_update(bad, bad)
        search.bad_steps.read()


@pytest.mark.parametrize("options", [{}, dict(weight_optimizer="sgd"), dict(gumbel=GumbelSettings("one_op"))], ids=str)
def test_resume_continues_to_the_bit(options):
    def reward(candidates):
        return [float(each.beta.rows[0][0]) - 0.1 * each.beta.rows[1][1] for each in candidates]

    whole, first = bilevel(**options), bilevel(**options)
    losses = run(whole, 3)
    assert losses == run(first, 3)
    second = bilevel(seed=0, **options)
    with torch.no_grad():
        for parameter in second.network.parameters():
            parameter.zero_()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for search in (whole, second):
        search.log = run(search, 1), search.controller_update(reward), search.controller_update(reward), run(search, 3)
    assert whole.log == second.log and whole.position == second.position
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name])
    for name, value in whole.alphas.state_dict().items():
        assert torch.equal(value, second.alphas.state_dict()[name])


def test_accumulated_micro_batches_are_the_whole_batch():
    """Micro-batches of 2, 1 and 1 images: the whole batch's gradient, where normalisation does not see the batch."""
    searches = [bilevel(accumulate=parts, grad_clip=1e9) for parts in (1, 3)]
    for search in searches:
        fix_beta(search, [[1, 1]] * 2)
        search.network.set_norm("running")
        run(search, 1)
    one, parts = ([p.grad for p in s.network.parameters()] for s in searches)
    for a, b in zip(one, parts, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


def test_weights_follow_the_cosine():
    search = bilevel(epochs=2, iterations=4, weight_lr=1.0e-2, weight_lr_end=1.0e-4)
    rates = []
    for _ in range(8):
        run(search, 1)
        rates.append(search.weight_optimizer.param_groups[0]["lr"])
    expected = [1e-4 + 0.5 * (1e-2 - 1e-4) * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates == pytest.approx(expected)


def test_paths_share_a_batch_and_their_gradients_are_averaged():
    search = bilevel(algorithm=RandomSearch, paths=3, training_beta="uniform", grad_clip=0.0)
    paths = [(search.training_beta(path), search.mixtures("weights", path)) for path in range(3)]
    assert len({str(beta) for beta, _ in paths}) > 1
    whole, losses = batch(0, 6), []
    for number, (beta, mixtures) in enumerate(paths):
        share = {name: value[2 * number : 2 * number + 2] for name, value in whole.items()}
        losses.append(search.loss(share, beta, mixtures) / 3)
        losses[-1].backward()
    wanted = [None if p.grad is None else p.grad.clone() for p in search.network.parameters()]
    search.weight_optimizer.step = lambda: None
    assert search._weight_step(whole, [beta for beta, _ in paths]).item() == pytest.approx(sum(losses).item())
    for parameter, grad in zip(search.network.parameters(), wanted, strict=True):
        assert (parameter.grad is None) == (grad is None)
        assert grad is None or torch.allclose(parameter.grad, grad, atol=1e-7)


def test_fair_sampling_uses_every_operation_of_an_edge_once_in_as_many_paths():
    search = bilevel(algorithm=RandomSearch, sampling="fair", paths=2)
    drawn = [search.alphas.fair_ops(0, number) for number in range(12)]
    for name, rows in search.alphas.columns.items():
        for edge, columns in enumerate(rows):
            used = [ops[name][edge] for ops in drawn]
            assert sorted(used[:6]) == sorted(used[6:]) == columns
    assert drawn[:6] != drawn[6:]
    first = search.mixtures("weights", 1)
    assert [m["individual_1"].chosen for m in first] == [
        tuple(drawn[1][search.alphas.name(b, "individual_1")]) for b in range(2)
    ]


def test_training_beta():
    uniform = bilevel(iterations=30)
    drawn = []
    for _ in range(30):
        drawn.append(uniform.training_beta())
        uniform.position.iteration += 1
    assert len(set(drawn)) > 8
    uniform.position.iteration = 3
    assert uniform.training_beta() == drawn[3]
    assert bilevel(training_beta="all_on").training_beta() == MACRO.all_on()

    followed = bilevel()
    with torch.no_grad():
        followed.algorithm.controller.head.bias.copy_(torch.tensor([30.0, -30.0]))
    betas = {followed.training_beta() for followed.position.iteration in range(4)}
    followed.position.epoch = 1
    assert followed.controller_active
    assert {followed.training_beta() for followed.position.iteration in range(4)} == {
        MacroArchitecture.of([[1, 0]] * 2)
    }
    assert betas != {MacroArchitecture.of([[1, 0]] * 2)}

    network = supernet(MACRO)
    fixed = MacroArchitecture.of([[0, 1], [1, 1]])
    network.space = SearchSpace.full(MACRO, beta=fixed)
    search = BilevelSearch(network, BilevelSettings(), 0)
    assert search.training_beta() == fixed


def test_random_operations_leave_alpha_alone():
    search = bilevel(algorithm=RandomSearch)
    before = copy.deepcopy(search.alphas.state_dict())
    found = run(search, 2)
    assert all(set(row) == {"loss_train"} for row in found)
    assert all(torch.equal(value, before[name]) for name, value in search.alphas.state_dict().items())
    mixtures = [search.mixtures("weights") for search.position.iteration in range(3)]
    assert len({str([m["individual_1"].chosen for m in one]) for one in mixtures}) > 1


def test_searches_of_one_seed_are_alike_and_learn():
    first, second, other = bilevel(), bilevel(), bilevel(seed=1)
    assert run(first, 3) == run(second, 3) != run(other, 3)
    search = bilevel(epochs=1, iterations=40, training_beta="all_on", weight_lr=1e-2)
    losses = [search.cell_update(batch(0), batch(1))["loss_train"] for _ in range(40)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


@pytest.mark.parametrize(
    "wrong",
    [
        dict(weight_optimizer="lion"),
        dict(training_beta="none"),
        dict(epochs=0),
        dict(accumulate=0),
        dict(paths=0),
        dict(sampling="greedy"),
    ],
    ids=str,
)
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match="must be"):
        BilevelSettings(**wrong)


def test_the_alpha_step_moves_no_running_statistics():
    search = bilevel()
    search.network.set_norm("track")
    before = [buffer.clone() for buffer in search.network.buffers()]
    beta = search.training_beta()
    search._alpha_step(batch(1), beta)
    assert all(torch.equal(a, b) for a, b in zip(before, search.network.buffers(), strict=True))
    assert search.network.state.mode == "track"
    search._weight_step(batch(1), [beta])
    assert not all(torch.equal(a, b) for a, b in zip(before, search.network.buffers(), strict=True))


def test_operations_that_were_not_sampled_stay_where_they_are():
    search = bilevel(gumbel=GumbelSettings(relaxation="one_op"))
    beta = search.network.space.macro.all_on()
    moved = set()
    for _ in range(3):
        before = {name: p.detach().clone() for name, p in search.network.named_parameters() if p.ndim == 5}
        search._weight_step(batch(search.step), [beta])
        for name, parameter in search.network.named_parameters():
            if parameter.ndim == 5 and parameter.grad is not None:
                took_part = parameter.grad.flatten(1).abs().amax(1) > 0
                changed = (parameter != before[name]).flatten(1).any(1)
                assert torch.equal(changed, took_part), name
                moved.add(bool(took_part.all()))
        search.position.iteration += 1
    assert False in moved, "some operation must have been left out, or this shows nothing"
