"""Bad steps: skipped as if the host had looked, counted when read, without the host waiting."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from waits import Waits

from autopose.errors import Diverged
from autopose.models.guard import BadSteps, ExponentialAverage, Undo, step_unless

NAN, GOOD = torch.tensor(float("nan")), torch.tensor(1.0)
OPTIMIZERS = {
    "fused Adam": partial(torch.optim.Adam, lr=0.1, fused=True),
    "fused AdamW": partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1, fused=True),
    "Adam": partial(torch.optim.Adam, lr=0.1, weight_decay=0.1),
    "SGD": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 3))


def test_a_run_of_bad_steps_ends_and_a_good_one_breaks_it():
    steps = BadSteps(3)
    for number, norm in enumerate((GOOD, NAN, torch.tensor(float("inf")), GOOD, NAN, NAN)):
        assert steps.judge(norm, number) == float(norm is not GOOD)
    steps.read()
    assert steps.state_dict() == [4, 2]
    again = BadSteps(3)
    again.load_state_dict(steps.state_dict())
    for number in (6, 7, 8):
        again.judge(NAN, number)
    with pytest.raises(Diverged, match="^3 steps in a row had a gradient that is not finite, at step 6$"):
        again.read()


def test_an_iteration_of_two_steps_breaks_a_row_only_where_both_are_good():
    steps = BadSteps(5)
    for number, norm in enumerate((NAN, GOOD, GOOD, NAN, GOOD, GOOD, NAN, NAN)):
        steps.judge(norm, number // 2)
    assert (steps.count, steps.in_a_row) == (4, 2)


@pytest.mark.parametrize("bad_steps", [{0, 1}, {2}, {1, 4, 5}, set()], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bad_step_is_no_step_to_the_bit(name, bad_steps):
    looking, guarded = network(), network()
    optimizers = [OPTIMIZERS[name](net.parameters()) for net in (looking, guarded)]
    for number in range(8):
        draws = torch.Generator().manual_seed(number)
        # A branch that is off has no gradient, and gets its moments later.
        pairs = list(zip(looking.parameters(), guarded.parameters(), strict=True))
        for index, (one, other) in enumerate(pairs):
            grad = torch.randn(one.shape, generator=draws)
            grad.view(-1)[0] = NAN if number in bad_steps else grad.view(-1)[0]
            one.grad, other.grad = (None, None) if index == 1 and number < 3 else (grad.clone(), grad.clone())
        if number not in bad_steps:
            optimizers[0].step()
        step_unless(torch.tensor(float(number in bad_steps)), optimizers[1])
        assert all(torch.equal(one, other) for one, other in pairs)
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    for index, state in states[0].items():
        assert all(torch.equal(value, states[1][index][key]) for key, value in state.items() if value is not None)
    assert not hasattr(optimizers[1], "found_inf")


def test_what_a_bad_step_made_is_put_back():
    made = [torch.zeros(2, 3), torch.ones(4).double(), torch.full((), 2.0)]
    for bad in (0.0, 1.0):
        undo = Undo(made)
        before = [tensor.clone() for tensor in made]
        for tensor in made:
            tensor.add_(1).mul_(float("nan") if bad else 1)
        undo(torch.tensor(bad))
        for tensor, old in zip(made, before, strict=True):
            assert torch.equal(tensor, old if bad else old + 1)


@pytest.mark.parametrize("bad_steps", [{0, 1, 4}, {3}, set()], ids=str)
def test_the_average_is_that_of_the_good_steps_to_the_bit(bad_steps):
    net = network()
    expected = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    found = ExponentialAverage(net, 0.9)
    for number in range(7):
        draws = torch.Generator().manual_seed(number)
        for tensor in (*net.parameters(), net[1].running_mean):
            tensor.data.add_(torch.randn(tensor.shape, generator=draws))
        net[1].num_batches_tracked += 10
        if number not in bad_steps:
            expected.update_parameters(net)
        found.update(net, torch.tensor(float(number in bad_steps)))
    assert found.n_averaged == 7 - len(bad_steps)
    for name, value in expected.state_dict().items():
        assert torch.equal(value, found.state_dict()[name]), name
    copy.deepcopy(found).load_state_dict(expected.state_dict())


@pytest.mark.parametrize("name", ["SGD", "fused Adam"])
def test_judging_and_skipping_reads_nothing(name):
    net = network()
    optimizer = OPTIMIZERS[name](net.parameters())
    bad_steps, average = BadSteps(3), ExponentialAverage(net, 0.9)
    for number in range(3):
        loss = net(torch.randn(2, 3, 8, 8)).square().mean()
        with Waits() as waits:
            undo = Undo(net.buffers())
            loss.backward()
            bad = bad_steps.judge(nn.utils.clip_grad_norm_(net.parameters(), 1.0), number)
            step_unless(bad, optimizer)
            undo(bad)
            average.update(net, bad)
        assert not waits.found
    assert bad_steps.state_dict() == [0, 0]
